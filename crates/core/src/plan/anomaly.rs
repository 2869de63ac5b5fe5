//! Anomalies: contradictions between a chain's observed events and every possible run of its plan.

use crate::id::Name;
use crate::plan::{Chain, Role};
use crate::time::Timestamp;

/// A contradiction between the observed events and the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Anomaly {
    /// The plan has no such event.
    #[error(
        "'{event}' was emitted, but is not an event of the plan: does a service run another \
         version of it?"
    )]
    Unexpected { event: Name },
    /// Two ids of one event were observed.
    #[error(
        "'{event}' was emitted with two ids, so its service acted twice: check that service's \
         barrier"
    )]
    Double { event: Name },
    /// A reaction emitted two outcomes.
    #[error("'{reaction}' emitted both '{first}' and '{second}', but may emit only one of them")]
    BothOutcomes { reaction: Name, first: Name, second: Name },
    /// The pivot acted, and the chain compensates nevertheless.
    #[error("'{back}' was emitted, although '{pivot}' is past the point of no return")]
    BackAfterPivot { pivot: Name, back: Name },
    /// The cause of an event is missing. Reported only once the chain is late, because the cause
    /// may still arrive.
    #[error(
        "'{event}' was caused by '{causation}', which was never observed: emit the lost event again"
    )]
    Orphan { event: Name, causation: String },
    /// An event is missing. Reported only once the chain is late, because the event may still
    /// arrive.
    #[error("'{event}' was never observed, but its consequences were: emit the lost event again")]
    Gap { event: Name },
}

impl Chain {
    /// Returns all contradictions to the plan at `now`, in a stable order; none if the plan's
    /// version is unknown.
    pub fn anomalies(&self, now: Timestamp) -> Vec<Anomaly> {
        if self.plan().is_none() {
            return Vec::new();
        }
        let mut anomalies = Vec::new();
        self.strays(&mut anomalies);
        self.contradictions(&mut anomalies);
        if self.due(now) {
            anomalies.extend(self.orphans().map(|orphan| Anomaly::Orphan {
                event: orphan.name.clone(),
                causation: orphan.causation.clone().unwrap_or_default(),
            }));
            let missing = self.missing().into_iter().flat_map(|wait| wait.events);
            anomalies.extend(missing.map(|event| Anomaly::Gap { event }));
        }
        anomalies.sort();
        anomalies.dedup();
        anomalies
    }

    fn strays(&self, anomalies: &mut Vec<Anomaly>) {
        for (index, seen) in self.seen().iter().enumerate() {
            let event = seen.name.clone();
            if !self.expects(&event) {
                anomalies.push(Anomaly::Unexpected { event });
            } else if self.seen()[..index].iter().any(|earlier| earlier.name == event) {
                anomalies.push(Anomaly::Double { event });
            }
        }
    }

    fn contradictions(&self, anomalies: &mut Vec<Anomaly>) {
        let is_there = |event: &&Name| self.seen_at(event).is_some();
        let crossed = self
            .parts()
            .filter(|part| part.pivot)
            .find_map(|part| part.emits.iter().find(is_there));
        for part in self.parts() {
            let mut outcomes = part.emits.iter().chain(part.fails).filter(is_there);
            if let (Some(first), Some(second)) = (outcomes.next(), outcomes.next()) {
                let (reaction, first, second) = (part.name.clone(), first.clone(), second.clone());
                anomalies.push(Anomaly::BothOutcomes { reaction, first, second });
            }
            let back =
                part.events().filter(|(event, role)| *role != Role::Success && is_there(event));
            anomalies.extend(back.filter_map(|(event, _)| {
                Some(Anomaly::BackAfterPivot { pivot: crossed?.clone(), back: event.clone() })
            }));
        }
    }
}
