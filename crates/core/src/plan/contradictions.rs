//! The search for anomalies in a chain.

use crate::id::Name;
use crate::plan::{Anomaly, Chain, Role};
use crate::time::Timestamp;

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
