//! A saga's file beside what the shop's services do, whether or not the saga would run otherwise.

use sagamore_core::definition::{Ask, Draft, Step};
use sagamore_core::plan::{self, Plan};
use sagamore_sdk::Service;

use super::joined;

/// Where a plan and what the services declare differ, either way.
pub fn differences(plan: &Plan) -> Vec<String> {
    let services = sagamore_shop::choreographed();
    let differences = services.iter().flat_map(|service| plan::declared(plan, service.name(), &service.declares()));
    let strangers = plan.parts().filter(|part| services.iter().all(|service| service.name() != part.service));
    let strangers = strangers.map(|part| {
        let (reaction, service) = (part.name, part.service);
        format!("'{reaction}' is of {service}, a service that the shop does not have: name {}", names(&services))
    });
    differences.map(|difference| difference.to_string()).chain(strangers).collect()
}

/// What a definition asks of services that have no handler for it.
pub fn unknown<'a>(draft: &'a Draft) -> Vec<String> {
    let services = sagamore_shop::services();
    let asks = |step: &'a Step| std::iter::once(&step.action).chain(&step.compensation).map(move |ask| (step, ask));
    let unknown = draft.steps.iter().flat_map(asks).filter_map(|(step, Ask { participant, message, .. })| {
        let step = &step.name;
        match services.iter().find(|service| service.name() == participant) {
            None => Some(format!(
                "step '{step}' asks {participant}, a service that the shop does not have: name {}",
                names(&services)
            )),
            Some(service) if service.knows().all(|known| known != message.as_str()) => Some(format!(
                "step '{step}' asks '{message}', which {participant} does not know: name {}",
                joined(service.knows(), " or ")
            )),
            Some(_) => None,
        }
    });
    unknown.collect()
}

fn names(services: &[Service]) -> String {
    joined(services.iter().map(Service::name), " or ")
}
