//! Rejection of events that contradict their plan. They are counted by reason, logged and not
//! stored. The chain stays unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::plan::{Plan, Role};
use sagamore_core::{Direction, Name, SagaId, StepKey};
use sagamore_database::Tx;

use super::rows::{ChainRow, Observed};
use super::store::Store;
use crate::error::Error;

/// Counts and logs a rejected record.
pub(super) fn reject(topic: &str, reason: &'static str, why: &str) {
    tracing::warn!(topic, reason, why, "rejected event");
    metrics::counter!("sagamore_rejected_events_total", "reason" => reason).increment(1);
}

impl Store {
    /// Filters out events whose id is not the one that the emitting reaction derives. Events of
    /// unknown plans pass.
    pub(super) fn of_their_reactions(
        &self,
        chains: &BTreeMap<SagaId, Vec<Observed>>,
    ) -> BTreeMap<SagaId, Vec<Observed>> {
        let mut kept = BTreeMap::new();
        for (id, observed) in chains {
            let of_reaction = |observed: &&Observed| self.is_of_its_reaction(id, observed);
            let observed: Vec<Observed> = observed.iter().filter(of_reaction).cloned().collect();
            if !observed.is_empty() {
                kept.insert(id.clone(), observed);
            }
        }
        kept
    }

    fn is_of_its_reaction(&self, id: &SagaId, observed: &Observed) -> bool {
        let (name, table) = (Name::new(id.definition()), self.plans.table());
        let plan = name.ok().and_then(|name| table.plan(&name, observed.version, None));
        let plan = plan.map(|known| known.plan.clone());
        let Some((part, role)) = plan.as_ref().and_then(|plan| plan.emitter(&observed.seen.name))
        else {
            return true;
        };
        let wanted = event_id(id, part.name, role, observed);
        if observed.seen.id == wanted || self.is_of_replaced(id, observed) {
            return true;
        }
        reject(
            observed.seen.name.as_str(),
            "step",
            &format!("event '{}' instead of '{wanted}'", observed.seen.id),
        );
        false
    }

    /// Whether a plan that was replaced in place derives the event's id: its chains continue.
    fn is_of_replaced(&self, id: &SagaId, observed: &Observed) -> bool {
        let table = self.plans.table();
        let is_same = |plan: &&Arc<Plan>| {
            plan.name.as_str() == id.definition() && plan.version == observed.version
        };
        table.all().filter(is_same).any(|plan| {
            let emitter = plan.emitter(&observed.seen.name);
            emitter.is_some_and(|(part, role)| {
                event_id(id, part.name, role, observed) == observed.seen.id
            })
        })
    }

    /// Sets each chain's version to that of its first event. Events that arrived earlier may have
    /// carried another version.
    pub(super) async fn adopt_versions(
        &self,
        tx: &Tx,
        known: &mut [ChainRow],
        chains: &BTreeMap<SagaId, Vec<Observed>>,
    ) -> Result<(), Error> {
        for (known, observed) in known.iter_mut().zip(chains.values()) {
            let Some(begun) = observed.iter().find(|observed| observed.seen.causation.is_none())
            else {
                continue;
            };
            if begun.version == known.version {
                continue;
            }
            let sql = "SELECT 1 FROM chain_event WHERE chain = $1 AND causation IS NULL LIMIT 1";
            if tx.query(sql, (known.seq,)).await?.is_empty() {
                (known.version, known.hash) = (begun.version, None);
                let adopt = "UPDATE chain SET version = $2, hash = NULL WHERE seq = $1";
                tx.execute(adopt, (known.seq, begun.version)).await?;
            }
        }
        Ok(())
    }
}

/// Derives the id of an event from the reaction that emits it.
fn event_id(id: &SagaId, step: &Name, role: Role, observed: &Observed) -> String {
    let direction = if role == Role::Undone { Direction::Compensation } else { Direction::Action };
    let key = StepKey { saga: id.clone(), step: step.clone(), direction, generation: 1 };
    format!("{}/{}", key.command_id(), observed.seen.name)
}

impl ChainRow {
    /// Whether the event carries its chain's version.
    pub(super) fn is_of_its_version(&self, observed: &Observed) -> bool {
        if observed.version == self.version {
            return true;
        }
        let why = format!(
            "event '{}' has version {}, its chain has {}",
            observed.seen.id, observed.version, self.version
        );
        reject(observed.seen.name.as_str(), "version", &why);
        false
    }
}
