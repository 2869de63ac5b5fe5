//! The participant, driven turn by turn on a database and a log in memory.

mod toy;
mod trouble;
mod world;

mod barrier;
mod chunk;
mod crash;
mod poison;
mod retention;
