//! The plans of choreographies that the process knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Event, Name};
use sagamore_transport::wire::event_topic;
use tokio::sync::Notify;

/// The plans by name and version. Clones share them.
///
/// The process adds each plan that it knows, also while reactors run.
#[derive(Clone, Debug, Default)]
pub struct Plans(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: RwLock<BTreeMap<(Name, u32), Arc<Plan>>>,
    /// Wakes the reactors.
    changed: Notify,
}

impl Plans {
    /// Adds a version of a plan, or replaces it.
    pub fn add(&self, plan: Arc<Plan>) {
        let key = (plan.name.clone(), plan.version);
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key).is_some_and(|same| *same == plan) {
            return;
        }
        known.insert(key, plan);
        self.0.changed.notify_waiters();
    }

    /// Waits until a plan is added.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Returns the plan of an event's chain.
    pub(crate) fn plan_of(&self, event: &Event) -> Option<Arc<Plan>> {
        self.plan(event.chain().definition(), event.version)
    }

    /// Returns the plan with this name and version.
    pub(crate) fn plan(&self, name: &str, version: u32) -> Option<Arc<Plan>> {
        let name = Name::new(name).ok()?;
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(name, version)).cloned()
    }

    /// Returns whether any version of the event's plan is known.
    pub(crate) fn has_name_of(&self, event: &Event) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys().any(|(name, _)| name.as_str() == event.chain().definition())
    }

    /// Returns the topics of the events that a participant reacts to.
    pub(crate) fn topics(&self, participant: &Name) -> BTreeSet<Arc<str>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics = BTreeSet::new();
        for plan in known.values() {
            for part in plan.parts().filter(|part| part.service == participant) {
                topics.extend(triggers(plan, &part).map(event_topic));
            }
        }
        topics
    }
}

/// Returns the events that a part reacts to.
fn triggers<'a>(plan: &'a Plan, part: &Part<'a>) -> impl Iterator<Item = &'a Name> + use<'a> {
    let overdue = plan.overdue.iter().filter(|_| part.pivot).collect::<Vec<_>>();
    part.on.iter().chain(part.never_after).chain(part.undone_on()).chain(overdue)
}
