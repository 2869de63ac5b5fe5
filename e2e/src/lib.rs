//! End-to-end suites: real processes on real Kafka and PostgreSQL, killed, paused and cut off in the middle of real work.
//!
//! `cargo xtask` runs them. Nothing in here is part of the program.

pub mod workspace;

pub mod services;

mod cast;
pub mod kills;

pub mod chaos;
