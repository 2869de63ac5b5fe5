//! The HTTP participants of a process: their bindings, and the gateways that call them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Definition, Name, TraceContext};
use sagamore_database::Database;
use sagamore_engine::{Chains, Handle, store::DefinitionReader};
use sagamore_gateway::{
    Binding, ContractResult, Contracts, Egress, Endpoint, Gateway, KnownContracts, LateReplies,
    Options, Plans, Reactor, ReplyError, ReplyKeys, Secret, strictest,
};
use sagamore_server::{ReplyAnswer, ReplyPort, ReplyRejection};
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
}

impl HttpParticipants {
    /// Creates the participants of a configuration.
    pub(crate) fn of(
        bindings: BTreeMap<Name, Binding>,
        egress: Egress,
        reply_keys: Option<ReplyKeys>,
    ) -> HttpParticipants {
        HttpParticipants { bindings, egress, reply_keys }
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
            let options = Options { partitions, ..Options::default() };
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
        let HttpParticipants { bindings, egress, reply_keys } = self;
        let gateways = bindings.into_iter().map(|(name, binding)| {
            let options = Options {
                partitions: partitions(&name),
                reply_keys: reply_keys.clone(),
                ..Options::default()
            };
            let (transport, contracts) = (transport.clone(), contracts.clone());
            let (text, database) = (name.to_string(), Some(database.clone()));
            Gateway::new(name, binding, &egress, transport, contracts, database, options)
                .map(|gateway| (text.clone(), gateway))
                .map_err(|source| Error::Gateway { name: text, source })
        });
        gateways.collect()
    }
}

/// Runs the reactors until the stop. They learn the plans that the observer's view knows.
pub(crate) fn spawn_reactors(
    crew: &mut Crew,
    reactors: Vec<(String, Reactor)>,
    plans: Plans,
    chains: Chains,
) {
    crew.spawn("the plans of participants", |mut stopped| async move {
        loop {
            chains.known_plans().into_iter().for_each(|plan| plans.add(plan));
            tokio::select! {
                () = &mut stopped => return Ok(()),
                () = tokio::time::sleep(PLANS_EVERY) => {}
            }
        }
    });
    for (name, reactor) in reactors {
        crew.spawn(format!("the reactor of {name}"), move |stopped| async move {
            reactor.run(stopped).await.map_err(|source| Error::Gateway { name, source })
        });
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
        let participants = contents.iter().map(|definition| &definition.participants);
        Ok(strictest(participants, participant).map(Arc::new))
    }
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
            let participants = contents.iter().map(|definition| &definition.participants);
            Ok(strictest(participants, participant).map(Arc::new))
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
