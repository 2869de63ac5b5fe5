//! A crowd: in some runs there are a hundred sagas before anything else begins, and now and then more than a thousand.
//! Nobody answers them, so that each takeover reads all of them and sends again what they have asked.

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

use crate::client::name;
use crate::world::Shared;

/// How the ids of these sagas begin.
pub const PREFIX: &str = "vigil:";

/// What a vigil is started with.
#[derive(Clone, Debug, Message)]
pub struct Vigil {
    /// The business key.
    pub vigil_id: String,
}

/// Asks for the one step. No service has it.
#[derive(Clone, Debug, Message)]
#[message(to = "sentry")]
pub struct Watch {
    /// Which vigil.
    pub vigil_id: String,
}

/// The plan: one step, with more patience than a run takes.
pub fn vigil() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("vigil").version(1);
    let VigilFrom { vigil_id } = saga.input::<Vigil>();
    saga.pivot("watch").asks(WatchFrom { vigil_id }).timeout(Duration::from_secs(3_600));
    saga.build()
}

/// Starts so many sagas in an engine's database by an orchestrator that nothing happens to, and whose messages are lost.
pub fn gather(world: &Shared, database: &Database, partitions: u32, count: usize) {
    let disk = Arc::new(MemoryDisk::new());
    let log = Log::on(disk, log::Options::default()).expect("open a log");
    let options =
        Options { owner: "before".to_owned(), reply_partitions: partitions, ..Options::default() };
    let (now, mut rng) = (world.clock(0), world.fork());
    let started = async {
        let definitions = vec![vigil().expect("the vigil is sound")];
        let opened =
            Orchestrator::open(options, database.clone(), Arc::new(log), definitions).await;
        let (mut orchestrator, handle) = opened.expect("open an orchestrator");
        let start = |number: usize| Start {
            definition: name("vigil"),
            key: number.to_string(),
            input: Body::of(&Vigil { vigil_id: number.to_string() }).expect("it is JSON"),
            idempotency_key: None,
            trace: None,
        };
        let mut started = pin!(join_all((0..count).map(|number| handle.start(start(number)))));
        assert!(started.as_mut().now_or_never().is_none(), "they wait for a turn");
        for _ in 0..=count / 500 {
            orchestrator.turn(now, &mut rng).await.expect("nothing fails");
        }
        let started = started.await;
        assert!(started.iter().all(Result::is_ok), "a vigil was not started");
    };
    started.now_or_never().expect("a database and a log in memory answer at once");
}
