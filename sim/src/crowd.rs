//! A crowd: some runs start with a hundred sagas, a few with more than a thousand. No participant
//! answers these sagas, so each takeover reads all of them and resends their commands.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use sagamore_core::{Body, Definition, definition};
use sagamore_database::Database;
use sagamore_engine::{Options, Orchestrator, Start};
use sagamore_sdk::Message;
use sagamore_transport::log::{self, Log, MemoryDisk};

use crate::watched::Shared;

/// The input of a vigil.
#[derive(Clone, Debug, Message)]
pub struct Vigil {
    /// The business key.
    pub vigil_id: String,
}

/// The command of the only step, which no service handles.
#[derive(Clone, Debug, Message)]
#[message(to = "sentry")]
pub struct Watch {
    /// The vigil's key.
    pub vigil_id: String,
}

/// Returns the definition: one step with a timeout longer than any run.
pub fn vigil() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("vigil").version(1);
    let VigilFrom { vigil_id } = saga.input::<Vigil>();
    saga.pivot("watch").sends(WatchFrom { vigil_id }).timeout(Duration::from_secs(3_600));
    saga.build()
}

/// Starts sagas in the engine's database, by an orchestrator without faults whose messages are
/// discarded.
pub fn gather(world: &Shared, database: &Database, partitions: u32, count: usize) {
    let disk = Arc::new(MemoryDisk::new());
    let log = Log::on(disk, log::Options::default()).expect("open a log");
    let options =
        Options { owner: "before".to_owned(), reply_partitions: partitions, ..Options::default() };
    let (now, mut rng) = (world.clock(0), world.fork());
    let started = async {
        let definitions = vec![vigil().expect("the definition is valid")];
        let opened =
            Orchestrator::open(options, database.clone(), Arc::new(log), definitions).await;
        let (mut orchestrator, handle) = opened.expect("open an orchestrator");
        let start = |number: usize| Start {
            definition: "vigil".parse().expect("a name"),
            version: None,
            key: number.to_string(),
            input: Body::of(&Vigil { vigil_id: number.to_string() })
                .expect("the input serializes to JSON"),
            idempotency_key: None,
            trace: None,
        };
        let mut started = pin!(join_all((0..count).map(|number| handle.start(start(number)))));
        assert!(started.as_mut().now_or_never().is_none(), "starts wait for a turn");
        for _ in 0..=count / 500 {
            orchestrator.turn(now, &mut rng).await.expect("the turn succeeds");
        }
        let started = started.await;
        assert!(started.iter().all(Result::is_ok), "a start failed");
    };
    started.now_or_never().expect("in memory, nothing blocks");
}
