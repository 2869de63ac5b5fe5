//! The participant, driven turn by turn on a database and a log in memory.

extern crate sagamore_sdk as sagamore; // for the derives

mod toy;
mod trouble;
mod world;

mod announce;
mod barrier;
mod chunk;
mod crash;
mod load;
mod poison;
mod retention;
