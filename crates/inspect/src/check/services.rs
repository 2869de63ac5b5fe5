//! A plan or a definition beside what services declare, whether or not it would run otherwise.

use sagamore_core::Name;
use sagamore_core::definition::{Ask, Draft, Step};
use sagamore_core::plan::{self, Declared, Plan};

use super::joined;

/// What one service declares.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The service.
    pub service: Name,
    /// Its reactions to events.
    pub reactions: Vec<Declared>,
    /// The names of the commands that it has handlers for.
    pub commands: Vec<&'static str>,
}

/// Returns where a plan and the declared reactions differ, in either direction.
pub fn differences(plan: &Plan, services: &[Declaration]) -> Vec<String> {
    let differences = services
        .iter()
        .flat_map(|declared| plan::declared(plan, &declared.service, &declared.reactions));
    let strangers = plan
        .parts()
        .filter(|part| services.iter().all(|declared| &declared.service != part.service));
    let strangers = strangers.map(|part| {
        let (reaction, service) = (part.name, part.service);
        format!(
            "'{reaction}' is of {service}, a service that this program does not have: name {}",
            names(services)
        )
    });
    differences.map(|difference| difference.to_string()).chain(strangers).collect()
}

/// Returns the commands of a definition for which its participant has no handler.
pub fn unknown<'a>(draft: &'a Draft, services: &[Declaration]) -> Vec<String> {
    let asks = |step: &'a Step| {
        std::iter::once(&step.action).chain(&step.compensation).map(move |ask| (step, ask))
    };
    let unknown = draft.steps.iter().flat_map(asks).filter_map(|(step, Ask { participant, message, .. })| {
        let step = &step.name;
        match services.iter().find(|declared| &declared.service == participant) {
            None => Some(format!(
                "step '{step}' asks {participant}, a service that this program does not have: name {}",
                names(services)
            )),
            Some(declared) if declared.commands.iter().all(|known| *known != message.as_str()) => Some(format!(
                "step '{step}' asks '{message}', which {participant} does not know: name {}",
                joined(&declared.commands, " or ")
            )),
            Some(_) => None,
        }
    });
    unknown.collect()
}

fn names(services: &[Declaration]) -> String {
    joined(services.iter().map(|declared| &declared.service), " or ")
}
