//! The definitions known to this process: by hash, for existing sagas, and by name, for starts.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use sagamore_core::definition::Definition;
use sagamore_core::id::Name;

/// The known definitions. Only grows; written at start-up and when a saga has an unknown hash.
#[derive(Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    by_hash: HashMap<String, Arc<Definition>>,
    latest: HashMap<Name, Arc<Definition>>,
}

impl Registry {
    /// Adds a definition. If it is `startable` and the newest of its name, new sagas run by it.
    pub fn add(&self, definition: Definition, startable: bool) -> Arc<Definition> {
        let definition = Arc::new(definition);
        let mut tables = self.tables.write().expect("no panic while the registry is locked");
        tables.by_hash.insert(definition.hash().to_owned(), definition.clone());
        let newest = tables
            .latest
            .get(&definition.name)
            .is_none_or(|known| known.version <= definition.version);
        if startable && newest {
            tables.latest.insert(definition.name.clone(), definition.clone());
        }
        definition
    }

    pub fn by_hash(&self, hash: &str) -> Option<Arc<Definition>> {
        self.tables
            .read()
            .expect("no panic while the registry is locked")
            .by_hash
            .get(hash)
            .cloned()
    }

    pub fn latest(&self, name: &Name) -> Option<Arc<Definition>> {
        self.tables.read().expect("no panic while the registry is locked").latest.get(name).cloned()
    }

    pub fn all_latest(&self) -> Vec<Arc<Definition>> {
        let tables = self.tables.read().expect("no panic while the registry is locked");
        let mut all: Vec<_> = tables.latest.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn names(&self) -> Vec<String> {
        self.all_latest().iter().map(|definition| definition.name.to_string()).collect()
    }
}
