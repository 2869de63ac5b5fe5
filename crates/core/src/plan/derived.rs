//! Derives a plan from the reactions that services declare, so that no event is stated twice.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::Name;
use crate::plan::builder::millis;
use crate::plan::{Declared, Error, EventSchemas, Plan, Problem, Reaction, Start, Who, check};

/// A service that declares its reactions. The SDK implements it for `Service`.
pub trait ReactionSource {
    /// The service's name.
    fn service(&self) -> &Name;
    /// Its reactions. One that waits for no event starts chains.
    fn reactions(&self) -> Vec<Declared>;
}

/// A plan while it is derived. Version 1 without a deadline, unless stated otherwise.
#[derive(Clone, Debug)]
#[must_use = "a plan is finished with .build()"]
pub struct Derivation {
    name: String,
    version: u32,
    deadline: Option<Duration>,
    declared: Vec<(Name, Declared)>,
}

impl Plan {
    /// Derives a plan with this name from all services that take part.
    ///
    /// Reactions are in causal order, and in the order of the services where causality leaves a
    /// choice. The reaction that is declared as the pivot, or that gives up when the chain is
    /// overdue, is the plan's pivot.
    pub fn from_services<'a, S>(name: &str, services: impl IntoIterator<Item = &'a S>) -> Derivation
    where
        S: ReactionSource + 'a,
    {
        let reactions = |service: &'a S| {
            service.reactions().into_iter().map(|one| (service.service().clone(), one))
        };
        let declared = services.into_iter().flat_map(reactions).collect();
        Derivation { name: name.to_owned(), version: 1, deadline: None, declared }
    }
}

impl Derivation {
    /// Sets the version. Every change requires a higher version: the same version with other
    /// contents is rejected.
    pub fn version(self, version: u32) -> Derivation {
        Derivation { version, ..self }
    }

    /// Sets how long a chain may take.
    pub fn deadline(self, deadline: Duration) -> Derivation {
        Derivation { deadline: Some(deadline), ..self }
    }

    /// Returns the plan.
    ///
    /// # Errors
    /// Returns every problem that [`check`] finds, and a missing or second start.
    pub fn build(self) -> Result<Plan, Error> {
        let plan = self.name.clone();
        let plan = self.unchecked().map_err(|problem| Error { plan, problems: vec![problem] })?;
        let problems = check(&plan);
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(Error { plan: plan.name.to_string(), problems })
        }
    }

    fn unchecked(self) -> Result<Plan, Problem> {
        let name = Name::new(&self.name)?;
        let (starts, declared): (Vec<_>, Vec<_>) =
            self.declared.into_iter().partition(|(_, one)| one.on.is_empty());
        let mut starts = starts.into_iter();
        let (service, start) = starts.next().ok_or(Problem::NoStart)?;
        if let Some((other, second)) = starts.next() {
            let first = Who { name: start.reaction, service };
            return Err(Problem::TwoStarts {
                first,
                second: Who { name: second.reaction, service: other },
            });
        }
        let event = start.emits.into_iter().next().ok_or(Problem::NoStart)?;
        let overdue = declared.iter().find_map(|(_, one)| one.overdue.clone());
        let reactions = in_causal_order(declared, &event);
        let begins = Start { name: start.reaction, service, event, undo: start.undo };
        let deadline_ms = self.deadline.map(millis);
        let (version, schemas) = (self.version, EventSchemas::default());
        Ok(Plan { name, version, deadline_ms, overdue, begins, reactions, schemas })
    }
}

/// A reaction follows all those that emit what it waits for. Reactions that wait for each other
/// come last: the check reports them.
fn in_causal_order(mut declared: Vec<(Name, Declared)>, first: &Name) -> Vec<Reaction> {
    let mut emitted = BTreeSet::from([first.clone()]);
    let mut ordered = Vec::with_capacity(declared.len());
    while !declared.is_empty() {
        let ready =
            declared.iter().position(|(_, one)| one.on.iter().all(|event| emitted.contains(event)));
        let (service, next) = declared.remove(ready.unwrap_or(0));
        emitted.extend(next.emits.iter().cloned());
        ordered.push(reaction(service, next));
    }
    ordered
}

fn reaction(service: Name, declared: Declared) -> Reaction {
    let Declared { reaction, on, emits, fails, undo, never_after, overdue, pivot } = declared;
    let pivot = pivot || overdue.is_some();
    Reaction { name: reaction, service, on, emits, fails, undo, never_after, pivot }
}
