//! Stand-ins: `dev` plays each participant that has neither a service in this program nor a
//! binding. A stand-in has no state: its answer depends on the command only, so a repeat gets the
//! same answer. The reactor of a gateway stores which events a stand-in of a plan's service has
//! reacted to.

mod behaviour;
mod example;
mod participant;
mod reaction;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Definition, Name};
use sagamore_database::Database;
use sagamore_engine::{Chains, Handle, ObserverOptions};
use sagamore_gateway::{Options, Plans, Reactor};
use sagamore_server::StandIns;
use sagamore_transport::Transport;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::crew::StopSignal;
use crate::error::Error;
pub use behaviour::{Behaviour, BehaviourArgs};
use participant::{Definitions, StandIn};
use reaction::ReactionStandIn;

/// The pause before a stand-in that could not be started is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The interval between reads of the known plans.
const PLANS_EVERY: Duration = Duration::from_millis(300);
/// The time beyond a reaction's delay after which its call may be repeated.
const CALL_MAX: Duration = Duration::from_secs(20);

/// The parts of a process that stand-ins use.
pub struct Stage {
    /// The orchestrator, if the process has one.
    pub handle: Option<Handle>,
    /// The observer's view, if the process has one.
    pub chains: Option<Chains>,
    pub transport: Arc<dyn Transport>,
    /// The plans that the observer knows.
    pub plans: Plans,
    /// The database of reactions.
    pub reactions: Database,
    pub played: StandIns,
}

/// The stand-ins of a process.
pub struct Cast {
    stage: Stage,
    behaviour: Arc<Behaviour>,
    /// The participants with a service or a binding.
    real: BTreeSet<Name>,
    /// Whether a service of this name has run before. Only that service knows its barrier.
    has_barrier: Box<dyn Fn(&Name) -> bool + Send + Sync>,
    /// The participants of definitions that are played.
    commanded: BTreeSet<Name>,
    /// The services of plans that are played.
    reacting: BTreeSet<Name>,
    known: Definitions,
    tasks: JoinSet<()>,
}

impl Cast {
    /// Creates an empty cast for the participants that are not `real`.
    pub fn new(
        stage: Stage,
        behaviour: Behaviour,
        real: BTreeSet<Name>,
        has_barrier: impl Fn(&Name) -> bool + Send + Sync + 'static,
    ) -> Cast {
        let (behaviour, has_barrier) = (Arc::new(behaviour), Box::new(has_barrier));
        let (commanded, reacting, known, tasks) = Default::default();
        stage.played.play_all_but(real.clone());
        Cast { stage, behaviour, real, has_barrier, commanded, reacting, known, tasks }
    }

    /// Starts a stand-in for each participant of a known definition or plan without a service or a
    /// binding.
    pub async fn fill(&mut self) -> Result<(), Error> {
        self.fill_definitions().await?;
        self.fill_plans();
        Ok(())
    }

    async fn fill_definitions(&mut self) -> Result<(), Error> {
        let definitions = self.definitions();
        self.learn(&definitions);
        for definition in definitions {
            let mut participants = participants(&definition);
            participants.retain(|name| !self.real.contains(name));
            for name in &participants {
                if !self.commanded.contains(name) {
                    self.start(name).await?;
                }
            }
            if !participants.is_empty() {
                self.stage.played.add_definition(definition.name.clone());
            }
        }
        Ok(())
    }

    fn fill_plans(&mut self) {
        for plan in self.plans() {
            let mut services = services(&plan);
            services.retain(|name| !self.real.contains(name));
            for name in &services {
                if self.reacting.insert(name.clone()) {
                    self.react(name);
                }
            }
            if !services.is_empty() {
                self.stage.played.add_plan(plan.name.clone());
            }
        }
    }

    fn definitions(&self) -> Vec<Arc<Definition>> {
        self.stage.handle.as_ref().map(Handle::known_definitions).unwrap_or_default()
    }

    fn plans(&self) -> Vec<Arc<Plan>> {
        self.stage.chains.as_ref().map(Chains::known_plans).unwrap_or_default()
    }

    /// Copies the definitions. A shared one would stay in the engine's memory.
    fn learn(&self, definitions: &[Arc<Definition>]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|own| definitions.iter().any(|other| other.hash() == own.hash()));
        for definition in definitions {
            if known.iter().all(|own| own.hash() != definition.hash()) {
                known.push(Definition::clone(definition));
            }
        }
    }

    async fn start(&mut self, name: &Name) -> Result<(), Error> {
        let stand_in = StandIn::subscribe(
            name.clone(),
            self.known.clone(),
            self.stage.transport.clone(),
            self.behaviour.clone(),
            !(self.has_barrier)(name),
        )
        .await?;
        self.commanded.insert(name.clone());
        self.stage.played.add(name.clone());
        tracing::info!(participant = %name, "stand-in: no service, no binding");
        self.tasks.spawn(stand_in.run());
        Ok(())
    }

    /// Starts a stand-in of a service of plans.
    fn react(&mut self, name: &Name) {
        let Stage { transport, plans, reactions, played, .. } = &self.stage;
        let partitions = ObserverOptions::default().partitions;
        let reactor = Reactor::local(
            name.clone(),
            Arc::new(ReactionStandIn(self.behaviour.clone())),
            CALL_MAX.saturating_add(self.behaviour.delay_max()),
            transport.clone(),
            plans.clone(),
            reactions.clone(),
            Options { partitions, ..Options::default() },
        );
        played.add(name.clone());
        let name = name.clone();
        tracing::info!(service = %name, "stand-in: no service, no binding");
        self.tasks.spawn(async move {
            if let Err(error) = reactor.run(std::future::pending()).await {
                tracing::error!(service = %name, %error, "the stand-in has stopped");
            }
        });
    }

    /// Logs each step with a flag that no stand-in plays.
    pub fn warn_of_idle_flags(&self) {
        let (definitions, plans) = (self.definitions(), self.plans());
        for step in self.behaviour.steps() {
            let mut steps = definitions.iter().flat_map(|definition| &definition.steps);
            let mut parts = plans.iter().flat_map(|plan| plan.parts());
            let is_played = steps.any(|other| {
                other.name == *step && self.commanded.contains(&other.action.participant)
            }) || parts
                .any(|part| part.name == step && self.reacting.contains(part.service));
            if !is_played {
                tracing::warn!(%step, "no stand-in plays this step: its flags have no effect");
            }
        }
    }

    /// Starts stand-ins for participants of later definitions and plans, until the stop. Delayed
    /// answers are dropped then: the next start resends their commands and repeats their
    /// reactions.
    pub async fn run(mut self, mut stopped: StopSignal) -> Result<(), Error> {
        let mut changes = self.stage.handle.as_ref().map(Handle::definition_changes);
        changes.as_mut().into_iter().for_each(watch::Receiver::mark_changed);
        loop {
            let changed = async {
                match &mut changes {
                    Some(changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stopped => return Ok(()),
                () = changed => {}
                () = tokio::time::sleep(PLANS_EVERY) => {
                    self.fill_plans();
                    continue;
                }
            }
            if let Err(error) = self.fill().await {
                tracing::warn!(%error, "cannot start a stand-in, retrying");
                changes.as_mut().into_iter().for_each(watch::Receiver::mark_changed);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

fn participants(definition: &Definition) -> BTreeSet<Name> {
    let commands = definition
        .steps
        .iter()
        .flat_map(|step| std::iter::once(&step.action).chain(step.compensation.as_ref()));
    commands.map(|command| command.participant.clone()).collect()
}

/// Returns the services that react to events of a plan.
fn services(plan: &Plan) -> BTreeSet<Name> {
    let reacts = |part: &Part<'_>| !part.on.is_empty() || part.undo.is_some();
    plan.parts().filter(reacts).map(|part| part.service.clone()).collect()
}

#[cfg(test)]
mod tests;
