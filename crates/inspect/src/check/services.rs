//! Differences between a plan or definition and the declarations of services.

use sagamore_core::Name;
use sagamore_core::definition::{CommandTemplate, Draft, Step};
use sagamore_core::plan::{self, Declared, Plan, Who};

use super::names::joined;
use crate::place;
use crate::violation::Finding;

/// One service's declaration.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The name under which plans and definitions refer to the service.
    pub service: Name,
    /// The reactions to events.
    pub reactions: Vec<Declared>,
    /// The names of the commands with a handler.
    pub commands: Vec<&'static str>,
}

/// Returns the differences between a plan and the declared reactions, in both directions.
pub(super) fn differences(plan: &Plan, services: &[Declaration]) -> Vec<Finding> {
    let differences = services
        .iter()
        .flat_map(|declared| plan::declared(plan, &declared.service, &declared.reactions));
    let unknown = plan
        .parts()
        .filter(|part| services.iter().all(|declared| &declared.service != part.service));
    let unknown = unknown.map(|part| {
        let (reaction, service) = (part.name, part.service);
        let why = format!(
            "'{reaction}' belongs to {service}, which is no service of this program: use {}",
            names(services)
        );
        let who = Who { name: reaction.clone(), service: service.clone() };
        Finding::new(place::plan::part(plan, &who).key("service"), why)
    });
    let found =
        |difference| Finding::new(place::plan::of_difference(&difference, plan), difference);
    differences.map(found).chain(unknown).collect()
}

/// Returns the commands of a definition that its participants do not handle.
pub(super) fn unknown<'a>(draft: &'a Draft, services: &[Declaration]) -> Vec<Finding> {
    let commands = |step: &'a Step| {
        let undo = step.compensation.iter().map(move |undo| (step, "compensation", undo));
        std::iter::once((step, "action", &step.action)).chain(undo)
    };
    let unknown = |(step, command, template): (&Step, &str, &CommandTemplate)| {
        let CommandTemplate { participant, message, .. } = template;
        let own = place::definition::step(draft, &step.name).key(command);
        let step = &step.name;
        match services.iter().find(|declared| &declared.service == participant) {
            None => Some(Finding::new(
                own.key("participant"),
                format!(
                    "step '{step}' sends to {participant}, which is no service of this program: \
                     use {}",
                    names(services)
                ),
            )),
            Some(declared) if declared.commands.contains(&message.as_str()) => None,
            Some(declared) => Some(Finding::new(
                own.key("message"),
                format!(
                    "step '{step}' sends '{message}', which {participant} does not handle: use {}",
                    joined(&declared.commands, " or ")
                ),
            )),
        }
    };
    draft.steps.iter().flat_map(commands).filter_map(unknown).collect()
}

fn names(services: &[Declaration]) -> String {
    joined(services.iter().map(|declared| &declared.service), " or ")
}
