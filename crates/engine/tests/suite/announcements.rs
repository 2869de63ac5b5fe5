//! Announcements of participants: stored once per process, compared with what a definition sends.

use std::time::Duration;

use sagamore_core::announcement::{Announcement, HandledMessage, MessageKind, schema_hash};
use sagamore_core::{Definition, Name, Timestamp};
use sagamore_engine::announcements::LIVE_FOR;
use sagamore_engine::{AnnouncementReader, Announcements, SentMessage, Warning};
use sagamore_transport::Transport;
use sagamore_transport::torn::TORN;
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, encode_announcement};
use serde_json::json;

use crate::common::{Rig, booklet, wish};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Announces that a process of `alpha` handles the commands of the booklet.
fn alpha(process: &str, at: Timestamp) -> Announcement {
    let message = |name: &str, kind| HandledMessage { name: self::name(name), kind, schema: None };
    Announcement {
        participant: name("alpha"),
        process: process.to_owned(),
        at,
        messages: vec![
            message("alpha.write", MessageKind::Action),
            message("alpha.erase", MessageKind::Compensation),
        ],
        stopping: false,
    }
}

/// A rig with the reader of its orchestrator.
struct World {
    rig: Rig,
    reader: AnnouncementReader,
    announcements: Announcements,
}

impl World {
    async fn new() -> World {
        let rig = Rig::new().await;
        let reader = rig.orchestrator.announcement_reader();
        let announcements = rig.handle.announcements();
        let mut world = World { rig, reader, announcements };
        world.read().await;
        world
    }

    async fn read(&mut self) -> usize {
        self.reader.turn(self.rig.now).await.expect("read")
    }

    async fn announce(&mut self, announcement: &Announcement) {
        let published = self.rig.log.publish(vec![encode_announcement(announcement)]).await;
        published.expect("published");
        assert_eq!(self.read().await, 1);
    }

    async fn warnings_of(&self, definition: &Definition) -> Vec<Warning> {
        let sent = SentMessage::of_definition(definition);
        self.announcements.warnings(&sent, self.rig.now).await.expect("read")
    }

    /// Returns the warnings about `alpha`. `beta` never announces itself.
    async fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.warnings_of(&booklet(1)).await;
        let beta = Warning::NeverAnnounced { participant: name("beta") };
        assert_eq!(warnings.pop(), Some(beta));
        warnings
    }
}

fn gone(message: &str, since: Timestamp) -> Warning {
    Warning::Gone { participant: name("alpha"), message: name(message), since }
}

#[tokio::test]
async fn a_message_without_a_live_process_is_warned_of_until_a_process_announces_it() {
    let mut world = World::new().await;
    let never = Warning::NeverAnnounced { participant: name("alpha") };
    assert_eq!(world.warnings().await, [never]);
    let began = world.rig.now;
    world.announce(&alpha("1", began)).await;
    assert_eq!(world.warnings().await, []);
    world.rig.passes(LIVE_FOR - SECOND);
    assert_eq!(world.warnings().await, [], "it may be late");
    world.rig.passes(SECOND);
    let expected = [gone("alpha.write", began), gone("alpha.erase", began)];
    assert_eq!(world.warnings().await, expected);
    world.announce(&alpha("1", world.rig.now)).await;
    assert_eq!(world.warnings().await, []);
}

#[tokio::test]
async fn one_live_process_suffices_and_a_stopped_one_is_gone_at_once() {
    let mut world = World::new().await;
    let now = world.rig.now;
    world.announce(&alpha("1", now)).await;
    world.announce(&alpha("2", now.plus(SECOND))).await;
    let stopping = |process, at| Announcement { stopping: true, ..alpha(process, at) };
    world.rig.passes(3 * SECOND);
    world.announce(&stopping("1", now.plus(2 * SECOND))).await;
    assert_eq!(world.warnings().await, []);
    world.announce(&stopping("2", now.plus(3 * SECOND))).await;
    // a redelivered record does not bring it back
    world.announce(&alpha("2", now.plus(SECOND))).await;
    let since = now.plus(3 * SECOND);
    assert_eq!(world.warnings().await, [gone("alpha.write", since), gone("alpha.erase", since)]);
}

#[tokio::test]
async fn a_message_that_no_process_names_is_not_handled() {
    let mut world = World::new().await;
    let mut without_undo = alpha("1", world.rig.now);
    without_undo.messages.truncate(1);
    world.announce(&without_undo).await;
    let (participant, message) = (name("alpha"), name("alpha.erase"));
    assert_eq!(world.warnings().await, [Warning::NotHandled { participant, message }]);
    // the same name as another kind of message is another message
    without_undo.messages[0].kind = MessageKind::Query;
    world.announce(&without_undo).await;
    let not_handled = world.warnings().await;
    assert!(matches!(&not_handled[..], [Warning::NotHandled { .. }, Warning::NotHandled { .. }]));
}

#[tokio::test]
async fn a_live_process_with_another_schema_is_named_with_both_hashes() {
    let mut world = World::new().await;
    let mut draft = serde_json::to_value(booklet(1)).expect("JSON");
    let schema = json!({ "type": "object" });
    draft["schemas"] = json!({ "messages": { "alpha.write": schema } });
    let draft = serde_json::from_value(draft).expect("a draft");
    let definition = Definition::check(draft).expect("a valid definition");
    let mut announced = alpha("1", world.rig.now);
    world.announce(&announced).await;
    let beta = Warning::NeverAnnounced { participant: name("beta") };
    assert_eq!(
        world.warnings_of(&definition).await,
        std::slice::from_ref(&beta),
        "no schema was announced"
    );
    announced.messages[0].schema = Some(schema_hash(&schema));
    world.announce(&announced).await;
    assert_eq!(world.warnings_of(&definition).await, std::slice::from_ref(&beta));
    announced.messages[0].schema = Some("other".to_owned());
    world.announce(&announced).await;
    let other = Warning::OtherSchema {
        participant: name("alpha"),
        message: name("alpha.write"),
        announced: "other".to_owned(),
        expected: schema_hash(&schema),
    };
    assert_eq!(world.warnings_of(&definition).await, [other, beta]);
}

#[tokio::test]
async fn an_unreadable_announcement_is_skipped() {
    let mut world = World::new().await;
    let record = encode_announcement(&alpha("1", world.rig.now));
    let mut malformed = record.clone();
    malformed.body = "{".into();
    let mut torn = record.clone();
    torn.body = TORN.into();
    world.rig.log.publish(vec![malformed, torn, record]).await.expect("published");
    assert_eq!(world.read().await, 3);
    assert_eq!(world.warnings().await, []);
    assert_eq!(world.read().await, 0, "all are committed");
    let mut another = world.rig.orchestrator.announcement_reader();
    assert_eq!(another.turn(world.rig.now).await.expect("read"), 0, "one group reads each once");
}

#[tokio::test]
async fn a_process_is_forgotten_after_a_week_and_beyond_the_maximum() {
    let mut world = World::new().await;
    world.announce(&alpha("1", world.rig.now)).await;
    world.rig.passes(7 * DAY);
    world.read().await;
    assert_eq!(world.announcements.processes(&name("alpha")).await.expect("read").len(), 1);
    world.rig.passes(601 * SECOND);
    world.read().await;
    assert_eq!(world.announcements.processes(&name("alpha")).await.expect("read"), []);
    // a process that restarts again and again
    let began = world.rig.now.minus(DAY);
    let restart = |number: u64| alpha(&number.to_string(), began.plus(SECOND * number as u32));
    let restarts = (0..3_000).map(|number| encode_announcement(&restart(number)));
    world.rig.log.publish(restarts.collect()).await.expect("published");
    while world.read().await > 0 {}
    let sql = "SELECT count(*), max(seen_at) FROM announcement";
    let rows = world.rig.database.query(sql, ()).await.expect("read");
    let count: i64 = rows[0].get(0).expect("a number");
    assert!((2_000..3_000).contains(&count), "{count}");
    assert_eq!(rows[0].get::<i64>(1).expect("a time"), restart(2_999).at.0);
}

#[tokio::test]
async fn a_clock_that_is_ahead_does_not_make_a_process_live_longer() {
    let mut world = World::new().await;
    let now = world.rig.now;
    world.announce(&alpha("1", now.plus(DAY))).await;
    world.rig.passes(LIVE_FOR);
    assert_eq!(world.warnings().await[0], gone("alpha.write", now));
}

#[tokio::test]
async fn a_saga_awaits_the_commands_without_a_reply() {
    let mut world = World::new().await;
    world.rig.start(wish("one", "a")).await.expect("accepted");
    world.rig.turn().await;
    let detail = world.rig.show("one").await.expect("stored");
    let awaited = SentMessage::awaited_by(&detail.saga);
    let names: Vec<&str> = awaited.iter().map(|sent| sent.message.as_str()).collect();
    assert_eq!(names, ["alpha.write"]);
}

#[tokio::test]
async fn a_missing_topic_is_warned_of() {
    let world = World::new().await;
    let mut draft = serde_json::to_value(booklet(1)).expect("JSON");
    for step in draft["steps"].as_array_mut().expect("steps") {
        step["action"]["participant"] = "gamma".into();
        if !step["compensation"].is_null() {
            step["compensation"]["participant"] = "gamma".into();
        }
    }
    let draft = serde_json::from_value(draft).expect("a draft");
    let definition = Definition::check(draft).expect("a valid definition");
    let missing = Warning::MissingTopic { topic: "gamma.commands".to_owned() };
    let never = Warning::NeverAnnounced { participant: name("gamma") };
    assert_eq!(world.warnings_of(&definition).await, [missing, never]);
    let created = world.rig.log.create_topic("gamma.commands", 1).await;
    created.expect("created");
    assert_eq!(world.warnings_of(&definition).await.len(), 1);
    assert!(world.rig.log.topic_exists(PARTICIPANTS_TOPIC).await.expect("query"));
}
