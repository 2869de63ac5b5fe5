//! The definitions known to this process: by hash, for existing sagas, and by name and version, for
//! starts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sagamore_core::definition::Definition;
use sagamore_core::id::Name;

use crate::error::{StartError, listed};
use crate::store::DefinitionVersion;

/// The known definitions, and the stored versions as of the last refresh.
#[derive(Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    by_hash: HashMap<String, Arc<Definition>>,
    /// Hashes of definitions that came with the process. They stay in memory, because their checks
    /// of the input are not stored.
    built_in: HashSet<String>,
    /// Hashes of definitions whose command topics exist.
    ready: HashSet<String>,
    versions: BTreeMap<Name, BTreeMap<u32, DefinitionVersion>>,
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
        tables.by_hash.insert(hash, Arc::new(definition));
    }

    /// Adds a definition that was read from the store. A known one of this hash stays.
    pub fn add(&self, definition: Definition) -> Arc<Definition> {
        let hash = definition.hash().to_owned();
        self.write().by_hash.entry(hash).or_insert_with(|| Arc::new(definition)).clone()
    }

    /// Records that the command topics of a definition exist.
    pub fn mark_ready(&self, hash: &str) {
        self.write().ready.insert(hash.to_owned());
    }

    /// Replaces the known versions. Forgets definitions that neither a saga in memory nor an active
    /// version uses: the store has them.
    pub fn set_versions(&self, versions: Vec<DefinitionVersion>) {
        let mut tables = self.write();
        let active: HashSet<&str> = versions
            .iter()
            .filter(|version| version.is_active)
            .map(|version| version.hash.as_str())
            .collect();
        let Tables { by_hash, built_in, ready, .. } = &mut *tables;
        by_hash.retain(|hash, definition| {
            Arc::strong_count(definition) > 1
                || built_in.contains(hash)
                || active.contains(hash.as_str())
        });
        ready.retain(|hash| by_hash.contains_key(hash));
        tables.versions.clear();
        for version in versions {
            let of_name = tables.versions.entry(version.name.clone()).or_default();
            of_name.insert(version.version, version);
        }
    }

    pub fn by_hash(&self, hash: &str) -> Option<Arc<Definition>> {
        self.read().by_hash.get(hash).cloned()
    }

    /// Returns the definitions in memory, by name and version.
    pub fn known(&self) -> Vec<Arc<Definition>> {
        let mut known: Vec<_> = self.read().by_hash.values().cloned().collect();
        known.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        known
    }

    /// Returns the contents of a version that are in memory: more than one after it was replaced in
    /// place.
    pub fn contents(&self, name: &Name, version: u32) -> Vec<Arc<Definition>> {
        let tables = self.read();
        let of_version = tables.by_hash.values();
        let is_wanted = |definition: &&Arc<Definition>| {
            definition.version == version && definition.name == *name
        };
        of_version.filter(is_wanted).cloned().collect()
    }

    /// Returns the hashes of the active versions whose command topics are not known to exist.
    pub fn active_but_not_ready(&self) -> Vec<String> {
        let tables = self.read();
        let versions = tables.versions.values().flat_map(BTreeMap::values);
        let waits = |version: &&DefinitionVersion| {
            version.is_active && !tables.ready.contains(&version.hash)
        };
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
        let known = || listed(of_name.values().map(DefinitionVersion::summary));
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
        let ready = tables.ready.contains(&hash).then(|| tables.by_hash.get(&hash).cloned());
        Ok(Selected { hash, ready: ready.flatten() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().expect("no panic while the registry is locked")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().expect("no panic while the registry is locked")
    }
}
