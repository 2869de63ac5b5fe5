//! One chain, as far as it was seen: its events in any order, some twice, put together by what the plan expects.
//!
//! Whatever is asked depends on which events were seen, never on the order in which they came.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::plan::{Anomaly, EVENTS_MAX, Part, Plan, Role};
use crate::time::Timestamp;

/// At most this many events are kept that the plan does not have.
pub const UNEXPECTED_MAX: usize = 16;

/// An event of the chain that was seen on its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// The same however often it is emitted.
    pub id: String,
    /// `payment.success`.
    pub name: Name,
    /// The id of the event that led to it; none for the one that began the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// How many events led to it.
    pub hop: u32,
    /// When it was emitted first, by the clock of its service: to be shown, and nothing else.
    pub at: Timestamp,
    /// When it was seen first, by the observer's clock: what lateness is counted from.
    pub seen_at: Timestamp,
}

/// A chain by the events that were seen of it.
#[derive(Clone, Debug)]
pub struct Chain {
    plan: Result<Arc<Plan>, u32>,
    seen: Vec<Seen>,
    repeats: u64,
    dropped: u64,
}

/// What became of an event that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not seen before.
    New,
    /// Its id was seen before: counted, and no more.
    Repeat,
    /// There are enough of its kind: counted, and no more.
    Dropped,
}

/// Where a chain stands at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Somebody is to go on.
    Running,
    /// All is done.
    Completed,
    /// Something failed, and undos are owed that may still come.
    Compensating,
    /// Something failed, and all undos that were owed are there.
    Compensated,
    /// The deadline passed while somebody was to go on.
    Stuck,
    /// Something failed, and an undo is owed for longer than the deadline allows.
    HalfCompensated,
    /// What was seen contradicts the plan.
    Anomalous(Anomaly),
    /// A chain of this version of the plan, which is not known here.
    UnknownVersion(u32),
}

impl Chain {
    /// A chain of this plan, of which nothing was seen yet.
    pub fn new(plan: Arc<Plan>) -> Chain {
        Chain { plan: Ok(plan), seen: Vec::new(), repeats: 0, dropped: 0 }
    }

    /// A chain of a version that is not known here: its events are kept and shown, and nothing is expected of it.
    pub fn of_unknown_version(version: u32) -> Chain {
        Chain { plan: Err(version), seen: Vec::new(), repeats: 0, dropped: 0 }
    }

    /// Takes an event. Of one name the first two ids are kept: the second one is an anomaly, more tell nothing new.
    pub fn take(&mut self, seen: Seen) -> Taken {
        if self.seen.iter().any(|known| known.id == seen.id) {
            self.repeats += 1;
            return Taken::Repeat;
        }
        let same_name = self.seen.iter().filter(|known| known.name == seen.name).count();
        let unexpected = self.seen.iter().filter(|known| !self.expects(&known.name)).count();
        if same_name == 2 || (!self.expects(&seen.name) && unexpected == self.unexpected_max()) {
            self.dropped += 1;
            return Taken::Dropped;
        }
        self.seen.push(seen);
        Taken::New
    }

    /// Where the chain stands at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        if let Err(version) = self.plan {
            return State::UnknownVersion(version);
        }
        if let Some(anomaly) = self.anomalies(now).into_iter().next() {
            return State::Anomalous(anomaly);
        }
        match (self.goes_back(), self.is_settled(), self.due(now)) {
            (true, true, _) => State::Compensated,
            (true, false, false) => State::Compensating,
            (true, false, true) => State::HalfCompensated,
            (false, true, _) => State::Completed,
            (false, false, false) => State::Running,
            (false, false, true) => State::Stuck,
        }
    }

    /// When the chain becomes late unless an event comes: counted from when its first event was seen, or when it goes back, from what first
    /// called for an undo that is not there. None: it is over, or the plan has no deadline.
    pub fn deadline(&self) -> Option<Timestamp> {
        let allowed = Duration::from_millis(self.plan.as_ref().ok()?.deadline_ms?);
        let start = self.seen.iter().map(|seen| seen.seen_at).min()?;
        if self.is_settled() {
            return None;
        }
        let waits = self.waits_for();
        let open = waits.iter().map(|wait| wait.since).chain(self.orphans().map(|orphan| orphan.seen_at)).min();
        let from = if self.goes_back() { open } else { None };
        Some(from.unwrap_or(start).plus(allowed))
    }

    /// Whether the chain is late at `now`. While it is `Stuck`, this is when the plan's `overdue` is to be emitted.
    pub fn due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether its plan has it told when a chain is overdue, and that was not seen.
    pub fn lacks_overdue(&self) -> bool {
        let overdue = self.plan().and_then(|plan| plan.overdue.as_ref());
        overdue.is_some_and(|overdue| self.seen_at(overdue).is_none())
    }

    /// How many events came again, with an id that was seen.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// How many events were not kept, because there were enough of their kind.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The events, in the order in which they were seen.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// The plan, when its version is known.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref().ok()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.plan().into_iter().flat_map(Plan::parts)
    }

    /// Whether the plan has the event.
    pub(super) fn expects(&self, event: &Name) -> bool {
        self.plan().is_some_and(|plan| plan.overdue.as_ref() == Some(event) || plan.emitter(event).is_some())
    }

    /// Whether anything failed or was undone.
    pub(super) fn goes_back(&self) -> bool {
        let roles = self.parts().flat_map(|part| part.events());
        roles.filter(|(_, role)| *role != Role::Success).any(|(event, _)| self.seen_at(event).is_some())
    }

    /// When an event was seen first, if it was.
    pub(super) fn seen_at(&self, event: &Name) -> Option<Timestamp> {
        self.seen.iter().filter(|seen| seen.name == *event).map(|seen| seen.seen_at).min()
    }

    /// The events whose cause was not seen.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| {
            let cause = seen.causation.as_ref();
            cause.is_some_and(|cause| self.seen.iter().all(|other| other.id != *cause))
        })
    }

    fn is_settled(&self) -> bool {
        !self.seen.is_empty() && self.waits_for().is_empty() && self.orphans().next().is_none()
    }

    /// Of an unknown version nothing is expected, and a plan's worth of events is kept.
    fn unexpected_max(&self) -> usize {
        if self.plan.is_ok() { UNEXPECTED_MAX } else { EVENTS_MAX }
    }
}
