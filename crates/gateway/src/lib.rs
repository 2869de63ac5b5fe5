//! The gateway: participants that are HTTP services.
//!
//! A [`Gateway`] consumes the commands of one participant, sends each as an HTTP request, and
//! publishes the response as the reply. A [`Reactor`] does the same with the events of a
//! choreography. The gateway has no barrier: a crash repeats a request. It knows
//! neither engine nor SDK. The outcome of each response is one table in `answer.rs`.

mod error;
mod text;

pub mod binding;
pub mod contract;
pub mod signature;

mod outcome;
mod reply;
pub mod token;

mod answer;
mod client;
mod lanes;
mod ledger;
mod request;

mod retention;
mod sent;

mod announcing;
mod gateway;

pub mod faults;
pub mod local;
pub mod plans;
mod reaction;
mod reaction_store;
mod reactor;

pub use binding::{Binding, Egress, Endpoint};
pub use contract::{ContractResult, Contracts, KnownContracts, Participants, strictest};
pub use error::Error;
pub use faults::{ReactionFault, ReactionFaults};
pub use gateway::{Gateway, Options};
pub use local::{LocalAnswer, LocalCall, LocalFuture, LocalParticipant};
pub use outcome::Defect;
pub use plans::{PlanResult, PlanSource, Plans, StoredPlan};
pub use reactor::Reactor;
pub use reply::{LateReplies, ReplyError};
pub use signature::Secret;
pub use token::{BadToken, Permit, ReplyKeys};
