//! A running process announces what it handles, and its end.

use sagamore_core::announcement::{Announcement, HandledMessage, MessageKind, schema_hash};
use sagamore_sdk::{Decided, Message, Never, Options, Participant, Reaction, Service, Tx, done};
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, decode_announcement};
use sagamore_transport::{Consumer, Log, Subscription, Transport};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::World;

#[derive(Message)]
#[message(to = "desk", yields = Noted, schema)]
struct Note {
    text: String,
}

#[derive(Message)]
struct Noted {
    text: String,
}

#[derive(Message)]
#[message(to = "desk", undoes = Note)]
struct Strike;

#[derive(Message)]
#[message(name = "bell.rung", schema)]
struct BellRung {
    at: String,
}

#[derive(Message)]
#[message(name = "desk.woken")]
struct DeskWoken {
    at: String,
}

async fn note(_: Tx, Note { text }: Note) -> Decided<Noted, Never> {
    done(Noted { text })
}

async fn strike(_: Tx, _: Noted) -> Decided<(), Never> {
    done(())
}

async fn wake(_: Tx, BellRung { at }: BellRung) -> Decided<DeskWoken, Never> {
    done(DeskWoken { at })
}

fn desk() -> Service {
    let wakes = Reaction::named("wake").to(wake);
    Service::named("desk").action(note).compensation::<Strike>(strike).reaction(wakes)
}

/// A running process of the desk.
struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    fn start(world: &World) -> Running {
        let database = sagamore_database::Database::memory();
        let log = std::sync::Arc::new(world.log.clone());
        let participant = Participant::new(desk(), database, log, Options::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            participant.run(async { drop(stopped.await) }).await.expect("no permanent error");
        });
        Running { stop, ended }
    }

    async fn stop(self) {
        drop(self.stop);
        self.ended.await.expect("no panic");
    }
}

async fn announcements(log: &Log) -> Box<dyn Consumer> {
    log.create_topic(PARTICIPANTS_TOPIC, 1).await.expect("created");
    let topics = vec![PARTICIPANTS_TOPIC.into()];
    let subscription = Subscription { group: "test".into(), topics, partitions: None };
    log.subscribe(subscription).await.expect("subscribed")
}

/// Waits for the next announcement.
async fn next(consumer: &mut dyn Consumer) -> Announcement {
    loop {
        if let Some(delivery) = consumer.poll(1).await.expect("polled").first() {
            return decode_announcement(&delivery.record).expect("an announcement");
        }
        consumer.ready().await;
    }
}

#[tokio::test]
async fn an_announcement_lists_every_message_with_its_schema() {
    let world = World::new().await;
    let mut consumer = announcements(&world.log).await;
    let running = Running::start(&world);
    let announced = next(consumer.as_mut()).await;
    let message = |name: &str, kind, schema: Option<serde_json::Value>| HandledMessage {
        name: name.parse().expect("a name"),
        kind,
        schema: schema.as_ref().map(schema_hash),
    };
    assert_eq!(announced.participant.as_str(), "desk");
    assert!(!announced.stopping);
    let expected = [
        message("desk.note", MessageKind::Action, Note::schema()),
        message("desk.strike", MessageKind::Compensation, None),
        message("bell.rung", MessageKind::Reaction, BellRung::schema()),
    ];
    assert_eq!(announced.messages, expected);
    assert!(expected[0].schema.is_some() && expected[2].schema.is_some());
    running.stop().await;
}

#[tokio::test]
async fn a_process_that_stops_announces_its_end() {
    let world = World::new().await;
    let mut consumer = announcements(&world.log).await;
    let running = Running::start(&world);
    let first = next(consumer.as_mut()).await;
    running.stop().await;
    let end = next(consumer.as_mut()).await;
    assert_eq!(end, Announcement { at: end.at, stopping: true, ..first.clone() });
    assert!(end.at >= first.at);
}
