//! Tools for tests without a server: [`Script`] runs a saga's definition, [`TestService`] runs one
//! service in memory.

pub use sagamore_core::script::Script;
pub use sagamore_sdk::testing::{TestEvents, TestReply, TestService};
