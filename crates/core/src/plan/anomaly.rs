//! What a chain's events can show that no run of its plan leads to.

use crate::id::Name;
use crate::plan::{Chain, Role};
use crate::time::Timestamp;

/// A contradiction between what was seen and what the plan says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Anomaly {
    /// The plan has no such event.
    #[error("'{event}' was emitted, which is no event of the plan: does a service run another version of it?")]
    Unexpected { event: Name },
    /// One event was emitted by two causes.
    #[error("'{event}' was emitted with two ids, so its service acted twice: look at that service's barrier")]
    Double { event: Name },
    /// Of two outcomes there is one too many.
    #[error("'{reaction}' emitted both '{first}' and '{second}', of which it may emit one")]
    BothOutcomes { reaction: Name, first: Name, second: Name },
    /// The point of no return was crossed, and yet the chain goes back.
    #[error("'{pivot}' was emitted, from where there is no way back, and so was '{back}'")]
    BackAfterPivot { pivot: Name, back: Name },
    /// Told only when the chain is late: until then what led to the event may still come.
    #[error("'{event}' was caused by '{causation}', which was never seen: emit again what was lost")]
    Orphan { event: Name, causation: String },
    /// Told only when the chain is late: until then the event may still come.
    #[error("'{event}' was never seen, but what follows from it was: emit again what was lost")]
    Gap { event: Name },
}

impl Chain {
    /// All that contradicts the plan at `now`, always in the same order; nothing of a plan that is not known.
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
        let crossed = self.parts().filter(|part| part.pivot).find_map(|part| part.emits.iter().find(is_there));
        for part in self.parts() {
            let mut outcomes = part.emits.iter().chain(part.fails).filter(is_there);
            if let (Some(first), Some(second)) = (outcomes.next(), outcomes.next()) {
                let (reaction, first, second) = (part.name.clone(), first.clone(), second.clone());
                anomalies.push(Anomaly::BothOutcomes { reaction, first, second });
            }
            let back = part.events().filter(|(event, role)| *role != Role::Success && is_there(event));
            anomalies.extend(back.filter_map(|(event, _)| {
                Some(Anomaly::BackAfterPivot { pivot: crossed?.clone(), back: event.clone() })
            }));
        }
    }
}
