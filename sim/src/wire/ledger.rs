//! The records that one process consumed and answered. No offset may be committed past an
//! unanswered command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::{Outcome, ReplyOutcome};
use sagamore_transport::{Delivery, Mark, Record, wire};

use crate::clocks::ProcessClock;

/// The tolerance for a command's expiry, because clocks may differ.
const EXPIRED_AFTER_MS: i64 = 60_000;

type RecordPosition = (Arc<str>, u32, u64);

/// The record of one process.
pub struct Ledger {
    /// The name of the process.
    pub who: Arc<str>,
    clock: ProcessClock,
    count: u64,
    commands: BTreeMap<RecordPosition, DeliveredCommand>,
    replies: BTreeMap<RecordPosition, String>,
    /// The moment of the last answer, by command id.
    answered: BTreeMap<String, u64>,
    /// Ids of commands whose replies were denied. Each needs a dead letter.
    denied: BTreeSet<String>,
}

struct DeliveredCommand {
    id: String,
    expires_at: Option<i64>,
    count: u64,
}

/// The effect of committed offsets.
#[derive(Debug, Default)]
pub struct CommittedOffsets {
    /// A command without an answer behind the offset.
    pub unanswered: Option<String>,
    /// The commands whose replies are behind the offset.
    pub replies: Vec<String>,
}

impl Ledger {
    /// Creates an empty ledger.
    pub fn new(who: &Arc<str>, clock: &ProcessClock) -> Ledger {
        let (commands, replies, answered, denied) = Default::default();
        Ledger {
            who: who.clone(),
            clock: clock.clone(),
            count: 0,
            commands,
            replies,
            answered,
            denied,
        }
    }

    /// Records delivered messages.
    pub fn delivery(&mut self, taken: &[Delivery]) {
        self.count += 1;
        for Delivery { record, partition, offset, .. } in taken {
            let place = (record.topic.clone(), *partition, *offset);
            if record.topic.ends_with(".commands") {
                if let Ok(command) = wire::decode_command(record) {
                    let expires_at = command.expires_at.map(|at| at.0);
                    self.commands.insert(
                        place,
                        DeliveredCommand { id: command.id(), expires_at, count: self.count },
                    );
                }
            } else if let Ok(reply) = wire::decode_reply(record)
                && is_always_stored(&reply.outcome)
            {
                self.replies.insert(place, reply.key.command_id());
            }
        }
    }

    /// Forgets the records behind the committed offsets. The log delivers them again, to this
    /// process or to another one of its group.
    pub fn rewound(&mut self) {
        self.commands.clear();
        self.replies.clear();
    }

    /// Forgets the commands of these topics: a new member begins at the committed offsets.
    pub fn resubscribed(&mut self, topics: &[Arc<str>]) {
        self.commands.retain(|(topic, ..), _| !topics.contains(topic));
    }

    /// Records that these messages may not be published.
    pub fn denied<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        let replies = records.filter_map(|record| wire::decode_reply(record).ok());
        self.denied.extend(replies.map(|reply| reply.key.command_id()));
    }

    /// Records published and acknowledged messages.
    pub fn answered(&mut self, records: &[Record]) {
        self.count += 1;
        for record in records.iter().filter(|record| !record.topic.ends_with(".commands")) {
            match wire::redrive(record) {
                Some(rejected) => self.rejected(&rejected),
                None => {
                    let reply = wire::decode_reply(record).ok();
                    self.answered.extend(reply.map(|reply| (reply.key.command_id(), self.count)));
                }
            }
        }
    }

    /// Records a dead letter. It stands for a command whose reply is denied, or for a reply that
    /// cannot be stored. The step of such a reply is set aside, and an operator may have it sent
    /// again at once.
    fn rejected(&mut self, record: &Record) {
        if let Ok(command) = wire::decode_command(record) {
            let id = command.id();
            if self.denied.contains(&id) {
                self.answered.insert(id, self.count);
            }
        } else if let Ok(reply) = wire::decode_reply(record) {
            let id = reply.key.command_id();
            self.replies.retain(|_, taken| *taken != id);
        }
    }

    /// Returns the effect of newly committed offsets.
    pub fn marked(&mut self, marks: &[Mark], now: i64) -> CommittedOffsets {
        let mut passed = CommittedOffsets::default();
        let is_passed = |place: &RecordPosition| {
            marks.iter().any(|mark| {
                mark.topic == place.0 && mark.partition == place.1 && place.2 < mark.next
            })
        };
        for (_, asked) in self.commands.extract_if(.., |place, _| is_passed(place)) {
            let expired = asked
                .expires_at
                .is_some_and(|at| at + EXPIRED_AFTER_MS < now + self.clock.ahead_ms_max());
            let answered = self.answered.get(&asked.id).is_some_and(|count| *count > asked.count);
            if !expired && !answered {
                passed.unanswered = Some(asked.id);
            }
        }
        passed.replies =
            self.replies.extract_if(.., |place, _| is_passed(place)).map(|(_, id)| id).collect();
        passed
    }
}

/// Returns whether an orchestrator stores a reply of this kind. A fault or an unknown outcome of a
/// command that was repeated often leaves no entry.
fn is_always_stored(outcome: &ReplyOutcome) -> bool {
    match outcome {
        ReplyOutcome::Final(Outcome::Fault(_)) | ReplyOutcome::Unknown(_) => false,
        ReplyOutcome::Final(_) | ReplyOutcome::Pending(_) | ReplyOutcome::Absent => true,
    }
}
