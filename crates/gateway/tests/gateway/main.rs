//! The gateway against a participant in this process: every outcome, order, bounds and crashes.

mod harness;

mod announcing;
mod bounds;
mod calls;
mod never;
mod replies;
mod shutdown;
