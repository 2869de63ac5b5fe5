//! A whole program for one test, whose data is removed at the end.

use std::io::ErrorKind;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::program::Program;
use crate::running::{Running, StartOptions};

/// Attempts to remove the directory. A task that ends meanwhile may still create a file in it.
const ATTEMPTS: u32 = 50;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// A program on the embedded stack, with its data in a temporary directory and its HTTP API on a
/// free port of this host. Dropping it acts like a crash of the process and removes the directory,
/// even after a panic.
///
/// ```
/// use sagamore::Program;
/// use sagamore::testing::TestProgram;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let program = TestProgram::start(Program::named("trip")).await;
/// assert!(program.url().starts_with("http://127.0.0.1:"));
/// program.stop().await;
/// # }
/// ```
pub struct TestProgram {
    running: Option<Running>,
    url: String,
    directory: TempDir,
}

impl TestProgram {
    /// Starts the program's main story.
    ///
    /// # Panics
    ///
    /// The program does not start; the message says why.
    pub async fn start(program: Program) -> TestProgram {
        TestProgram::of(program, false).await
    }

    /// Starts the program's choreography.
    ///
    /// # Panics
    ///
    /// The program does not start; the message says why.
    pub async fn start_choreography(program: Program) -> TestProgram {
        TestProgram::of(program, true).await
    }

    async fn of(program: Program, choreography: bool) -> TestProgram {
        let directory = TempDir::new().expect("create a temporary directory");
        let options = StartOptions {
            listen: Some("127.0.0.1:0".to_owned()),
            choreography,
            ..StartOptions::of(directory.path())
        };
        let running = match program.start(options).await {
            Ok(running) => running,
            Err(error) => panic!("the program does not start: {error:#}"),
        };
        let address = running.address().expect("the options have an address");
        TestProgram { running: Some(running), url: format!("http://{address}"), directory }
    }

    /// Returns the address of the HTTP API: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the data directory.
    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Finishes the work in progress, and removes the directory.
    ///
    /// # Panics
    ///
    /// A task failed or does not end in time.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            let stopped = running.stop().await;
            stopped.unwrap_or_else(|error| panic!("the program does not stop: {error:#}"));
        }
    }
}

impl Deref for TestProgram {
    type Target = Running;

    fn deref(&self) -> &Running {
        self.running.as_ref().expect("the program runs until its stop")
    }
}

impl Drop for TestProgram {
    fn drop(&mut self) {
        drop(self.running.take());
        for _ in 0..ATTEMPTS {
            match std::fs::remove_dir_all(self.directory.path()) {
                Ok(()) => return,
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}
