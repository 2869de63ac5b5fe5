//! Tests without a server: [`Script`] drives a saga by its definition, [`TestService`] runs one service in memory.

pub use sagamore_core::script::Script;
pub use sagamore_sdk::testing::{TestEvents, TestReply, TestService};
