//! The definitions known to this process: by hash, for existing sagas, and by name and version, for
//! starts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use sagamore_core::definition::Definition;
use sagamore_core::id::Name;
use tokio::sync::watch;

use crate::error::{StartError, listed};
use crate::versions::StoredVersion;

/// The known definitions, and the stored versions as of the last refresh.
#[derive(Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
    /// Notifies of new definitions and of changed versions.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Tables {
    /// The definitions in memory. A definition that nothing else holds is dropped, because the
    /// store has a copy.
    by_hash: HashMap<String, Weak<Definition>>,
    /// The definitions that stay in memory: those of active versions, and those added since the
    /// last refresh.
    held: HashMap<String, Arc<Definition>>,
    /// Hashes of definitions that came with the process. They stay in memory, because their checks
    /// of the input are not stored.
    built_in: HashSet<String>,
    /// Hashes of definitions whose command topics exist.
    ready: HashSet<String>,
    versions: BTreeMap<Name, BTreeMap<u32, StoredVersion>>,
}

/// The version that a start selects.
pub(crate) struct Selected {
    pub hash: String,
    /// The definition, if it is in memory and its command topics exist.
    pub ready: Option<Arc<Definition>>,
}

impl Registry {
    /// Adds a definition that came with the process and whose command topics exist.
    pub fn add_built_in(&self, definition: Definition) {
        let hash = definition.hash().to_owned();
        let mut tables = self.write();
        tables.built_in.insert(hash.clone());
        tables.ready.insert(hash.clone());
        tables.insert(hash, definition);
        drop(tables);
        self.changes.send_replace(());
    }

    /// Adds a definition that was read from the store. A known one of this hash stays.
    pub fn add(&self, definition: Definition) -> Arc<Definition> {
        let hash = definition.hash().to_owned();
        let mut tables = self.write();
        let known = tables.by_hash.get(&hash).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            self.changes.send_replace(());
            tables.insert(hash, definition)
        })
    }

    /// Records that the command topics of a definition exist.
    pub fn mark_ready(&self, hash: &str) {
        self.write().ready.insert(hash.to_owned());
    }

    /// Replaces the known versions. A definition without an active version is dropped with the last
    /// saga or caller that holds it.
    pub fn set_versions(&self, versions: Vec<StoredVersion>) {
        let mut tables = self.write();
        let active: HashSet<&str> = versions
            .iter()
            .filter(|version| version.is_active)
            .map(|version| version.hash.as_str())
            .collect();
        let Tables { by_hash, held, built_in, ready, .. } = &mut *tables;
        by_hash.retain(|hash, definition| {
            let stays = built_in.contains(hash) || active.contains(hash.as_str());
            match definition.upgrade().filter(|_| stays) {
                Some(definition) => drop(held.insert(hash.clone(), definition)),
                None => drop(held.remove(hash)),
            }
            definition.strong_count() > 0
        });
        ready.retain(|hash| by_hash.contains_key(hash));
        tables.versions.clear();
        for version in versions {
            let of_name = tables.versions.entry(version.name.clone()).or_default();
            of_name.insert(version.version, version);
        }
        drop(tables);
        self.changes.send_replace(());
    }

    /// Returns a receiver that is notified when definitions or versions in memory have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub fn by_hash(&self, hash: &str) -> Option<Arc<Definition>> {
        self.read().by_hash.get(hash)?.upgrade()
    }

    /// Returns the definitions in memory, by name and version.
    pub fn known(&self) -> Vec<Arc<Definition>> {
        let mut known: Vec<_> = self.read().by_hash.values().filter_map(Weak::upgrade).collect();
        known.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        known
    }

    /// Returns the definitions in memory of one version. There are several if the version was
    /// replaced in place.
    pub fn contents(&self, name: &Name, version: u32) -> Vec<Arc<Definition>> {
        let tables = self.read();
        let is_wanted = |definition: &Arc<Definition>| {
            definition.version == version && definition.name == *name
        };
        tables.by_hash.values().filter_map(Weak::upgrade).filter(is_wanted).collect()
    }

    /// Returns the hashes of the active versions whose command topics are not known to exist.
    pub fn active_but_not_ready(&self) -> Vec<String> {
        let tables = self.read();
        let versions = tables.versions.values().flat_map(BTreeMap::values);
        let waits =
            |version: &&StoredVersion| version.is_active && !tables.ready.contains(&version.hash);
        versions.filter(waits).map(|version| version.hash.clone()).collect()
    }

    /// Selects the version for a start: the named one, else the active one.
    pub fn select(&self, name: &Name, version: Option<u32>) -> Result<Selected, StartError> {
        let tables = self.read();
        let Some(of_name) = tables.versions.get(name) else {
            let known = listed(tables.versions.keys());
            return Err(StartError::UnknownDefinition { name: name.to_string(), known });
        };
        let name = || name.to_string();
        let known = || listed(of_name.values().map(StoredVersion::summary));
        let selected =
            match version {
                Some(version) => of_name.get(&version).ok_or_else(|| {
                    StartError::UnknownVersion { name: name(), version, known: known() }
                })?,
                None => of_name
                    .values()
                    .find(|version| version.is_active)
                    .ok_or_else(|| StartError::NoActiveVersion { name: name(), known: known() })?,
            };
        if selected.retired_at.is_some() {
            let version = selected.version;
            return Err(StartError::RetiredVersion { name: name(), version, known: known() });
        }
        let hash = selected.hash.clone();
        let is_ready = tables.ready.contains(&hash);
        let ready = tables.by_hash.get(&hash).filter(|_| is_ready).and_then(Weak::upgrade);
        Ok(Selected { hash, ready })
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().expect("no panic while the registry is locked")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().expect("no panic while the registry is locked")
    }
}

impl Tables {
    fn insert(&mut self, hash: String, definition: Definition) -> Arc<Definition> {
        let definition = Arc::new(definition);
        self.by_hash.insert(hash.clone(), Arc::downgrade(&definition));
        self.held.insert(hash, definition.clone());
        definition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(version: u32) -> Definition {
        let draft = serde_json::json!({
            "name": "toy", "version": version, "input": [],
            "steps": [{
                "name": "act", "kind": "pivot",
                "action": { "participant": "a", "message": "a.act" },
            }],
        });
        let draft = serde_json::from_value(draft).expect("a draft");
        Definition::check(draft).expect("a valid definition")
    }

    fn version(definition: &Definition, is_active: bool) -> StoredVersion {
        StoredVersion {
            name: definition.name.clone(),
            version: definition.version,
            hash: definition.hash().to_owned(),
            is_active,
            registered_at: None,
            retired_at: None,
        }
    }

    /// `known` returns the replaced definition, and its caller drops it later.
    #[test]
    fn a_replaced_definition_leaves_the_memory_with_its_last_holder() {
        let (registry, old, new) = (Registry::default(), definition(1), definition(2));
        let versions = vec![version(&old, false), version(&new, true)];
        let hashes = [old.hash().to_owned(), new.hash().to_owned()];
        registry.add(old);
        registry.add(new);
        let known = registry.known();
        registry.set_versions(versions);
        assert!(registry.by_hash(&hashes[0]).is_some(), "a saga may hold it");
        drop(known);
        assert!(registry.by_hash(&hashes[0]).is_none());
        assert!(registry.by_hash(&hashes[1]).is_some());
        assert_eq!(registry.known().len(), 1);
    }
}
