//! One server.

use std::process::Command;

use anyhow::Result;

/// A server.
pub(super) trait Service {
    /// Returns its printed name, which is also its folder's name.
    fn name(&self) -> &'static str;

    /// Installs the server and prepares its data. Repeating the call is safe.
    fn prepare(&self) -> Result<()>;

    /// Builds the command that runs the server.
    fn command(&self) -> Result<Command>;

    /// Whether the server accepts requests.
    fn answers(&self) -> bool;

    /// Completes the setup once the server is ready.
    fn settle(&self) -> Result<()>;

    /// Returns the signal for a graceful stop.
    fn stop_signal(&self) -> &'static str;
}
