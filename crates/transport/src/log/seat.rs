//! The registration of a consumer at its partitions.

use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;

/// A consumer's registration at its partitions.
pub(super) struct Seat {
    pub group: usize,
    /// Stores one wake-up, so that none is missed between a check and a wait.
    pub notify: Notify,
    /// Whether another consumer of the group has taken over.
    pub fenced: AtomicBool,
}
