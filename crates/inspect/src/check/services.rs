//! Differences between a plan or definition and the declarations of services.

use sagamore_core::Name;
use sagamore_core::definition::{CommandTemplate, Draft, Step};
use sagamore_core::plan::{self, Declared, Plan};

use super::joined;

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
pub fn differences(plan: &Plan, services: &[Declaration]) -> Vec<String> {
    let differences = services
        .iter()
        .flat_map(|declared| plan::declared(plan, &declared.service, &declared.reactions));
    let unknown = plan
        .parts()
        .filter(|part| services.iter().all(|declared| &declared.service != part.service));
    let unknown = unknown.map(|part| {
        let (reaction, service) = (part.name, part.service);
        format!(
            "'{reaction}' belongs to {service}, which is no service of this program: use {}",
            names(services)
        )
    });
    differences.map(|difference| difference.to_string()).chain(unknown).collect()
}

/// Returns the commands of a definition that its participants do not handle.
pub fn unknown<'a>(draft: &'a Draft, services: &[Declaration]) -> Vec<String> {
    let commands = |step: &'a Step| {
        std::iter::once(&step.action)
            .chain(&step.compensation)
            .map(move |template| (step, template))
    };
    let unknown = |(step, template): (&Step, &CommandTemplate)| {
        let (step, CommandTemplate { participant, message, .. }) = (&step.name, template);
        match services.iter().find(|declared| &declared.service == participant) {
            None => Some(format!(
                "step '{step}' sends to {participant}, which is no service of this program: use {}",
                names(services)
            )),
            Some(declared) if declared.commands.contains(&message.as_str()) => None,
            Some(declared) => Some(format!(
                "step '{step}' sends '{message}', which {participant} does not handle: use {}",
                joined(&declared.commands, " or ")
            )),
        }
    };
    draft.steps.iter().flat_map(commands).filter_map(unknown).collect()
}

fn names(services: &[Declaration]) -> String {
    joined(services.iter().map(|declared| &declared.service), " or ")
}
