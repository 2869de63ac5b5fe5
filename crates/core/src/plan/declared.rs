//! Compares what a plan expects of a service with what the service says it does.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::plan::{Part, Plan, Undo, Who};

/// One reaction as its service declares it; the SDK fills it in. A start waits for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Declared {
    /// `charge`.
    pub reaction: Name,
    /// All that it waits for.
    #[serde(default)]
    pub on: Vec<Name>,
    /// What it may say when it is done.
    #[serde(default)]
    pub emits: Vec<Name>,
    /// What it may say when it was refused.
    #[serde(default)]
    pub fails: Vec<Name>,
    /// What takes it back.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// After any of these it never runs.
    #[serde(default)]
    pub never_after: Vec<Name>,
    /// The event that has it given up, unless it has acted.
    #[serde(default)]
    pub overdue: Option<Name>,
    /// Whether it is the point of no return. `false` leaves that to the plan.
    #[serde(default)]
    pub pivot: bool,
}

/// Where a service and a plan differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Difference {
    /// The plan asks for a reaction that the service does not have.
    #[error("plan '{plan}' has {reaction}, which the service does not declare: write it, or take it from the plan")]
    Missing { plan: Name, reaction: Who },
    /// The service has a reaction that the plan does not know.
    #[error("the service declares {reaction}, which plan '{plan}' does not have: remove it, or add it to the plan")]
    Unplanned { plan: Name, reaction: Who },
    /// The service has a reaction that in the plan is another's.
    #[error("the service declares {reaction}, which in plan '{plan}' is {owner}: let one service do it")]
    OfAnother { plan: Name, reaction: Who, owner: Who },
    /// The service declares a reaction twice.
    #[error("the service declares {reaction} twice, and plan '{plan}' has it once: remove one")]
    Twice { plan: Name, reaction: Who },
    /// The service declares a pivot that is none in the plan.
    #[error("the service declares {reaction} as the pivot, and plan '{plan}' does not: make it the pivot in both")]
    NotThePivot { plan: Name, reaction: Who },
    /// Both have the reaction, but not the same one.
    #[error(
        "{reaction} {facet} {} in plan '{plan}' and {} in the service: make them agree",
        list(planned),
        list(declared)
    )]
    Other { plan: Name, reaction: Who, facet: Facet, planned: Vec<Name>, declared: Vec<Name> },
}

/// In what a reaction can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// What it waits for.
    On,
    /// What it says when it is done.
    Emits,
    /// What it says when it was refused.
    Fails,
    /// What triggers its undo.
    UndoneOn,
    /// What its undo says.
    UndoEmits,
    /// After what it never runs.
    NeverAfter,
    /// What has it given up.
    Overdue,
}

/// Every difference between a plan and what a service declares for it; nothing when they agree. Order does not count.
pub fn declared(plan: &Plan, service: &Name, reacts: &[Declared]) -> Vec<Difference> {
    let who = |reaction: &Name| Who { name: reaction.clone(), service: service.clone() };
    let mut differences = Vec::new();
    for (index, declared) in reacts.iter().enumerate() {
        let (plan_name, reaction) = (plan.name.clone(), who(&declared.reaction));
        let part = plan.parts().find(|part| *part.name == declared.reaction);
        if reacts[..index].iter().any(|earlier| earlier.reaction == declared.reaction) {
            differences.push(Difference::Twice { plan: plan_name, reaction });
            continue;
        }
        match part {
            Some(part) if part.service == service => compare(plan, &part, declared, &mut differences),
            Some(part) => {
                differences.push(Difference::OfAnother { plan: plan_name, reaction, owner: part.who() });
            }
            None => differences.push(Difference::Unplanned { plan: plan_name, reaction }),
        }
    }
    let missing = plan
        .parts()
        .filter(|part| part.service == service && reacts.iter().all(|declared| declared.reaction != *part.name));
    differences.extend(missing.map(|part| Difference::Missing { plan: plan.name.clone(), reaction: part.who() }));
    differences
}

fn compare(plan: &Plan, part: &Part, declared: &Declared, differences: &mut Vec<Difference>) {
    let (no_events, undo) = (Vec::new(), declared.undo.as_ref());
    let emitted = |undo: Option<&Undo>| undo.map(|undo| undo.emits.clone()).into_iter().collect::<Vec<_>>();
    let overdue: Vec<Name> = declared.overdue.iter().cloned().collect();
    let facets = [
        (Facet::On, part.on.to_vec(), &declared.on),
        (Facet::Emits, part.emits.to_vec(), &declared.emits),
        (Facet::Fails, part.fails.to_vec(), &declared.fails),
        (Facet::UndoneOn, part.undone_on().to_vec(), undo.map_or(&no_events, |undo| &undo.on)),
        (Facet::UndoEmits, emitted(part.undo), &emitted(undo)),
        (Facet::NeverAfter, part.never_after.to_vec(), &declared.never_after),
        (Facet::Overdue, plan.overdue.iter().filter(|_| part.pivot).cloned().collect(), &overdue),
    ];
    if declared.pivot && !part.pivot {
        differences.push(Difference::NotThePivot { plan: plan.name.clone(), reaction: part.who() });
    }
    for (facet, planned, declared) in facets {
        let (planned, declared) = (sorted(&planned), sorted(declared));
        if planned != declared {
            let (plan, reaction) = (plan.name.clone(), part.who());
            differences.push(Difference::Other { plan, reaction, facet, planned, declared });
        }
    }
}

impl fmt::Display for Facet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Facet::On => "waits for",
            Facet::Emits => "emits",
            Facet::Fails => "fails with",
            Facet::UndoneOn => "is undone on",
            Facet::UndoEmits => "says of its undo",
            Facet::NeverAfter => "never runs after",
            Facet::Overdue => "is given up on",
        })
    }
}

fn sorted(names: &[Name]) -> Vec<Name> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn list(names: &[Name]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "),
    }
}
