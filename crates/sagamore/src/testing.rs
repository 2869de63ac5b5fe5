//! Tools for tests: [`Script`] runs a saga's definition, [`TestService`] runs one service in
//! memory, and `TestProgram` runs a whole program in a temporary directory.

#[cfg(feature = "server")]
mod program;

#[cfg(feature = "server")]
pub use program::TestProgram;
pub use sagamore_core::script::Script;
pub use sagamore_sdk::testing::{TestEvents, TestReply, TestService};
