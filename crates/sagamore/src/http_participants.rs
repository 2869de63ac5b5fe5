//! The HTTP participants of a process: their bindings, and the gateways that call them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::{Definition, Name};
use sagamore_database::Database;
use sagamore_gateway::{Binding, Contracts, Egress, Endpoint, Gateway, Options};
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
        contracts: &Contracts,
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

/// Returns the contracts in these definitions.
pub(crate) fn contracts(definitions: &[Definition]) -> Contracts {
    let contracts = Contracts::default();
    definitions.iter().for_each(|definition| add(&contracts, definition));
    contracts
}

/// Adds the contracts of a definition.
pub(crate) fn add(contracts: &Contracts, definition: &Definition) {
    contracts.add(&definition.name, definition.version, &definition.participants);
}
