//! Apache Kafka behind the transport port: one shared producer, a consumer per group, and the
//! management of topics.
//!
//! Published records are acknowledged by all in-sync replicas. If brokers lose acknowledged
//! records, no saga is lost: commands are resent from the databases.

pub mod options;

mod groups;
mod kafka;
mod refused;
mod topics;

mod produce;

mod consume;
mod taker;
mod unreadable;
mod watch;
mod watchdog;

mod intake;
mod stall;
mod stuck;

mod assign;
mod config;
mod coverage;
mod fault;
mod names;

pub use groups::Group;
pub use kafka::Kafka;
pub use options::{Options, Sasl, Security, Tls};
pub use stall::Stall;
pub use topics::{Broker, Topic};
