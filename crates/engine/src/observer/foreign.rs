//! Events that do not belong where they say they do: counted by reason, logged once, and kept nowhere. The chain stays as it is.

use std::collections::BTreeMap;

use sagamore_core::plan::Role;
use sagamore_core::{Direction, Name, SagaId, StepKey};
use sagamore_database::{Tx, Value};

use super::rows::{Known, Observed};
use super::store::Store;
use crate::error::Error;

/// Counts and logs a record that moves no chain.
pub(super) fn reject(topic: &str, reason: &'static str, why: &str) {
    tracing::warn!(topic, reason, why, "rejected event");
    metrics::counter!("sagamore_rejected_events_total", "reason" => reason).increment(1);
}

/// The version that a chain is given when these are its first events: that of the one that began it, if it is among them.
pub(super) fn version_of(told: &[Observed]) -> u32 {
    let begun = told.iter().find(|told| told.seen.causation.is_none());
    begun.or(told.first()).map_or(0, |told| told.version)
}

impl Store {
    /// The events that the reaction emits which their plan says, where the plan is known.
    pub(super) fn of_their_reactions(
        &self,
        chains: &BTreeMap<SagaId, Vec<Observed>>,
    ) -> BTreeMap<SagaId, Vec<Observed>> {
        let mut kept = BTreeMap::new();
        for (id, told) in chains {
            let of_reaction = |told: &&Observed| self.is_of_its_reaction(id, told);
            let told: Vec<Observed> = told.iter().filter(of_reaction).cloned().collect();
            if !told.is_empty() {
                kept.insert(id.clone(), told);
            }
        }
        kept
    }

    fn is_of_its_reaction(&self, id: &SagaId, told: &Observed) -> bool {
        let plan =
            Name::new(id.definition()).ok().and_then(|name| self.plans.get(&(name, told.version)));
        let Some((part, role)) = plan.and_then(|plan| plan.emitter(&told.seen.name)) else {
            return true;
        };
        let direction =
            if role == Role::Undone { Direction::Compensation } else { Direction::Action };
        let key = StepKey { saga: id.clone(), step: part.name.clone(), direction, generation: 1 };
        let wanted = format!("{}/{}", key.command_id(), told.seen.name);
        if told.seen.id == wanted {
            return true;
        }
        reject(
            told.seen.name.as_str(),
            "step",
            &format!("event '{}', and not '{wanted}'", told.seen.id),
        );
        false
    }

    /// The chains' versions are those of the events that began them: one that was seen before its beginning may have said
    /// another.
    pub(super) async fn adopt_versions(
        &self,
        tx: &Tx,
        known: &mut [Known],
        chains: &BTreeMap<SagaId, Vec<Observed>>,
    ) -> Result<(), Error> {
        for (known, told) in known.iter_mut().zip(chains.values()) {
            let Some(begun) = told.iter().find(|told| told.seen.causation.is_none()) else {
                continue;
            };
            if begun.version == known.version {
                continue;
            }
            let sql = "SELECT 1 FROM chain_event WHERE chain = $1 AND causation IS NULL LIMIT 1";
            if tx.query(sql, (known.seq,)).await?.is_empty() {
                known.version = begun.version;
                let row = vec![Value::Int(known.seq), begun.version.into()];
                tx.execute_each("UPDATE chain SET version = $2 WHERE seq = $1", vec![row]).await?;
            }
        }
        Ok(())
    }
}

impl Known {
    /// Whether the event says the version that its chain began with.
    pub(super) fn is_of_its_version(&self, told: &Observed) -> bool {
        if told.version == self.version {
            return true;
        }
        let why = format!(
            "event '{}' says version {}; its chain has {}",
            told.seen.id, told.version, self.version
        );
        reject(told.seen.name.as_str(), "version", &why);
        false
    }
}
