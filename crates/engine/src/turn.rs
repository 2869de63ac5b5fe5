//! The phases of a turn, one file each.

mod take;

mod decide;
mod poison;
mod settle;

mod answer;
mod aside;
mod blocked;
mod clock;
mod debts;
mod ownership;
mod parts;
mod remote;
mod send;
mod sweep;
mod takeover;

mod batch;
mod letters;
mod outgoing;
mod pace;
mod state;
mod strays;

pub(crate) use batch::{Answer, Arrival, Arrivals, Batch, Rejection, Settlement};
pub(crate) use letters::{RejectReason, reject};
pub(crate) use outgoing::OutgoingCommand;
pub(crate) use pace::Pace;
pub(crate) use state::{BlockedSagas, Debts, PendingMarks, RemoteSagas, Sweep, Takeover};
pub(crate) use strays::{Stray, Strays};
pub(crate) use take::poll;
