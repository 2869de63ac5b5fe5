//! The contracts of the participants in the definitions that the process knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::{Command, Name};

/// The contracts by definition, version and participant. Clones share them.
///
/// The process adds each definition that it knows, also while gateways run.
#[derive(Clone, Debug, Default)]
pub struct Contracts(Arc<RwLock<HashMap<Name, Versions>>>);

/// The contracts of one definition.
type Versions = BTreeMap<u32, HashMap<Name, Arc<ParticipantContract>>>;

impl Contracts {
    /// Adds a version of a definition, or replaces it.
    pub fn add(
        &self,
        definition: &Name,
        version: u32,
        participants: &BTreeMap<Name, ParticipantContract>,
    ) {
        let participants = participants.iter();
        let contracts =
            participants.map(|(name, contract)| (name.clone(), Arc::new(contract.clone())));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(definition.clone()).or_default().insert(version, contracts.collect());
    }

    /// Returns the participant's contract in the command's definition. For an unknown version it is
    /// that of the latest known one, and without any the default: a barrier.
    pub(crate) fn contract(&self, command: &Command) -> Arc<ParticipantContract> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let definition = command.key.saga.definition();
        let versions = Name::new(definition).ok().and_then(|definition| known.get(&definition));
        let version = versions.and_then(|versions| {
            versions.get(&command.version).or_else(|| versions.values().next_back())
        });
        let contract = version.and_then(|contracts| contracts.get(&command.participant));
        contract.cloned().unwrap_or_default()
    }

    /// Returns whether any definition forbids to repeat the participant's commands.
    pub(crate) fn forbid_repeats(&self, participant: &Name) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut contracts = known.values().flat_map(BTreeMap::values);
        contracts.any(|contracts| {
            contracts.get(participant).is_some_and(|contract| contract.repeat == Repeat::Never)
        })
    }
}
