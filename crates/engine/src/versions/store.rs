//! The stored versions of one kind, the active version of each name, and the counter of their
//! changes.
//!
//! Every change first updates the counter, whose row lock serializes all changes. So a change
//! decides on rows that no other one modifies.
//!
//! **Invariant:** a body stays readable by its hash while a row of a saga or chain has the hash.

use std::collections::HashMap;

use sagamore_core::id::Name;
use sagamore_core::{Body, Timestamp};
use sagamore_database::database::Open;
use sagamore_database::{Database, Row, Tx};

use super::version::{
    CheckedContents, ListedVersion, Registered, RegistrationMode, RegistrationOutcome,
    StoredVersion, Versioned,
};
use crate::error::{Error, RegistrationError, listed};
use crate::version_kind::VersionKind;

/// Maximum bytes of a definition or plan as JSON.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of all stored contents of one kind.
const BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Maximum stored versions of one name, and of all names. Retired versions count.
const VERSIONS_OF_NAME_MAX: i64 = 1_000;
const VERSIONS_MAX: i64 = 10_000;
/// Maximum stored contents that were replaced in place.
const FORMER_MAX: i64 = 1_000;

/// The stored versions of one kind. Clones share the database.
#[derive(Clone)]
pub struct VersionStore {
    database: Database,
    kind: VersionKind,
}

const COLUMNS: &str = "d.name, d.version, d.hash, d.registered_at, d.retired_at,
    CAST(CASE WHEN a.version = d.version THEN 1 ELSE 0 END AS BIGINT)
    FROM {kind} d LEFT JOIN active_{kind} a ON a.name = d.name";

fn read(row: &Row) -> Result<StoredVersion, Error> {
    let name: String = row.get(0)?;
    let is_active: i64 = row.get(5)?;
    Ok(StoredVersion {
        version: number(row, 1)?,
        hash: row.get(2)?,
        is_active: is_active == 1,
        registered_at: row.get::<Option<i64>>(3)?.map(Timestamp),
        retired_at: row.get::<Option<i64>>(4)?.map(Timestamp),
        name: name.parse().map_err(|why| bad(&name, why))?,
    })
}

/// Reads a version.
fn number(row: &Row, column: usize) -> Result<u32, Error> {
    let version: i64 = row.get(column)?;
    u32::try_from(version).map_err(|why| bad(format!("version {version}"), why))
}

impl VersionStore {
    /// Creates the store of one kind in a migrated database.
    pub(crate) fn of(database: Database, kind: VersionKind) -> VersionStore {
        VersionStore { database, kind }
    }

    /// Completes a statement with the names of this kind's tables.
    fn sql(&self, text: &str) -> String {
        text.replace("{kind}", self.kind.as_str()).replace("{instances}", self.kind.instances())
    }

    /// Returns the number of changes so far.
    pub(crate) async fn changes(&self) -> Result<i64, Error> {
        let sql = self.sql("SELECT change FROM {kind}_change WHERE id = 0");
        let rows = self.database.query(&sql, ()).await?;
        let missing = || bad(format!("{}_change", self.kind), "the row is missing");
        Ok(rows.first().ok_or_else(missing)?.get(0)?)
    }

    /// Returns all stored versions.
    pub(crate) async fn all(&self) -> Result<Vec<StoredVersion>, Error> {
        let sql = self.sql(&format!("SELECT {COLUMNS} ORDER BY d.name, d.version"));
        let rows = self.database.query(&sql, ()).await?;
        let mut versions = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(row) {
                Ok(version) => versions.push(version),
                // one damaged row must not hide the others
                Err(error) => {
                    tracing::warn!(kind = %self.kind, %error, "cannot read a stored version")
                }
            }
        }
        Ok(versions)
    }

    /// Returns the hashes of the contents that were replaced in place.
    pub(crate) async fn former(&self) -> Result<Vec<String>, Error> {
        let rows = self.database.query(&self.sql("SELECT hash FROM former_{kind}"), ()).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?)
    }

    /// Returns at most `limit` stored versions after this one, by name and version, with the
    /// numbers of their unfinished sagas or chains.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn list(
        &self,
        after: Option<(&Name, u32)>,
        limit: u32,
    ) -> Result<Vec<ListedVersion>, Error> {
        let (name, version) = after.map_or(("", 0), |(name, version)| (name.as_str(), version));
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} WHERE (d.name, d.version) > ($1, $2)
             ORDER BY d.name, d.version LIMIT $3"
        ));
        let rows = self.database.query(&sql, (name, version, limit)).await?;
        self.with_running(rows.iter().map(read).collect::<Result<_, _>>()?).await
    }

    /// Returns all stored versions of a name with the numbers of their unfinished sagas or chains.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn list_of(&self, name: &Name) -> Result<Vec<ListedVersion>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE d.name = $1 ORDER BY d.version");
        let rows = self.database.query(&self.sql(&sql), (name.as_str(),)).await?;
        self.with_running(rows.iter().map(read).collect::<Result<_, _>>()?).await
    }

    /// Returns a stored version with its JSON, which is missing once it was retired and removed.
    /// `None` for an unknown version.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn find(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<Option<(ListedVersion, Option<String>)>, Error> {
        let of_name = self.list_of(name).await?;
        let Some(found) = of_name.into_iter().find(|listed| listed.version.version == version)
        else {
            return Ok(None);
        };
        let body = self.body(&found.version.hash).await?;
        Ok(Some((found, body)))
    }

    async fn with_running(
        &self,
        versions: Vec<StoredVersion>,
    ) -> Result<Vec<ListedVersion>, Error> {
        let mut hashes: HashMap<String, (String, u32)> = HashMap::new();
        let former = self.sql("SELECT hash, name, version FROM former_{kind}");
        for row in self.database.query(&former, ()).await? {
            hashes.insert(row.get(0)?, (row.get(1)?, number(&row, 2)?));
        }
        for version in &versions {
            let of_version = (version.name.to_string(), version.version);
            hashes.insert(version.hash.clone(), of_version);
        }
        let mut running: HashMap<(String, u32), u64> = HashMap::new();
        let sql = self.sql(
            "SELECT hash, count(*) FROM {instances} WHERE ended_at IS NULL AND hash IS NOT NULL
             GROUP BY hash",
        );
        for row in self.database.query(&sql, ()).await? {
            let (hash, count): (String, i64) = (row.get(0)?, row.get(1)?);
            if let Some(of_version) = hashes.get(&hash) {
                *running.entry(of_version.clone()).or_default() +=
                    u64::try_from(count).unwrap_or(0);
            }
        }
        let listed = |version: StoredVersion| {
            let of_version = (version.name.to_string(), version.version);
            ListedVersion { running: running.get(&of_version).copied().unwrap_or(0), version }
        };
        Ok(versions.into_iter().map(listed).collect())
    }

    /// Returns the stored JSON of the contents with this hash. `None` if it was removed or never
    /// stored.
    pub(crate) async fn body(&self, hash: &str) -> Result<Option<String>, Error> {
        let rows = self.database.query(&self.sql(BODY_BY_HASH), (hash,)).await?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?)
    }

    /// Returns the JSON like [`VersionStore::body`], within a transaction.
    pub(crate) async fn body_within(&self, tx: &Tx, hash: &str) -> Result<Option<String>, Error> {
        let rows = tx.query(&self.sql(BODY_BY_HASH), (hash,)).await?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?)
    }

    /// Stores contents, all or none. With `dry_run` nothing is stored.
    pub(crate) async fn register(
        &self,
        contents: &CheckedContents<impl Versioned>,
        mode: RegistrationMode,
        now: Timestamp,
        dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrationError> {
        let open = self.change().await?;
        let (tx, mut registered) = (open.tx(), Vec::with_capacity(contents.len()));
        for one in contents.iter() {
            registered.push(self.register_one(&tx, one, mode, now).await?);
        }
        let is_changed =
            |registered: &Registered| registered.outcome != RegistrationOutcome::Unchanged;
        if registered.iter().any(is_changed) {
            self.check_bounds(&tx, contents.iter().map(Versioned::name)).await?;
            if !dry_run {
                open.commit().await.map_err(Error::from)?;
                return Ok(registered);
            }
        }
        open.rollback().await.map_err(Error::from)?;
        Ok(registered)
    }

    /// Makes new sagas or chains run by this version.
    pub(crate) async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        let open = self.change().await?;
        let stored = self.stored(&open.tx(), name, version).await?;
        if stored.retired_at.is_some() {
            return Err(RegistrationError::Retired {
                kind: self.kind,
                name: name.clone(),
                version,
            });
        }
        if stored.is_active {
            open.rollback().await.map_err(Error::from)?;
            return Ok(stored);
        }
        self.make_active(&open.tx(), name, version).await?;
        open.commit().await.map_err(Error::from)?;
        Ok(StoredVersion { is_active: true, ..stored })
    }

    /// Stops starts by this version. If it is active, the name has no active version afterwards.
    pub(crate) async fn retire(
        &self,
        name: &Name,
        version: u32,
        now: Timestamp,
    ) -> Result<StoredVersion, RegistrationError> {
        let open = self.change().await?;
        let (tx, stored) = (open.tx(), self.stored(&open.tx(), name, version).await?);
        if stored.retired_at.is_some() {
            open.rollback().await.map_err(Error::from)?;
            return Ok(stored);
        }
        let of_version = (name.as_str(), version);
        let (retire, deactivate) = (
            self.sql("UPDATE {kind} SET retired_at = $3 WHERE name = $1 AND version = $2"),
            self.sql("DELETE FROM active_{kind} WHERE name = $1 AND version = $2"),
        );
        tx.execute(&retire, (name.as_str(), version, now.0)).await.map_err(Error::from)?;
        tx.execute(&deactivate, of_version).await.map_err(Error::from)?;
        open.commit().await.map_err(Error::from)?;
        Ok(StoredVersion { is_active: false, retired_at: Some(now), ..stored })
    }

    /// Opens a transaction that changes versions, and waits for the one before it.
    async fn change(&self) -> Result<Open, Error> {
        let open = self.database.begin().await?;
        let count = self.sql("UPDATE {kind}_change SET change = change + 1 WHERE id = 0");
        open.tx().execute(&count, ()).await?;
        Ok(open)
    }

    /// Returns hashes of at most `limit` bodies after this one that were retired or replaced before
    /// `before`.
    pub(super) async fn unused_candidates(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let sql = self.sql(
            "SELECT hash FROM {kind} WHERE retired_at < $1 AND body <> ''
             UNION ALL SELECT hash FROM former_{kind} WHERE replaced_at < $1
             ORDER BY hash LIMIT $2",
        );
        let rows = self.database.query(&sql, (before.0, limit)).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?)
    }

    /// Returns the first and the last row number of the sagas or chains; 0 without any.
    pub(super) async fn row_numbers(&self) -> Result<(i64, i64), Error> {
        let sql = self.sql(
            "SELECT (SELECT coalesce(min(seq), 0) FROM {instances}),
                (SELECT coalesce(max(seq), 0) FROM {instances})",
        );
        let rows = self.database.query(&sql, ()).await?;
        rows.first().map_or(Ok((0, 0)), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns the first saga or chain with a row number in `[from, until)` that has this hash. One
    /// without a hash, of an older program, may have any.
    pub(super) async fn first_use(
        &self,
        hash: &str,
        from: i64,
        until: i64,
    ) -> Result<Option<i64>, Error> {
        let sql = self.sql(
            "SELECT seq FROM {instances} WHERE seq >= $1 AND seq < $2
                AND (hash = $3 OR hash IS NULL)
             ORDER BY seq LIMIT 1",
        );
        let rows = self.database.query(&sql, (from, until, hash)).await?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?)
    }

    /// Removes the body with this hash, if it was retired or replaced before `before`. The version
    /// and its hash stay, so that the version cannot be stored with other contents.
    pub(super) async fn remove_body(&self, hash: &str, before: Timestamp) -> Result<(), Error> {
        let open = self.change().await?;
        let (empty, remove) = (
            self.sql("UPDATE {kind} SET body = '' WHERE hash = $1 AND retired_at < $2"),
            self.sql("DELETE FROM former_{kind} WHERE hash = $1 AND replaced_at < $2"),
        );
        open.tx().execute(&empty, (hash, before.0)).await?;
        open.tx().execute(&remove, (hash, before.0)).await?;
        Ok(open.commit().await?)
    }

    async fn register_one(
        &self,
        tx: &Tx,
        contents: &impl Versioned,
        mode: RegistrationMode,
        now: Timestamp,
    ) -> Result<Registered, RegistrationError> {
        use RegistrationMode::{Apply, Deploy, Replace};
        let (kind, name, version) = (self.kind, contents.name(), contents.version());
        let hash = contents.hash();
        let body = contents.body().map_err(|why| bad(name, why))?;
        let (bytes, bytes_max) = (body.as_str().len(), BODY_BYTES_MAX);
        if bytes > bytes_max {
            let name = name.clone();
            return Err(RegistrationError::TooLarge { kind, name, version, bytes, bytes_max });
        }
        let is_first = !self.is_registered(tx, name).await?;
        // the key decides which of two concurrent registrations is stored
        let insert = self.sql(
            "INSERT INTO {kind} (name, version, hash, body, registered_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name, version) DO NOTHING",
        );
        let row = (name.as_str(), version, hash.as_str(), body.as_str(), now.0);
        let is_new = tx.execute(&insert, row).await.map_err(Error::from)? > 0;
        let known = self.stored(tx, name, version).await?;
        let is_same = known.hash == hash;
        let outcome = match mode {
            _ if is_new => RegistrationOutcome::Registered,
            Apply | Deploy if !is_same => {
                return Err(RegistrationError::Changed { kind, name: name.clone(), version });
            }
            Replace if !is_same => {
                self.replace(tx, &known, &hash, &body, now).await?;
                RegistrationOutcome::Replaced
            }
            // an older program stored it, and activates nothing
            Apply | Deploy | Replace if known.registered_at.is_none() => {
                self.store_again(tx, &known, &body, now).await?;
                RegistrationOutcome::Registered
            }
            Apply if known.retired_at.is_some() => {
                self.store_again(tx, &known, &body, now).await?;
                RegistrationOutcome::Restored
            }
            Apply | Deploy | Replace => RegistrationOutcome::Unchanged,
        };
        if outcome != RegistrationOutcome::Unchanged {
            self.check_compatible(tx, contents).await?;
        }
        let active = self.active(tx, name).await?;
        let activates = match (outcome, mode) {
            (RegistrationOutcome::Unchanged | RegistrationOutcome::Restored, _) => false,
            (_, Apply) => is_first,
            (_, Deploy | Replace) => active.is_none_or(|active| active < version),
        };
        if activates {
            self.make_active(tx, name, version).await?;
        }
        Ok(Registered { version: self.stored(tx, name, version).await?, outcome })
    }

    /// Fails if a message has another schema in a version that is not retired, beyond additional
    /// optional fields: participants handle the messages of both.
    async fn check_compatible(
        &self,
        tx: &Tx,
        contents: &impl Versioned,
    ) -> Result<(), RegistrationError> {
        let (name, version) = (contents.name(), contents.version());
        if !contents.has_schemas() {
            return Ok(());
        }
        let sql = self.sql(
            "SELECT version FROM {kind}
             WHERE name = $1 AND version <> $2 AND retired_at IS NULL ORDER BY version DESC",
        );
        for row in tx.query(&sql, (name.as_str(), version)).await.map_err(Error::from)? {
            let other = number(&row, 0)?;
            let body = self.sql("SELECT body FROM {kind} WHERE name = $1 AND version = $2");
            let rows = tx.query(&body, (name.as_str(), other)).await.map_err(Error::from)?;
            let body: Option<String> =
                rows.first().map(|row| row.get(0)).transpose().map_err(Error::from)?;
            let changes = contents.changes_from(other, &body.unwrap_or_default());
            if !changes.is_empty() {
                let name = name.clone();
                return Err(RegistrationError::Incompatible { name, version, other, changes });
            }
        }
        Ok(())
    }

    /// Stores other contents of a version. Those before stay readable by their hash.
    async fn replace(
        &self,
        tx: &Tx,
        former: &StoredVersion,
        hash: &str,
        body: &Body,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (retain, discard, update) = (
            self.sql(
                "INSERT INTO former_{kind} (hash, name, version, body, replaced_at)
                 SELECT hash, name, version, body, CAST($2 AS BIGINT) FROM {kind}
                 WHERE hash = $1 AND body <> ''
                 ON CONFLICT (hash) DO UPDATE SET replaced_at = excluded.replaced_at",
            ),
            self.sql("DELETE FROM former_{kind} WHERE hash = $1"),
            self.sql(
                "UPDATE {kind} SET hash = $3, body = $4, registered_at = $5, retired_at = NULL
                 WHERE name = $1 AND version = $2",
            ),
        );
        tx.execute(&retain, (former.hash.as_str(), now.0)).await?;
        tx.execute(&discard, (hash,)).await?;
        let (name, version) = (former.name.as_str(), former.version);
        tx.execute(&update, (name, version, hash, body.as_str(), now.0)).await?;
        Ok(())
    }

    /// Stores the same contents again, no longer retired.
    async fn store_again(
        &self,
        tx: &Tx,
        known: &StoredVersion,
        body: &Body,
        now: Timestamp,
    ) -> Result<(), Error> {
        let update = self.sql(
            "UPDATE {kind} SET body = $3, registered_at = $4, retired_at = NULL
             WHERE name = $1 AND version = $2",
        );
        tx.execute(&update, (known.name.as_str(), known.version, body.as_str(), now.0)).await?;
        Ok(())
    }

    async fn make_active(&self, tx: &Tx, name: &Name, version: u32) -> Result<(), Error> {
        let sql = self.sql(
            "INSERT INTO active_{kind} (name, version) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        );
        tx.execute(&sql, (name.as_str(), version)).await?;
        Ok(())
    }

    async fn active(&self, tx: &Tx, name: &Name) -> Result<Option<u32>, Error> {
        let sql = self.sql("SELECT version FROM active_{kind} WHERE name = $1");
        tx.query(&sql, (name.as_str(),)).await?.first().map(|row| number(row, 0)).transpose()
    }

    /// Whether a version of this name is registered, other than by an older program.
    async fn is_registered(&self, tx: &Tx, name: &Name) -> Result<bool, Error> {
        let sql =
            self.sql("SELECT 1 FROM {kind} WHERE name = $1 AND registered_at IS NOT NULL LIMIT 1");
        Ok(!tx.query(&sql, (name.as_str(),)).await?.is_empty())
    }

    async fn stored(
        &self,
        tx: &Tx,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        let sql = self.sql(&format!("SELECT {COLUMNS} WHERE d.name = $1 ORDER BY d.version"));
        let rows = tx.query(&sql, (name.as_str(),)).await.map_err(Error::from)?;
        let versions = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        match versions.iter().find(|stored| stored.version == version) {
            Some(found) => Ok(found.clone()),
            None => Err(RegistrationError::Unknown {
                kind: self.kind,
                name: name.clone(),
                version,
                known: listed(versions.iter().map(StoredVersion::summary)),
            }),
        }
    }

    /// Fails if the transaction stored more than the bounds.
    async fn check_bounds(
        &self,
        tx: &Tx,
        names: impl Iterator<Item = &Name>,
    ) -> Result<(), RegistrationError> {
        let kind = self.kind;
        let count = async |sql: &str, name: Option<&Name>| -> Result<i64, Error> {
            let sql = self.sql(sql);
            let rows = match name {
                Some(name) => tx.query(&sql, (name.as_str(),)).await?,
                None => tx.query(&sql, ()).await?,
            };
            Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
        };
        let full = |what: String| Err(RegistrationError::TooMany(what));
        if count("SELECT count(*) FROM {kind}", None).await? > VERSIONS_MAX {
            return full(format!("the store holds at most {VERSIONS_MAX} versions of {kind}s"));
        }
        let former = count("SELECT count(*) FROM former_{kind}", None).await?;
        if former > FORMER_MAX {
            return full(format!(
                "{FORMER_MAX} {kind}s were replaced in place: unused ones are removed within two \
                 hours"
            ));
        }
        let bytes = "SELECT CAST((SELECT coalesce(sum(octet_length(body)), 0) FROM {kind})
            + (SELECT coalesce(sum(octet_length(body)), 0) FROM former_{kind}) AS BIGINT)";
        if count(bytes, None).await? > BYTES_MAX {
            return full(format!(
                "the stored {kind}s would exceed {BYTES_MAX} bytes: retire versions that nothing \
                 runs by"
            ));
        }
        for name in names {
            let of_name = "SELECT count(*) FROM {kind} WHERE name = $1";
            if count(of_name, Some(name)).await? > VERSIONS_OF_NAME_MAX {
                return full(format!(
                    "'{name}' has {VERSIONS_OF_NAME_MAX} versions, the maximum: continue under a \
                     new name"
                ));
            }
        }
        Ok(())
    }
}

/// Selects the body with a hash, of a stored version or of one that was replaced.
const BODY_BY_HASH: &str = "SELECT body FROM {kind} WHERE hash = $1 AND body <> ''
    UNION ALL SELECT body FROM former_{kind} WHERE hash = $1 LIMIT 1";

fn bad(what: impl ToString, why: impl ToString) -> Error {
    Error::BadData { what: what.to_string(), why: why.to_string() }
}
