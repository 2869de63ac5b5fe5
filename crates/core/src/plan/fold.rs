//! One chain as observed. Its events arrive in any order, some repeatedly, and are matched to the
//! plan.
//!
//! Every result depends on the set of observed events, never on their order.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::plan::{Anomaly, EVENTS_MAX, Part, Plan, Role};
use crate::time::Timestamp;

/// Maximum number of stored events that are not in the plan.
pub const UNEXPECTED_MAX: usize = 16;

/// An event of the chain, as observed on its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// The event's id, the same for every emission.
    pub id: String,
    /// The event's name, such as `payment.success`.
    pub name: Name,
    /// The id of the event that caused it; `None` for a chain's first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// The number of events before it in the chain of causes.
    pub hop: u32,
    /// The time of the first emission by the service's clock. Only for display.
    pub at: Timestamp,
    /// The time of the first observation by the observer's clock. Lateness is counted from it.
    pub seen_at: Timestamp,
}

/// A chain, as known from its observed events.
#[derive(Clone, Debug)]
pub struct Chain {
    plan: Result<Arc<Plan>, u32>,
    seen: Vec<Seen>,
    repeats: u64,
    dropped: u64,
}

/// The effect of an observed event on its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The event is new.
    New,
    /// An event with this id was observed before. The repeat is only counted.
    Repeat,
    /// The chain stores no more events of its kind. It is only counted.
    Dropped,
}

/// The state of a chain at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A service must act next.
    Running,
    /// Every part is done.
    Completed,
    /// A part failed, and undos are outstanding within the deadline.
    Compensating,
    /// A part failed, and every owed undo was observed.
    Compensated,
    /// The deadline passed while a service had to act.
    Stuck,
    /// A part failed, and an undo is outstanding past the deadline.
    HalfCompensated,
    /// The observed events contradict the plan.
    Anomalous(Anomaly),
    /// The plan's version is not known here.
    UnknownVersion(u32),
}

impl Chain {
    /// Creates a chain of this plan without events.
    pub fn new(plan: Arc<Plan>) -> Chain {
        Chain { plan: Ok(plan), seen: Vec::new(), repeats: 0, dropped: 0 }
    }

    /// Creates a chain of an unknown plan version. Its events are stored and shown, but not
    /// checked.
    pub fn of_unknown_version(version: u32) -> Chain {
        Chain { plan: Err(version), seen: Vec::new(), repeats: 0, dropped: 0 }
    }

    /// Adds an event. Two ids per name are stored: the second one is an anomaly, and further ones
    /// add no information.
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

    /// Returns the chain's state at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        if let Err(version) = self.plan {
            return State::UnknownVersion(version);
        }
        if let Some(anomaly) = self.anomalies(now).into_iter().next() {
            return State::Anomalous(anomaly);
        }
        match (self.compensates(), self.is_settled(), self.due(now)) {
            (true, true, _) => State::Compensated,
            (true, false, false) => State::Compensating,
            (true, false, true) => State::HalfCompensated,
            (false, true, _) => State::Completed,
            (false, false, false) => State::Running,
            (false, false, true) => State::Stuck,
        }
    }

    /// Returns when the chain becomes late; `None` if it is over or its plan has no deadline.
    ///
    /// The time is counted from the first observed event. While the chain compensates, it is
    /// counted from the oldest outstanding undo.
    pub fn deadline(&self) -> Option<Timestamp> {
        let allowed = Duration::from_millis(self.plan.as_ref().ok()?.deadline_ms?);
        let start = self.seen.iter().map(|seen| seen.seen_at).min()?;
        if self.is_settled() {
            return None;
        }
        let waits = self.waits_for();
        let open = waits
            .iter()
            .map(|wait| wait.since)
            .chain(self.orphans().map(|orphan| orphan.seen_at))
            .min();
        let from = if self.compensates() { open } else { None };
        Some(from.unwrap_or(start).plus(allowed))
    }

    /// Returns whether the chain is late at `now`. If it is also `Stuck`, the plan's `overdue`
    /// event must be emitted.
    pub fn due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Returns whether the plan has an `overdue` event that was not observed.
    pub fn lacks_overdue(&self) -> bool {
        let overdue = self.plan().and_then(|plan| plan.overdue.as_ref());
        overdue.is_some_and(|overdue| self.seen_at(overdue).is_none())
    }

    /// Returns the number of observed repeats of known ids.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Returns the number of events that were dropped because the limit of their kind was reached.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the events in the order of their observation.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Returns the plan, if its version is known.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref().ok()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.plan().into_iter().flat_map(Plan::parts)
    }

    /// Returns whether the plan has the event.
    pub(super) fn expects(&self, event: &Name) -> bool {
        self.plan().is_some_and(|plan| {
            plan.overdue.as_ref() == Some(event) || plan.emitter(event).is_some()
        })
    }

    /// Returns whether any part failed or was undone.
    pub(super) fn compensates(&self) -> bool {
        let roles = self.parts().flat_map(|part| part.events());
        roles
            .filter(|(_, role)| *role != Role::Success)
            .any(|(event, _)| self.seen_at(event).is_some())
    }

    /// Returns when an event was first observed.
    pub(super) fn seen_at(&self, event: &Name) -> Option<Timestamp> {
        self.seen.iter().filter(|seen| seen.name == *event).map(|seen| seen.seen_at).min()
    }

    /// Iterates over the events whose cause was not observed.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| {
            let cause = seen.causation.as_ref();
            cause.is_some_and(|cause| self.seen.iter().all(|other| other.id != *cause))
        })
    }

    fn is_settled(&self) -> bool {
        !self.seen.is_empty() && self.waits_for().is_empty() && self.orphans().next().is_none()
    }

    /// Returns the limit of unexpected events. In an unknown version every event is unexpected, so
    /// its limit is that of a whole plan.
    fn unexpected_max(&self) -> usize {
        if self.plan.is_ok() { UNEXPECTED_MAX } else { EVENTS_MAX }
    }
}
