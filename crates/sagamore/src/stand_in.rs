//! Stand-ins: `dev` plays each participant that has neither a service in this program nor a
//! binding. A stand-in has no state: its answer depends on the command only, so a repeat gets the
//! same answer.

mod behaviour;
mod example;
mod participant;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sagamore_core::{Definition, Name};
use sagamore_engine::Handle;
use sagamore_server::StandIns;
use sagamore_transport::Transport;
use tokio::task::JoinSet;

use crate::crew::StopSignal;
use crate::error::Error;
pub use behaviour::{Behaviour, BehaviourArgs};
use participant::{Definitions, StandIn};

/// The pause before a stand-in that could not be started is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The stand-ins of a process.
pub struct Cast {
    handle: Handle,
    transport: Arc<dyn Transport>,
    behaviour: Arc<Behaviour>,
    /// The participants with a service or a binding.
    real: BTreeSet<Name>,
    /// Whether a service of this name has run before. Only that service knows its barrier.
    has_barrier: Box<dyn Fn(&Name) -> bool + Send + Sync>,
    played: StandIns,
    known: Definitions,
    tasks: JoinSet<()>,
}

impl Cast {
    /// Creates an empty cast for the participants that are not `real`.
    pub fn new(
        handle: Handle,
        transport: Arc<dyn Transport>,
        behaviour: Behaviour,
        real: BTreeSet<Name>,
        has_barrier: impl Fn(&Name) -> bool + Send + Sync + 'static,
        played: StandIns,
    ) -> Cast {
        let (behaviour, has_barrier) = (Arc::new(behaviour), Box::new(has_barrier));
        let (known, tasks) = (Definitions::default(), JoinSet::new());
        played.play_all_but(real.clone());
        Cast { handle, transport, behaviour, real, has_barrier, played, known, tasks }
    }

    /// Starts a stand-in for each participant of a known definition without a service or a binding.
    pub async fn fill(&mut self) -> Result<(), Error> {
        let definitions = self.handle.known_definitions();
        self.learn(&definitions);
        for definition in definitions {
            let mut participants = participants(&definition);
            participants.retain(|name| !self.real.contains(name));
            for name in &participants {
                if !self.played.names().contains(name) {
                    self.start(name).await?;
                }
            }
            if !participants.is_empty() {
                self.played.add_definition(definition.name.clone());
            }
        }
        Ok(())
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
            self.transport.clone(),
            self.behaviour.clone(),
            !(self.has_barrier)(name),
        )
        .await?;
        self.played.add(name.clone());
        tracing::info!(participant = %name, "stand-in: no service, no binding");
        self.tasks.spawn(stand_in.run());
        Ok(())
    }

    /// Logs each step with a flag that no stand-in plays.
    pub fn warn_of_idle_flags(&self) {
        let (definitions, played) = (self.handle.known_definitions(), self.played.names());
        for step in self.behaviour.steps() {
            let mut steps = definitions.iter().flat_map(|definition| &definition.steps);
            if !steps.any(|other| other.name == *step && played.contains(&other.action.participant))
            {
                tracing::warn!(%step, "no stand-in plays this step: its flags have no effect");
            }
        }
    }

    /// Starts stand-ins for participants of later definitions, until the stop. Delayed replies are
    /// dropped then: the next start resends their commands.
    pub async fn run(mut self, mut stopped: StopSignal) -> Result<(), Error> {
        let mut changes = self.handle.definition_changes();
        changes.mark_changed();
        loop {
            tokio::select! {
                () = &mut stopped => return Ok(()),
                _ = changes.changed() => {}
            }
            if let Err(error) = self.fill().await {
                tracing::warn!(%error, "cannot start a stand-in, retrying");
                changes.mark_changed();
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

#[cfg(test)]
mod tests;
