//! The HTTP participants of a process: their bindings, and the gateways that call them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use sagamore_core::{Definition, Name};
use sagamore_database::Database;
use sagamore_engine::{Handle, store::DefinitionReader};
use sagamore_gateway::{
    Binding, ContractResult, Contracts, Egress, Endpoint, Gateway, KnownContracts, Options,
    strictest,
};
use sagamore_transport::Transport;

use crate::error::{Error, ProgramError};

/// Participants that are called over HTTP, by name.
#[derive(Clone, Debug, Default)]
pub struct HttpParticipants {
    bindings: BTreeMap<Name, Binding>,
    egress: Egress,
}

impl HttpParticipants {
    /// Creates the participants of a configuration.
    pub(crate) fn of(bindings: BTreeMap<Name, Binding>, egress: Egress) -> HttpParticipants {
        HttpParticipants { bindings, egress }
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

    /// Returns the names and URLs.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&Name, &Endpoint)> {
        self.bindings.iter().map(|(name, binding)| (name, &binding.endpoint))
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
        let HttpParticipants { bindings, egress } = self;
        let gateways = bindings.into_iter().map(|(name, binding)| {
            let options = Options { partitions: partitions(&name), ..Options::default() };
            let (transport, contracts) = (transport.clone(), contracts.clone());
            let (text, database) = (name.to_string(), Some(database.clone()));
            Gateway::new(name, binding, &egress, transport, contracts, database, options)
                .map(|gateway| (text.clone(), gateway))
                .map_err(|source| Error::Gateway { name: text, source })
        });
        gateways.collect()
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
        for stored in contents.map_err(|error| error.to_string())? {
            self.known.add(definition, version, &stored.participants);
        }
        Ok(self.known.get(definition, version, participant))
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

/// Returns the contracts in these definitions.
pub(crate) fn known(definitions: &[Definition]) -> KnownContracts {
    let known = KnownContracts::default();
    for definition in definitions {
        known.add(&definition.name, definition.version, &definition.participants);
    }
    known
}
