//! Requests about definitions. They go to the store directly: no turn takes part.

use std::sync::Arc;

use sagamore_core::definition::Definition;
use sagamore_core::id::Name;
use tokio::sync::watch;

use super::Handle;
use crate::announcements::Announcements;
use crate::error::{Error, RegistrationError};
use crate::versions::{Registered, RegistrationMode, StoredVersion, VersionStore};

impl Handle {
    /// Registers a definition for an operator. The first version of a name becomes active; a later
    /// one becomes active by [`Handle::activate`]. A repeat changes nothing, except that a retired
    /// version is restored. With `dry_run` nothing is stored.
    ///
    /// # Errors
    /// Nothing is stored if the version is stored with other contents.
    pub async fn apply(
        &self,
        definition: Definition,
        dry_run: bool,
    ) -> Result<Registered, RegistrationError> {
        let mut registered =
            self.registrar.register(vec![definition], RegistrationMode::Apply, dry_run).await?;
        Ok(registered.remove(0)) // one for each definition
    }

    /// Registers definitions, all or none.
    ///
    /// # Errors
    /// As for [`Handle::apply`].
    pub async fn register(
        &self,
        definitions: Vec<Definition>,
        mode: RegistrationMode,
    ) -> Result<Vec<Registered>, RegistrationError> {
        self.registrar.register(definitions, mode, false).await
    }

    /// Makes new sagas run by this version. Other orchestrators do so within a second.
    pub async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        self.registrar.activate(name, version).await
    }

    /// Stops starts by this version; its sagas continue. If it is active, the name has no active
    /// version afterwards. The contents are removed when no saga's row refers to them.
    pub async fn retire(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        self.registrar.retire(name, version).await
    }

    /// Returns the definitions in memory: those of active versions, and those of sagas in memory.
    pub fn known_definitions(&self) -> Vec<Arc<Definition>> {
        self.registrar.registry.known()
    }

    /// Returns the contents of a version, from memory or else as stored: more than one after it was
    /// replaced in place. Empty for an unknown version.
    ///
    /// # Errors
    /// The database failed.
    pub async fn contents(&self, name: &Name, version: u32) -> Result<Vec<Arc<Definition>>, Error> {
        let known = self.registrar.registry.contents(name, version);
        if !known.is_empty() {
            return Ok(known);
        }
        let stored = self.store.definition_reader().contents(name, version).await?;
        Ok(stored.into_iter().map(Arc::new).collect())
    }

    /// Returns a receiver that is notified after the known definitions or their versions have
    /// changed, by this process or another one.
    pub fn definition_changes(&self) -> watch::Receiver<()> {
        self.registrar.registry.changes()
    }

    /// Returns the announcements that the orchestrators have stored.
    pub fn announcements(&self) -> Announcements {
        let transport = Some(self.registrar.transport());
        Announcements::of(self.store.database.clone(), self.clock.clone(), transport)
    }

    /// Returns the stored versions.
    pub fn definitions(&self) -> VersionStore {
        self.store.versions()
    }
}
