//! The orchestrator with its tables, the handle through which requests enter it, and the observer.
//!
//! The consequences of an input are decided in `sagamore_core`. This crate loads, stores, sends and
//! waits.

pub mod error;
pub mod options;

pub mod handle;
mod request;

pub mod orchestrator;
mod turn;
mod unreadable;

mod pulse;
mod reads;
pub mod renewal;

mod definitions;
mod live;
mod registry;

pub mod observer;

pub mod store;

pub use definitions::DefinitionWatch;
pub use error::{Error, RegistrationError, StartError, VerbError};
pub use handle::{Handle, Start};
pub use observer::{
    ChainDetail, ChainHeader, ChainStatus, Chains, NAMES, NAMES_MAX, Observer, ObserverOptions,
    Reading, ResolveError,
};
pub use options::Options;
pub use orchestrator::{Orchestrator, TurnReport};
pub use renewal::{Probe, Renewal};
pub use request::{Started, Summary};
pub use store::{
    DefinitionReader, DefinitionVersion, Detail, Filter, Header, ListedDefinition, Page,
    Registered, RegistrationMode, RegistrationOutcome, Standing,
};
pub use unreadable::Unreadable;
