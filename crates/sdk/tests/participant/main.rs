//! The participant, driven turn by turn on a database and a log in memory.

mod toy;
mod trouble;
mod world;

mod barrier;
mod chunk;
mod crash;
mod load;
mod poison;
mod retention;
