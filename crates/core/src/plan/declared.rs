//! The comparison of a plan's expectations of a service with the service's declared reactions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::plan::{Part, Plan, Undo, Who};

/// A reaction as declared by its service, built by the SDK. A reaction that starts chains has no
/// awaited events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Declared {
    /// The reaction's name, such as `charge`.
    pub reaction: Name,
    /// The events that must all have arrived.
    #[serde(default)]
    pub on: Vec<Name>,
    /// The success events.
    #[serde(default)]
    pub emits: Vec<Name>,
    /// The failure events.
    #[serde(default)]
    pub fails: Vec<Name>,
    /// The undo of the reaction.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// The events after any of which the reaction never runs.
    #[serde(default)]
    pub never_after: Vec<Name>,
    /// The event on which the reaction is given up, unless it has acted.
    #[serde(default)]
    pub overdue: Option<Name>,
    /// Whether the service declares the reaction as the pivot. `false` leaves that to the plan.
    #[serde(default)]
    pub pivot: bool,
}

/// A difference between a service and a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Difference {
    /// The service lacks a reaction of the plan.
    #[error(
        "plan '{plan}' has {reaction}, which the service does not declare: implement it, or remove \
         it from the plan"
    )]
    Missing { plan: Name, reaction: Who },
    /// The plan lacks a reaction of the service.
    #[error(
        "the service declares {reaction}, which plan '{plan}' does not have: remove it, or add it \
         to the plan"
    )]
    Unplanned { plan: Name, reaction: Who },
    /// The plan assigns the service's reaction to another service.
    #[error(
        "the service declares {reaction}, which in plan '{plan}' is {owner}: declare it in one \
         service only"
    )]
    OfAnother { plan: Name, reaction: Who, owner: Who },
    /// The service declares a reaction twice.
    #[error("the service declares {reaction} twice, and plan '{plan}' has it once: remove one")]
    Twice { plan: Name, reaction: Who },
    /// The service declares a pivot that is not the plan's.
    #[error(
        "the service declares {reaction} as the pivot, and plan '{plan}' does not: make it the \
         pivot in both"
    )]
    NotThePivot { plan: Name, reaction: Who },
    /// Plan and service declare the reaction differently.
    #[error(
        "{reaction} {facet} {} in plan '{plan}' and {} in the service: make them agree",
        list(planned),
        list(declared)
    )]
    Other { plan: Name, reaction: Who, facet: Facet, planned: Vec<Name>, declared: Vec<Name> },
}

/// An aspect in which two declarations of a reaction can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// The awaited events.
    On,
    /// The success events.
    Emits,
    /// The failure events.
    Fails,
    /// The events that trigger the undo.
    UndoneOn,
    /// The event that the undo emits.
    UndoEmits,
    /// The events after which the reaction never runs.
    NeverAfter,
    /// The event on which the reaction is given up.
    Overdue,
}

/// Returns every difference between a plan and a service's declarations. Order does not matter.
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
            Some(part) if part.service == service => {
                compare(plan, &part, declared, &mut differences)
            }
            Some(part) => {
                differences.push(Difference::OfAnother {
                    plan: plan_name,
                    reaction,
                    owner: part.who(),
                });
            }
            None => differences.push(Difference::Unplanned { plan: plan_name, reaction }),
        }
    }
    let missing = plan.parts().filter(|part| {
        part.service == service && reacts.iter().all(|declared| declared.reaction != *part.name)
    });
    differences.extend(
        missing.map(|part| Difference::Missing { plan: plan.name.clone(), reaction: part.who() }),
    );
    differences
}

fn compare(plan: &Plan, part: &Part, declared: &Declared, differences: &mut Vec<Difference>) {
    let (no_events, undo) = (Vec::new(), declared.undo.as_ref());
    let emitted =
        |undo: Option<&Undo>| undo.map(|undo| undo.emits.clone()).into_iter().collect::<Vec<_>>();
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
            Facet::UndoEmits => "emits on undo",
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
