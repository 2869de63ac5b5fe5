//! The HTTP API of a Sagamore process: sagas, chains, facts of services, health, problems, and the
//! routes that a program adds. The crate depends on the engine and the SDK, and on no domain.

#[cfg(test)]
extern crate sagamore_sdk as sagamore; // for the derives

pub mod clock;
pub mod plain;
pub mod waiting;

pub mod problem;
pub mod view;

pub mod stand_in;

pub mod presence;

pub mod client;

pub mod lock;
pub mod parts;

pub mod http;
pub mod metrics_help;

pub use client::Client;
pub use parts::{
    BrokerHealth, HttpReaction, ReactionAnswer, ReactionPort, ReplyAnswer, ReplyPort,
    ReplyRejection, Server, ServiceHost, Services,
};
pub use presence::Presence;
pub use problem::{Code, Entry, Problem};
pub use stand_in::StandIns;
pub use waiting::StartupWait;
