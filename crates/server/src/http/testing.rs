//! A toy choreography for the tests of this crate: a guest rings, and a host opens.

use std::sync::Arc;

use axum::Router;
use sagamore_core::{Name, Plan};
use sagamore_database::Database;
use sagamore_sdk::{Decided, Message, Never, Options, Participant, Reaction, Service, Tx, done};
use sagamore_transport::{Log, MemoryDisk, log};
use tokio::net::TcpListener;

use crate::client::Client;
use crate::parts::ServiceHost;

/// The guest has rung.
#[derive(Message)]
#[message(name = "bell.rung")]
pub struct BellRung {
    /// The guest's name.
    pub guest: String,
}

/// The host has opened.
#[derive(Message)]
#[message(name = "door.opened")]
pub struct DoorOpened {
    /// The guest's name.
    pub guest: String,
}

async fn open(_: Tx, BellRung { guest }: BellRung) -> Decided<DoorOpened, Never> {
    done(DoorOpened { guest })
}

/// Returns the plan of both services.
pub fn plan() -> Plan {
    let plan = Plan::named("visit")
        .begins("guest", "ring", "bell.rung")
        .undone_on(["host.away"], "guest.gone");
    let plan =
        plan.pivot("host", "open").on(["bell.rung"]).emits(["door.opened"]).fails(["host.away"]);
    plan.build().unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the plan's name.
pub fn name() -> Option<Name> {
    Some(plan().name)
}

/// Returns the host with its tables.
pub async fn host() -> ServiceHost {
    let log = Arc::new(Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap());
    let service = Service::named("host").reaction(Reaction::named("open").to(open));
    let database = Database::memory();
    let mut participant =
        Participant::new(service, database.clone(), log.clone(), Options::default());
    participant.prepare().await.unwrap();
    ServiceHost {
        name: "host".parse().unwrap(),
        database,
        outbox: participant.outbox(),
        transport: log,
        barrier_retention: Options::default().barrier_retention,
        reacts: true,
        is_embedded: true,
        orchestrators: Vec::new(),
        observers: Vec::new(),
    }
}

/// Serves a router, and returns a client of it.
pub async fn served(router: Router) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    client
}
