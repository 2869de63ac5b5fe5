//! What one process was given, and what it answered: nothing may be passed by an offset that was not answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::Outcome;
use sagamore_transport::{Delivered, Mark, Record, wire};

use crate::clocks::ProcessClock;

/// So much later than it says a participant skips a command: clocks may differ.
const EXPIRED_AFTER_MS: i64 = 60_000;

type Place = (Arc<str>, u32, u64);

/// The book of one process.
pub struct Ledger {
    /// Whose it is.
    pub who: Arc<str>,
    clock: ProcessClock,
    count: u64,
    commands: BTreeMap<Place, Asked>,
    replies: BTreeMap<Place, String>,
    /// A command's id -> when it was answered last.
    answered: BTreeMap<String, u64>,
    /// Ids of commands whose answers the process may not send: a dead letter stands for each.
    denied: BTreeSet<String>,
}

struct Asked {
    id: String,
    expires_at: Option<i64>,
    count: u64,
}

/// What offsets have passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// A command that was not answered.
    pub unanswered: Option<String>,
    /// The commands whose answers were taken.
    pub replies: Vec<String>,
}

impl Ledger {
    /// An empty one.
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

    /// These were taken.
    pub fn delivered(&mut self, taken: &[Delivered]) {
        self.count += 1;
        for Delivered { record, partition, offset, .. } in taken {
            let place = (record.topic.clone(), *partition, *offset);
            if record.topic.ends_with(".commands") {
                if let Ok(command) = wire::decode_command(record) {
                    let expires_at = command.expires_at.map(|at| at.0);
                    self.commands
                        .insert(place, Asked { id: command.id(), expires_at, count: self.count });
                }
            } else if let Ok(reply) = wire::decode_reply(record)
                && !matches!(reply.outcome, Outcome::Fault(_))
            {
                self.replies.insert(place, reply.key.command_id());
            }
        }
    }

    /// Forgets the records behind the committed offsets: the log delivers them again, to this process or to another one
    /// of its group.
    pub fn rewound(&mut self) {
        self.commands.clear();
        self.replies.clear();
    }

    /// These may not be published.
    pub fn denied<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        let replies = records.filter_map(|record| wire::decode_reply(record).ok());
        self.denied.extend(replies.map(|reply| reply.key.command_id()));
    }

    /// These were published and acknowledged.
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

    /// A dead letter stands for this record: for a command whose answer may not be sent, or for a reply that cannot be
    /// stored. The step of such a reply is set aside, and a person may have it sent again at once.
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

    /// These offsets were committed.
    pub fn marked(&mut self, marks: &[Mark], now: i64) -> Passed {
        let mut passed = Passed::default();
        let is_passed = |place: &Place| {
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
