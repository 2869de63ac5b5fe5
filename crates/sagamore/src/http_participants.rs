//! The HTTP participants of a process: their bindings, and the gateways that call them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::definition::ParticipantContract;
use sagamore_core::{Definition, Name, SagaId, TraceContext};
use sagamore_database::Database;
use sagamore_engine::{Chains, Handle, store::DefinitionReader};
use sagamore_gateway::{
    Binding, ContractResult, Contracts, Egress, Endpoint, Gateway, KnownContracts, LateReplies,
    Options, PlanResult, PlanSource, Plans, ReactionFault, ReactionFaults, Reactor, ReplyError,
    ReplyKeys, Secret, StoredPlan, strictest,
};
use sagamore_server::view::FaultView;
use sagamore_server::{
    HttpReaction, ReactionAnswer, ReactionPort, ReplyAnswer, ReplyPort, ReplyRejection, clock,
};
use sagamore_transport::Transport;

use crate::crew::Crew;
use crate::error::{Error, ProgramError};

/// The interval between reads of the known plans.
const PLANS_EVERY: Duration = Duration::from_millis(300);

/// Participants that are called over HTTP, by name.
#[derive(Clone, Debug, Default)]
pub struct HttpParticipants {
    bindings: BTreeMap<Name, Binding>,
    egress: Egress,
    /// The keys of reply tokens.
    pub(crate) reply_keys: Option<ReplyKeys>,
    /// The retention of the gateways' rows; `None`: the default.
    retention: Option<Duration>,
}

impl HttpParticipants {
    /// Creates the participants of a configuration.
    pub(crate) fn of(
        bindings: BTreeMap<Name, Binding>,
        egress: Egress,
        reply_keys: Option<ReplyKeys>,
    ) -> HttpParticipants {
        HttpParticipants { bindings, egress, reply_keys, retention: None }
    }

    /// Sets the time after the end of a saga or chain for which the gateways keep its rows.
    pub(crate) fn with_retention(self, retention: Duration) -> HttpParticipants {
        HttpParticipants { retention: Some(retention), ..self }
    }

    /// Returns the options of gateways and reactors.
    fn options(&self, partitions: u32) -> Options {
        let options = Options { partitions, ..Options::default() };
        Options { retention: self.retention.unwrap_or(options.retention), ..options }
    }

    /// Binds a participant to a URL, with the default limits and without signatures. It replaces
    /// an earlier binding, and permits connections to the URL's address.
    ///
    /// # Errors
    ///
    /// An invalid name or URL.
    pub fn bind(mut self, name: &str, url: &str) -> Result<HttpParticipants, ProgramError> {
        let name = Name::new(name).map_err(ProgramError::of)?;
        let endpoint = Endpoint::parse(url).map_err(ProgramError::of)?;
        self.egress = self.egress.with(&endpoint);
        match self.bindings.get_mut(&name) {
            Some(binding) => binding.endpoint = endpoint,
            None => drop(self.bindings.insert(name, Binding::of(endpoint))),
        }
        Ok(self)
    }

    /// Whether no participant is bound.
    pub(crate) fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// Returns the names.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        self.bindings.keys().cloned().collect()
    }

    /// Returns the names and URLs.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&Name, &Endpoint)> {
        self.bindings.iter().map(|(name, binding)| (name, &binding.endpoint))
    }

    /// Returns the reactors, which do not run yet. `partitions` is the number of partitions of
    /// event topics.
    pub(crate) fn reactors(
        &self,
        transport: &Arc<dyn Transport>,
        plans: &Plans,
        database: &Database,
        partitions: u32,
    ) -> Result<Vec<(String, Reactor)>, Error> {
        let reactors = self.bindings.iter().map(|(name, binding)| {
            let options = self.options(partitions);
            let (transport, plans) = (transport.clone(), plans.clone());
            let (text, database, binding) = (name.to_string(), database.clone(), binding.clone());
            let name = name.clone();
            Reactor::new(name, binding, &self.egress, transport, plans, database, options)
                .map(|reactor| (text.clone(), reactor))
                .map_err(|source| Error::Gateway { name: text, source })
        });
        reactors.collect()
    }

    /// Returns the gateways, which do not run yet. `partitions` is the number of partitions of each
    /// participant's topic.
    pub(crate) fn gateways(
        self,
        transport: &Arc<dyn Transport>,
        contracts: &Arc<dyn Contracts>,
        database: &Database,
        partitions: impl Fn(&Name) -> u32,
    ) -> Result<Vec<(String, Gateway)>, Error> {
        let gateways = self.bindings.iter().map(|(name, binding)| {
            let options =
                Options { reply_keys: self.reply_keys.clone(), ..self.options(partitions(name)) };
            let (name, binding) = (name.clone(), binding.clone());
            let (transport, contracts) = (transport.clone(), contracts.clone());
            let (text, database) = (name.to_string(), Some(database.clone()));
            Gateway::new(name, binding, &self.egress, transport, contracts, database, options)
                .map(|gateway| (text.clone(), gateway))
                .map_err(|source| Error::Gateway { name: text, source })
        });
        gateways.collect()
    }
}

/// Adds the plans that the observer's view knows until the stop: those that are known now, and each
/// that is registered later.
pub(crate) fn follow_plans<F>(crew: &mut Crew, plans: Plans, chains: F)
where
    F: Future<Output = Result<Chains, Error>> + Send + 'static,
{
    crew.spawn("the plans of participants", |mut stopped| async move {
        let chains = tokio::select! {
            () = &mut stopped => return Ok(()),
            opened = chains => match opened {
                Ok(chains) => chains,
                // commands are called all the same, and events wait for the plans
                Err(error) => {
                    tracing::error!(%error, "cannot read plans: restart after the repair");
                    stopped.await;
                    return Ok(());
                }
            },
        };
        plans.connect(Arc::new(StoredPlans(chains.clone())));
        loop {
            chains.known_plans().into_iter().for_each(|plan| plans.add(plan));
            tokio::select! {
                () = &mut stopped => return Ok(()),
                () = tokio::time::sleep(PLANS_EVERY) => {}
            }
        }
    });
}

/// Runs the reactors until the stop.
pub(crate) fn spawn_reactors(crew: &mut Crew, reactors: Vec<(String, Reactor)>) {
    for (name, reactor) in reactors {
        crew.spawn(format!("the reactor of {name}"), move |stopped| async move {
            reactor.run(stopped).await.map_err(|source| Error::Gateway { name, source })
        });
    }
}

/// The plans in the observer's database.
struct StoredPlans(Chains);

impl PlanSource for StoredPlans {
    fn read(&self) -> Pin<Box<dyn Future<Output = PlanResult> + Send + '_>> {
        Box::pin(async {
            let known = self.0.read_plans().await.map_err(|error| error.to_string())?;
            let stored = known.into_iter().map(|known| StoredPlan {
                name: known.name,
                version: known.version,
                plan: known.plan,
            });
            Ok(stored.collect())
        })
    }
}

/// The contracts in the definitions that this process's orchestrator has, in memory or stored.
pub(crate) struct EngineContracts(pub Handle);

/// The contracts in the definitions of files, and in those that the orchestrators have stored.
pub(crate) struct StoredContracts {
    known: KnownContracts,
    stored: DefinitionReader,
}

impl StoredContracts {
    /// Creates the contracts of these definitions, and of those in the engine's database.
    pub(crate) fn of(files: &[Definition], engine: Database) -> StoredContracts {
        StoredContracts { known: known(files), stored: DefinitionReader::of(engine) }
    }

    /// Reads a version and remembers it: outside of `dev` its contents never change.
    async fn read(&self, definition: &Name, version: u32, participant: &Name) -> ContractResult {
        let contents = self.stored.contents(definition, version).await;
        let contents = contents.map_err(|error| error.to_string())?;
        if let [only] = contents.as_slice() {
            self.known.add(definition, version, &only.participants);
        }
        Ok(contract_in(&contents, participant))
    }
}

/// Returns the contract of a participant in the contents of a version; `None` without contents.
fn contract_in<'a>(
    contents: impl IntoIterator<Item = &'a Definition>,
    participant: &Name,
) -> Option<Arc<ParticipantContract>> {
    let participants = contents.into_iter().map(|definition| &definition.participants);
    strictest(participants, participant).map(Arc::new)
}

impl Contracts for StoredContracts {
    fn find<'a>(
        &'a self,
        definition: &'a Name,
        version: u32,
        participant: &'a Name,
    ) -> Pin<Box<dyn Future<Output = ContractResult> + Send + 'a>> {
        Box::pin(async move {
            match self.known.get(definition, version, participant) {
                Some(contract) => Ok(Some(contract)),
                None => self.read(definition, version, participant).await,
            }
        })
    }
}

impl Contracts for EngineContracts {
    fn find<'a>(
        &'a self,
        definition: &'a Name,
        version: u32,
        participant: &'a Name,
    ) -> Pin<Box<dyn Future<Output = ContractResult> + Send + 'a>> {
        Box::pin(async move {
            let contents = self.0.contents(definition, version).await;
            let contents = contents.map_err(|error| error.to_string())?;
            Ok(contract_in(contents.iter().map(AsRef::as_ref), participant))
        })
    }
}

/// The API's door for late replies.
pub(crate) struct ReplyDoor(LateReplies);

impl ReplyDoor {
    /// Creates the door of these keys.
    pub(crate) fn of(keys: ReplyKeys, transport: Arc<dyn Transport>) -> Arc<dyn ReplyPort> {
        Arc::new(ReplyDoor(LateReplies::of(keys, transport)))
    }
}

impl ReplyPort for ReplyDoor {
    fn publish<'a>(
        &'a self,
        token: &'a str,
        outcome: &'a str,
        body: &'a [u8],
        trace: Option<TraceContext>,
    ) -> ReplyAnswer<'a> {
        Box::pin(async move {
            let published = self.0.publish(token, outcome, body, trace).await;
            published.map(|permit| permit.key.command_id()).map_err(|error| {
                let why = error.to_string();
                match error {
                    ReplyError::Token(_) => ReplyRejection::Token(why),
                    ReplyError::Outcome(_) => ReplyRejection::Outcome(why),
                    ReplyError::Transport(_) => ReplyRejection::Unavailable(why),
                }
            })
        })
    }
}

/// The reactions in the gateways' database, for views of chains.
pub(crate) struct ReactionReader {
    faults: ReactionFaults,
    bound: BTreeSet<Name>,
}

impl ReactionReader {
    /// Creates a reader. `bound`: the services that the configuration binds to a URL.
    pub(crate) fn of(database: Database, bound: BTreeSet<Name>) -> Arc<dyn ReactionPort> {
        Arc::new(ReactionReader { faults: ReactionFaults::of(database), bound })
    }
}

impl ReactionPort for ReactionReader {
    fn of_chain<'a>(&'a self, chain: &'a SagaId) -> ReactionAnswer<'a> {
        Box::pin(async move {
            let stored = self.faults.of_chain(chain).await.map_err(|error| error.to_string())?;
            Ok(stored.into_iter().map(reaction).collect())
        })
    }

    fn is_bound(&self, service: &str) -> bool {
        self.bound.iter().any(|name| name.as_str() == service)
    }
}

fn reaction(stored: ReactionFault) -> HttpReaction {
    let ReactionFault { participant, step, direction, why, attempts, since, again_at } = stored;
    let fault = why.zip(again_at).map(|(why, again_at)| FaultView {
        step: step.to_string(),
        direction,
        why,
        since: clock::rfc3339(since),
        again_at: clock::rfc3339(again_at),
        attempts: Some(attempts),
    });
    HttpReaction { service: participant, fault }
}

/// Returns the keys of reply tokens of an embedded stack: a random one, which the data directory
/// stores from the first use on.
pub(crate) fn keys_of_directory(data: &Path) -> Result<Option<ReplyKeys>, Error> {
    let path = data.join("reply-secret");
    let failed = |source| Error::Directory { path: path.clone(), source };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| failed(error.into()))?;
            let text = Secret::encode(bytes);
            store(data, &path, &text).map_err(failed)?;
            text
        }
        read => read.map_err(failed)?,
    };
    let secret = Secret::parse(&text).map_err(|why| {
        failed(std::io::Error::new(ErrorKind::InvalidData, format!("{why}, or remove the file")))
    })?;
    Ok(ReplyKeys::of(vec![secret]))
}

/// Stores a secret for the owner of the directory only, completely or not at all.
fn store(data: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(data)?; // only its owner reads it
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Returns the contracts in these definitions.
pub(crate) fn known(definitions: &[Definition]) -> KnownContracts {
    let known = KnownContracts::default();
    for definition in definitions {
        known.add(&definition.name, definition.version, &definition.participants);
    }
    known
}
