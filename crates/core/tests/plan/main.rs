//! The plans of choreographies: their checks, and the folding of their chains.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

mod fixture;

mod declared;
mod derived;
mod drawn;
mod folded;
mod run;
mod runs;
mod shape;
mod table;
mod written;
