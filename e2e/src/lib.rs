//! End-to-end suites: real processes on real Kafka and PostgreSQL, killed, paused and disconnected
//! under load.
//!
//! `cargo xtask` runs them. They are not part of the program.

pub mod workspace;

pub mod services;

mod cast;
pub mod foreign;
pub mod kills;

mod proxy;
mod random;
mod site;
mod wire;

mod load;

pub mod chaos;
pub mod fuzz;
pub mod outages;
pub mod poison;
pub mod smoke;
