//! The compiled schemas of the definitions in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sagamore_core::definition::Definition;

use crate::{CompiledSchemas, InvalidSchema};

/// Maximum definitions whose compiled schemas are retained.
const DEFINITIONS_MAX: usize = 256;

/// The compiled schemas of definitions, by hash. Each is compiled once.
#[derive(Debug, Default)]
pub struct Cache {
    compiled: Mutex<HashMap<String, Compilation>>,
}

type Compilation = Result<Arc<CompiledSchemas>, Arc<Vec<InvalidSchema>>>;

impl Cache {
    /// Returns the schemas of a definition, or `None` if it has none.
    ///
    /// # Errors
    /// Returns the schemas that are invalid.
    pub fn of(
        &self,
        definition: &Definition,
    ) -> Result<Option<Arc<CompiledSchemas>>, Arc<Vec<InvalidSchema>>> {
        if definition.schemas.is_empty() {
            return Ok(None);
        }
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= DEFINITIONS_MAX && !compiled.contains_key(definition.hash()) {
            compiled.clear();
        }
        let compile = || CompiledSchemas::new(&definition.schemas).map(Arc::new).map_err(Arc::new);
        let entry = compiled.entry(definition.hash().to_owned()).or_insert_with(compile);
        entry.clone().map(Some)
    }
}
