//! The state that one turn leaves to the next, without the phases that change it.

mod blocked;
mod debts;
mod marks;
mod remote;
mod sweep;
mod takeover;

pub(crate) use blocked::{BlockedSaga, BlockedSagas};
pub(crate) use debts::Debts;
pub(crate) use marks::PendingMarks;
pub(crate) use remote::{PATIENCE, RemoteSagas};
pub(crate) use sweep::{HORIZON_INTERVAL, PAUSE, Sweep};
pub(crate) use takeover::{Cursor, Takeover};
