//! The whole system under one seed: the real core, orchestrator, SDK and shop on a simulated clock,
//! with faults.
//!
//! The same seed always gives the same trace. No part of the product depends on this crate.

extern crate sagamore_sdk as sagamore; // for the derives

pub mod faults;
pub mod style;
pub mod theme;

pub mod odds;
pub mod world;

pub mod points;
pub mod rows;

pub mod checker;
pub mod watched;

pub mod clocks;
pub mod recorder;

pub mod store;
pub mod wire;

pub mod errand;
pub mod feast;
pub mod outsider;
pub mod party;
pub mod shop;

pub mod client;
pub mod crowd;
pub mod customer;
pub mod neighbour;
pub mod operator;
pub mod site;

pub mod run;

pub mod sweep;

pub use run::{Report, run, run_in};
pub use style::Style;
pub use sweep::plant;
