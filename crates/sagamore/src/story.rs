//! A story: sagas, plans, and the services and routes that run with them.

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use sagamore_core::{Body, Definition, Name, Plan};
use sagamore_inspect::check::Declaration;
use sagamore_sdk::Service;
use sagamore_server::http::routes::Routes;
use sagamore_server::{Server, ServiceHost};

type ServiceRoutes = Arc<dyn Fn(&ServiceHost) -> Routes + Send + Sync>;
type ServerRoutes = Arc<dyn Fn(&Server) -> Routes + Send + Sync>;
type SampleFuture = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type SampleData = Arc<dyn Fn(Server) -> SampleFuture + Send + Sync>;
type SampleInput = Arc<dyn Fn(&str) -> Body + Send + Sync>;

/// Sagas, plans, services, routes and samples that belong together. A [`Program`](crate::Program)
/// has one, and may have a second one for `--choreography`.
#[derive(Clone, Default)]
pub struct Story {
    pub(crate) sagas: Vec<Definition>,
    pub(crate) plans: Vec<Plan>,
    pub(crate) services: Vec<ServiceEntry>,
    pub(crate) routes: Vec<ServerRoutes>,
    pub(crate) samples: Vec<SampleData>,
    inputs: Vec<(Name, SampleInput)>,
    /// Whether the process accepts definitions at run time, which requires an orchestrator.
    pub(crate) is_open: bool,
    /// The plan of a file that a business key without a definition refers to, if no plan is
    /// built in.
    pub(crate) file_plan: Option<Name>,
    pub(crate) errors: Vec<String>,
}

/// A service with its own routes.
#[derive(Clone)]
pub(crate) struct ServiceEntry {
    pub(crate) service: Service,
    pub(crate) routes: Option<ServiceRoutes>,
}

impl Story {
    /// Adds a saga. A business key without a definition refers to the first one.
    pub fn saga<E: Display>(mut self, saga: impl FnOnce() -> Result<Definition, E>) -> Story {
        match saga() {
            Ok(saga) if self.sagas.iter().any(|other| other.name == saga.name) => {
                self.errors.push(format!("saga '{}' is added twice", saga.name));
            }
            Ok(saga) => self.sagas.push(saga),
            Err(error) => self.errors.push(format!("saga: {error}")),
        }
        self
    }

    /// Adds the plan of a choreography. A business key without a definition refers to the first
    /// plan.
    pub fn plan<E: Display>(mut self, plan: impl FnOnce() -> Result<Plan, E>) -> Story {
        match plan() {
            Ok(plan) if self.plans.iter().any(|other| other.name == plan.name) => {
                self.errors.push(format!("plan '{}' is added twice", plan.name));
            }
            Ok(plan) => self.plans.push(plan),
            Err(error) => self.errors.push(format!("plan: {error}")),
        }
        self
    }

    /// Adds a service. It runs in `dev`, or as its own process with `service NAME`.
    pub fn service(self, service: impl FnOnce() -> Service) -> Story {
        self.entry(ServiceEntry { service: service(), routes: None })
    }

    /// Adds a service with its own routes, which have access to its database, its outbox and
    /// clients of the servers.
    pub fn service_with_routes(
        self,
        service: impl FnOnce() -> Service,
        routes: impl Fn(&ServiceHost) -> Routes + Send + Sync + 'static,
    ) -> Story {
        self.entry(ServiceEntry { service: service(), routes: Some(Arc::new(routes)) })
    }

    /// Adds routes to the server of `dev` and `serve`.
    pub fn routes(mut self, routes: impl Fn(&Server) -> Routes + Send + Sync + 'static) -> Story {
        self.routes.push(Arc::new(routes));
        self
    }

    /// Adds sample data, which `dev` loads before it serves. Loading must be idempotent, because
    /// every start repeats it.
    pub fn on_dev<F, E>(mut self, samples: impl Fn(Server) -> F + Send + Sync + 'static) -> Story
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.samples.push(Arc::new(move |server| {
            let loading = samples(server);
            Box::pin(async move {
                loading.await.map_err(|error| anyhow::Error::from_boxed(error.into()))
            })
        }));
        self
    }

    /// Adds a sample input, by business key, for starts without input. Only the embedded stack uses
    /// it: `dev` and [`Program::start`](crate::Program::start).
    pub fn sample_input(
        mut self,
        saga: &str,
        input: impl Fn(&str) -> Body + Send + Sync + 'static,
    ) -> Story {
        match Name::new(saga) {
            Ok(name) => self.inputs.push((name, Arc::new(input))),
            Err(error) => self.errors.push(format!("sample input: {error}")),
        }
        self
    }

    fn entry(mut self, entry: ServiceEntry) -> Story {
        if self.services.iter().any(|other| other.name() == entry.name()) {
            self.errors.push(format!("service '{}' is added twice", entry.name()));
        }
        self.services.push(entry);
        self
    }

    /// Whether the story needs an orchestrator: for its sagas, for those of files, or because it is
    /// empty.
    pub(crate) fn is_orchestrated(&self) -> bool {
        self.is_open || !self.sagas.is_empty() || self.plans.is_empty()
    }

    /// Whether the story needs an observer: for its plans, for those of files, or because it is
    /// empty.
    pub(crate) fn is_observed(&self) -> bool {
        let is_bare = self.services.is_empty() && self.sagas.is_empty();
        !self.plans.is_empty() || self.is_open || is_bare
    }

    /// Adds the plans of files. One with the name of a built-in plan is an error.
    pub(crate) fn add_plans(&mut self, plans: Vec<(PathBuf, Plan)>) -> Result<(), String> {
        self.check_plans(&plans)?;
        self.plans.extend(plans.into_iter().map(|(_, plan)| plan));
        Ok(())
    }

    /// Checks that no file has the name of a built-in plan.
    pub(crate) fn check_plans(&self, plans: &[(PathBuf, Plan)]) -> Result<(), String> {
        let is_built_in =
            |(_, plan): &&(PathBuf, Plan)| self.plans.iter().any(|own| own.name == plan.name);
        match plans.iter().find(is_built_in) {
            Some((path, plan)) => {
                Err(format!("{}: plan '{}' exists already: rename one", path.display(), plan.name))
            }
            None => Ok(()),
        }
    }

    /// Removes what only `dev` loads: sample data and inputs.
    pub(crate) fn without_samples(&mut self) {
        self.samples.clear();
        self.inputs.clear();
    }

    /// Returns the saga that a business key without a definition refers to.
    pub(crate) fn first_saga(&self) -> Option<Name> {
        self.sagas.first().map(|saga| saga.name.clone())
    }

    /// Returns the plan that a business key without a definition refers to.
    pub(crate) fn first_plan(&self) -> Option<Name> {
        self.plans.first().map(|plan| plan.name.clone()).or(self.file_plan.clone())
    }

    /// Returns the plans with their versions.
    pub(crate) fn plan_versions(&self) -> Vec<(Name, u32)> {
        self.plans.iter().map(|plan| (plan.name.clone(), plan.version)).collect()
    }

    /// Returns the sample inputs for the server.
    pub(crate) fn inputs(&self) -> sagamore_server::http::SampleInput {
        let inputs = self.inputs.clone();
        Arc::new(move |saga, key| {
            inputs.iter().find(|(name, _)| name == saga).map(|(_, input)| input(key))
        })
    }

    /// Returns the declarations of the services, without reactions that belong to other plans of
    /// the story. A plan of another name is compared with all declarations.
    pub(crate) fn declarations_for(&self, plan: &Plan) -> Vec<Declaration> {
        let has = |plan: &Plan, service: &Name, reaction: &Name| {
            plan.parts().any(|part| part.service == service && part.name == reaction)
        };
        let mut declarations = self.declarations();
        if self.plans.iter().all(|own| own.name != plan.name) {
            return declarations;
        }
        for declaration in &mut declarations {
            let service = &declaration.service;
            declaration.reactions.retain(|declared| {
                let is_of_another = |other: &Plan| {
                    other.name != plan.name && has(other, service, &declared.reaction)
                };
                has(plan, service, &declared.reaction) || !self.plans.iter().any(is_of_another)
            });
        }
        declarations
    }

    /// Returns the declarations of the services.
    pub(crate) fn declarations(&self) -> Vec<Declaration> {
        self.services.iter().map(ServiceEntry::declaration).collect()
    }
}

impl ServiceEntry {
    pub(crate) fn name(&self) -> &Name {
        self.service.name()
    }

    /// Whether the service consumes commands.
    pub(crate) fn is_commanded(&self) -> bool {
        self.service.knows().next().is_some() || !self.reacts()
    }

    /// Whether the service consumes events or starts chains.
    pub(crate) fn reacts(&self) -> bool {
        !self.service.declares().is_empty()
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            service: self.name().clone(),
            reactions: self.service.declares(),
            commands: self.service.knows().collect(),
        }
    }
}

/// A toy choreography for tests.
#[cfg(test)]
pub(crate) mod toy {
    use sagamore_core::plan::{self, Plan};

    /// Returns a plan of two services: a guest rings, and a host opens.
    pub fn visit() -> Result<Plan, plan::Error> {
        let plan = Plan::named("visit")
            .begins("guest", "ring", "bell.rung")
            .undone_on(["host.away"], "guest.gone");
        plan.pivot("host", "open")
            .on(["bell.rung"])
            .emits(["door.opened"])
            .fails(["host.away"])
            .build()
    }
}

#[cfg(test)]
mod tests {
    use sagamore_core::plan;
    use sagamore_inspect::files::Parsed;
    use sagamore_sdk::{Decided, Message, Never, Reaction, Tx, done};

    use super::*;

    #[derive(Message)]
    #[message(crate = sagamore_sdk, name = "bell.rung")]
    struct BellRung {
        guest: String,
    }

    #[derive(Message)]
    #[message(crate = sagamore_sdk, name = "door.opened")]
    struct DoorOpened {
        guest: String,
    }

    #[derive(Message)]
    #[message(crate = sagamore_sdk, name = "letter.sent")]
    struct LetterSent {
        guest: String,
    }

    #[derive(Message)]
    #[message(crate = sagamore_sdk, name = "letter.read")]
    struct LetterRead {
        guest: String,
    }

    async fn open(_: Tx, BellRung { guest }: BellRung) -> Decided<DoorOpened, Never> {
        done(DoorOpened { guest })
    }

    async fn read(_: Tx, LetterSent { guest }: LetterSent) -> Decided<LetterRead, Never> {
        done(LetterRead { guest })
    }

    fn plan(name: &str, step: &str, begins: &str, emits: &str) -> Result<Plan, plan::Error> {
        let begun = Plan::named(name).begins("guest", "come", begins);
        begun.pivot("host", step).on([begins]).emits([emits]).build()
    }

    #[test]
    fn a_plan_is_compared_with_the_reactions_of_its_own() {
        let host = || {
            let open = Reaction::named("open").to(open).pivot();
            Service::named("host").reaction(open).reaction(Reaction::named("read").to(read).pivot())
        };
        let story = Story::default()
            .plan(|| plan("visit", "open", "bell.rung", "door.opened"))
            .plan(|| plan("post", "read", "letter.sent", "letter.read"))
            .service(host);
        for plan in &story.plans {
            let declared = story.declarations_for(plan);
            assert_eq!(declared[0].reactions.len(), 1);
            let text = serde_json::to_string(plan).expect("JSON");
            let parsed = Parsed::parse(&text).expect("a plan");
            let problems = parsed.report(Some(&declared)).problems;
            let problems: Vec<&str> = problems.iter().map(|one| one.detail.as_str()).collect();
            assert_eq!(
                problems,
                ["'come' belongs to guest, which is no service of this program: use host"]
            );
        }
    }
}
