//! The plans of choreographies that the process knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Event, Name};
use sagamore_transport::wire::event_topic;
use tokio::sync::Notify;

use crate::error::Error;

/// A stored version of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPlan {
    /// The plan's name.
    pub name: Name,
    /// The version.
    pub version: u32,
    /// The contents. `None`: this program cannot read them, or they were removed.
    pub plan: Option<Arc<Plan>>,
}

/// The stored versions of all plans, or a human-readable reason why they cannot be read.
pub type PlanResult = Result<Vec<StoredPlan>, String>;

/// The store of plans.
pub trait PlanSource: Send + Sync {
    /// Reads every stored version. The read begins after the call, so it finds each plan whose
    /// chains have begun before.
    fn read(&self) -> Pin<Box<dyn Future<Output = PlanResult> + Send + '_>>;
}

/// The plans by name and version. Clones share them.
///
/// The process adds each plan that it knows, also while reactors run. An event of another plan, or
/// of another version, makes a reactor read the store.
#[derive(Clone, Default)]
pub struct Plans(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: RwLock<BTreeMap<(Name, u32), Known>>,
    source: OnceLock<Arc<dyn PlanSource>>,
    /// Wakes the reactors.
    changed: Notify,
}

/// The contents of a version.
#[derive(Clone, PartialEq)]
enum Known {
    Plan(Arc<Plan>),
    /// The store has the version, but this program cannot read it.
    Unreadable,
}

/// The plan of an event.
#[derive(Debug)]
pub(crate) enum PlanOfEvent {
    Plan(Arc<Plan>),
    /// The store has the version, but this program cannot read it.
    Unreadable,
    /// Only other versions of the plan are known.
    UnknownVersion,
    /// No plan of this name is known.
    Foreign,
}

impl Plans {
    /// Adds a version of a plan, or replaces it.
    pub fn add(&self, plan: Arc<Plan>) {
        self.insert((plan.name.clone(), plan.version), Known::Plan(plan));
    }

    /// Connects the store of plans. Until then, events of unknown plans wait. A second call changes
    /// nothing.
    pub fn connect(&self, source: Arc<dyn PlanSource>) {
        drop(self.0.source.set(source)); // a rejected one is a second one
    }

    /// Reads the store again.
    ///
    /// # Errors
    /// The store cannot be read, or is not connected. Nothing is known about unknown plans then.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let unread = |why: &str| Error::Plans(why.to_owned());
        let source = self.0.source.get().ok_or_else(|| unread("the store is not open yet"))?;
        for StoredPlan { name, version, plan } in source.read().await.map_err(Error::Plans)? {
            self.insert((name, version), plan.map_or(Known::Unreadable, Known::Plan));
        }
        Ok(())
    }

    fn insert(&self, key: (Name, u32), stored: Known) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        // contents that were removed since stay valid
        if known.get(&key).is_some_and(|same| *same == stored || stored == Known::Unreadable) {
            return;
        }
        known.insert(key, stored);
        self.0.changed.notify_waiters();
    }

    /// Waits until a plan is added.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Returns the plan of an event's chain.
    pub(crate) fn plan_of(&self, event: &Event) -> PlanOfEvent {
        let Ok(name) = Name::new(event.chain().definition()) else { return PlanOfEvent::Foreign };
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(&(name.clone(), event.version)) {
            Some(Known::Plan(plan)) => PlanOfEvent::Plan(plan.clone()),
            Some(Known::Unreadable) => PlanOfEvent::Unreadable,
            None if known.keys().any(|(other, _)| *other == name) => PlanOfEvent::UnknownVersion,
            None => PlanOfEvent::Foreign,
        }
    }

    /// Returns the plan with this name and version.
    pub(crate) fn plan(&self, name: &str, version: u32) -> Option<Arc<Plan>> {
        let name = Name::new(name).ok()?;
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(&(name, version))? {
            Known::Plan(plan) => Some(plan.clone()),
            Known::Unreadable => None,
        }
    }

    /// Returns the topics of the events that a participant reacts to.
    pub(crate) fn topics(&self, participant: &Name) -> BTreeSet<Arc<str>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics = BTreeSet::new();
        for stored in known.values() {
            let Known::Plan(plan) = stored else { continue };
            for part in plan.parts().filter(|part| part.service == participant) {
                topics.extend(triggers(plan, &part).map(event_topic));
            }
        }
        topics
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Plans").field(&known.keys()).finish()
    }
}

/// Returns the events that a part reacts to.
fn triggers<'a>(plan: &'a Plan, part: &Part<'a>) -> impl Iterator<Item = &'a Name> + use<'a> {
    let overdue = plan.overdue.iter().filter(|_| part.pivot).collect::<Vec<_>>();
    part.on.iter().chain(part.never_after).chain(part.undone_on()).chain(overdue)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    struct Removed(StoredPlan);

    impl PlanSource for Removed {
        fn read(&self) -> Pin<Box<dyn Future<Output = PlanResult> + Send + '_>> {
            Box::pin(ready(Ok(vec![self.0.clone()])))
        }
    }

    #[tokio::test]
    async fn a_known_plan_stays_known_when_its_stored_contents_are_removed() {
        let plan = Plan::named("toy").begins("a", "start", "begun").pivot("b", "end");
        let plan = plan.on(["begun"]).emits(["ended"]).build();
        let plan = Arc::new(plan.unwrap_or_else(|error| panic!("{error}")));
        let plans = Plans::default();
        plans.add(plan.clone());
        assert!(plans.refresh().await.is_err(), "no store is connected");
        let removed = StoredPlan { name: plan.name.clone(), version: 1, plan: None };
        plans.connect(Arc::new(Removed(removed)));
        plans.refresh().await.expect("read");
        assert_eq!(plans.plan("toy", 1), Some(plan));
    }
}
