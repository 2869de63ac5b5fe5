//! End-to-end suites: real processes on real Kafka and PostgreSQL, killed, paused and cut off in the middle of real work.
//!
//! `cargo xtask` runs them. Nothing in here is part of the program.

pub mod workspace;

pub mod services;

mod cast;
pub mod kills;

mod proxy;
mod random;
mod site;

mod load;

pub mod chaos;
pub mod fuzz;
pub mod outages;
pub mod poison;
