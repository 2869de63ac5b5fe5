//! The contracts of participants, as the definitions of their commands state them.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use sagamore_core::Name;
use sagamore_core::definition::{ParticipantContract, Repeat};

/// The contracts of the participants of one version of a definition.
pub type Participants = BTreeMap<Name, ParticipantContract>;

/// The result of a search: `None` if the version is unknown. The error is a human-readable text.
pub type ContractResult = Result<Option<Arc<ParticipantContract>>, String>;

/// The contracts by definition, version and participant.
///
/// A command of an unknown version is not sent: whether it may be repeated is unknown as well.
pub trait Contracts: Send + Sync {
    /// Finds the contract of a participant in a version. A participant without an entry has the
    /// default.
    fn find<'a>(
        &'a self,
        definition: &'a Name,
        version: u32,
        participant: &'a Name,
    ) -> Pin<Box<dyn Future<Output = ContractResult> + Send + 'a>>;
}

/// Contracts in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownContracts(Arc<RwLock<HashMap<Name, Versions>>>);

/// The contracts of one definition.
type Versions = BTreeMap<u32, HashMap<Name, Arc<ParticipantContract>>>;

impl KnownContracts {
    /// Adds a version of a definition, or replaces it.
    pub fn add(&self, definition: &Name, version: u32, participants: &Participants) {
        let participants = participants.iter();
        let contracts =
            participants.map(|(name, contract)| (name.clone(), Arc::new(contract.clone())));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(definition.clone()).or_default().insert(version, contracts.collect());
    }

    /// Returns the contract of a participant; `None` for an unknown version.
    pub fn get(
        &self,
        definition: &Name,
        version: u32,
        participant: &Name,
    ) -> Option<Arc<ParticipantContract>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let contracts = known.get(definition)?.get(&version)?;
        Some(contracts.get(participant).cloned().unwrap_or_default())
    }
}

impl Contracts for KnownContracts {
    fn find<'a>(
        &'a self,
        definition: &'a Name,
        version: u32,
        participant: &'a Name,
    ) -> Pin<Box<dyn Future<Output = ContractResult> + Send + 'a>> {
        Box::pin(ready(Ok(self.get(definition, version, participant))))
    }
}

/// Returns the contract that forbids most, of those in the contents of a version that was replaced
/// in place. A command does not name its contents. `None` without contents.
pub fn strictest<'a>(
    contents: impl IntoIterator<Item = &'a Participants>,
    participant: &Name,
) -> Option<ParticipantContract> {
    let contracts = contents
        .into_iter()
        .map(|participants| participants.get(participant).cloned().unwrap_or_default());
    contracts.max_by_key(|contract| match contract.repeat {
        Repeat::Barrier => 0,
        Repeat::ByKey => 1,
        Repeat::Never => 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn of(repeat: Repeat) -> Participants {
        [(name("cards"), ParticipantContract { repeat, ..ParticipantContract::default() })].into()
    }

    #[test]
    fn an_unknown_version_has_no_contract_and_a_known_one_has_the_default() {
        let known = KnownContracts::default();
        known.add(&name("trip"), 2, &of(Repeat::Never));
        let get = |definition: &str, version, participant: &str| {
            let found = known.get(&name(definition), version, &name(participant));
            found.map(|contract| contract.repeat)
        };
        assert_eq!(get("trip", 2, "cards"), Some(Repeat::Never));
        assert_eq!(get("trip", 2, "seats"), Some(Repeat::Barrier));
        assert_eq!(get("trip", 1, "cards"), None);
        assert_eq!(get("trip", 3, "cards"), None);
        assert_eq!(get("tour", 2, "cards"), None);
    }

    #[test]
    fn the_strictest_contract_of_a_replaced_version_counts() {
        let strictest = |contents: &[Participants], participant: &str| {
            strictest(contents, &name(participant)).map(|contract| contract.repeat)
        };
        let contents = [of(Repeat::Never), of(Repeat::ByKey), Participants::new()];
        assert_eq!(strictest(&contents, "cards"), Some(Repeat::Never));
        assert_eq!(strictest(&contents[1..], "cards"), Some(Repeat::ByKey));
        assert_eq!(strictest(&contents, "seats"), Some(Repeat::Barrier));
        assert_eq!(strictest(&[], "cards"), None);
    }
}
