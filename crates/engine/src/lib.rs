//! The orchestrator with its tables, the handle through which requests enter it, and the observer.
//!
//! The consequences of an input are decided in `sagamore_core`. This crate loads, stores, sends and
//! waits.

pub mod error;
pub mod options;
pub mod version_kind;

pub mod handle;
mod request;

pub mod orchestrator;
mod turn;
mod unreadable;

mod pulse;
mod reads;
pub mod renewal;

pub mod announcements;
mod definitions;
mod live;
mod registry;

pub mod observer;

pub mod store;
pub mod versions;

pub use announcements::{AnnouncementReader, Announcements, SentMessage, Warning};
pub use definitions::DefinitionWatch;
pub use error::{BeginError, Error, RegistrationError, StartError, VerbError};
pub use handle::{Handle, Start};
pub use observer::{
    BegunChain, ChainBeginning, ChainDetail, ChainHeader, ChainStatus, Chains, KnownPlan, NAMES,
    NAMES_MAX, Observer, ObserverOptions, Reading, ResolveError,
};
pub use options::Options;
pub use orchestrator::{Orchestrator, TurnReport};
pub use renewal::{Probe, Renewal};
pub use request::{Started, Summary};
pub use store::{DefinitionReader, Detail, Filter, Header, Page, Standing};
pub use unreadable::Unreadable;
pub use versions::{
    ListedVersion, Registered, RegistrationMode, RegistrationOutcome, StoredVersion, VersionKind,
    VersionStore,
};
