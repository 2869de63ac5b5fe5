//! The stored definitions, the active version of each name, and the counter of their changes.
//!
//! Every change first updates the counter, whose row lock serializes all changes. So a change
//! decides on rows that no other one modifies.
//!
//! **Invariant:** a body stays readable by its hash while a saga's row has the hash.

use std::collections::HashMap;

use sagamore_core::definition::{Definition, Draft};
use sagamore_core::id::Name;
use sagamore_core::{Body, Timestamp};
use sagamore_database::database::Open;
use sagamore_database::{Row, Tx};

use super::{Store, bad};
use crate::error::{Error, RegistrationError, listed};

/// Maximum bytes of a definition as JSON.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of all stored definitions.
const BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Maximum stored versions of one name, and of all names. Retired versions count.
const VERSIONS_OF_NAME_MAX: i64 = 1_000;
const VERSIONS_MAX: i64 = 10_000;
/// Maximum stored definitions that were replaced in place.
const FORMER_MAX: i64 = 1_000;

/// A stored version of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionVersion {
    /// The definition's name.
    pub name: Name,
    /// The version.
    pub version: u32,
    /// The hash of the contents.
    pub hash: String,
    /// Whether new sagas run by this version. At most one version of a name is active.
    pub is_active: bool,
    /// The time of the registration. `None`: an older program registered it.
    pub registered_at: Option<Timestamp>,
    /// The time from which no saga starts by this version.
    pub retired_at: Option<Timestamp>,
}

/// A stored version with the number of its unfinished sagas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDefinition {
    /// The stored version.
    pub version: DefinitionVersion,
    /// Its unfinished sagas, with those that run by a body that was replaced in place.
    pub running: u64,
}

/// The source of a registration, which decides on activation and conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationMode {
    /// An operator applies a definition: only the first version of a name becomes active, and a
    /// retired version is restored.
    Apply,
    /// A process brings a definition: a new version becomes active if it is higher than the active
    /// one, and a known version changes nothing.
    Deploy,
    /// Like `Deploy`, and other contents replace a version in place. Its sagas keep their contents.
    Replace,
}

/// The effect of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// The version is new.
    Registered,
    /// The version was stored before, with the same contents.
    Unchanged,
    /// The version was retired before.
    Restored,
    /// The version had other contents before.
    Replaced,
}

/// A registered definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The stored version.
    pub version: DefinitionVersion,
    /// The effect of the registration.
    pub outcome: RegistrationOutcome,
}

impl DefinitionVersion {
    /// Returns `3`, `3 (active)` or `3 (retired)`.
    pub(crate) fn summary(&self) -> String {
        let DefinitionVersion { version, is_active, retired_at, .. } = self;
        match (is_active, retired_at) {
            (true, _) => format!("{version} (active)"),
            (false, Some(_)) => format!("{version} (retired)"),
            (false, None) => version.to_string(),
        }
    }
}

const COLUMNS: &str = "d.name, d.version, d.hash, d.registered_at, d.retired_at,
    CAST(CASE WHEN a.version = d.version THEN 1 ELSE 0 END AS BIGINT)
    FROM definition d LEFT JOIN active_definition a ON a.name = d.name";

fn read(row: &Row) -> Result<DefinitionVersion, Error> {
    let name: String = row.get(0)?;
    let is_active: i64 = row.get(5)?;
    Ok(DefinitionVersion {
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
    u32::try_from(version).map_err(|why| bad(format!("definition version {version}"), why))
}

impl Store {
    /// Returns the number of changes to definitions so far.
    pub async fn definition_changes(&self) -> Result<i64, Error> {
        let sql = "SELECT change FROM definition_change WHERE id = 0";
        let rows = self.database.query(sql, ()).await?;
        let row = rows.first().ok_or_else(|| bad("definition_change", "the row is missing"))?;
        Ok(row.get(0)?)
    }

    /// Returns all stored versions.
    pub async fn definition_versions(&self) -> Result<Vec<DefinitionVersion>, Error> {
        let sql = format!("SELECT {COLUMNS} ORDER BY d.name, d.version");
        let rows = self.database.query(&sql, ()).await?;
        let mut versions = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(row) {
                Ok(version) => versions.push(version),
                // one damaged row must not hide the others
                Err(error) => tracing::warn!(%error, "cannot read a stored definition"),
            }
        }
        Ok(versions)
    }

    /// Returns at most `limit` stored versions after this one, by name and version, with the
    /// numbers of their unfinished sagas.
    pub async fn list_definitions(
        &self,
        after: Option<(&Name, u32)>,
        limit: u32,
    ) -> Result<Vec<ListedDefinition>, Error> {
        let (name, version) = after.map_or(("", 0), |(name, version)| (name.as_str(), version));
        let sql = format!(
            "SELECT {COLUMNS} WHERE (d.name, d.version) > ($1, $2)
             ORDER BY d.name, d.version LIMIT $3"
        );
        let rows = self.database.query(&sql, (name, version, limit)).await?;
        self.with_running(rows.iter().map(read).collect::<Result<_, _>>()?).await
    }

    /// Returns all stored versions of a name with the numbers of their unfinished sagas.
    pub async fn definitions_of(&self, name: &Name) -> Result<Vec<ListedDefinition>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE d.name = $1 ORDER BY d.version");
        let rows = self.database.query(&sql, (name.as_str(),)).await?;
        self.with_running(rows.iter().map(read).collect::<Result<_, _>>()?).await
    }

    async fn with_running(
        &self,
        versions: Vec<DefinitionVersion>,
    ) -> Result<Vec<ListedDefinition>, Error> {
        let mut hashes: HashMap<String, (String, u32)> = HashMap::new();
        let former = "SELECT hash, name, version FROM former_definition";
        for row in self.database.query(former, ()).await? {
            hashes.insert(row.get(0)?, (row.get(1)?, number(&row, 2)?));
        }
        for version in &versions {
            let of_version = (version.name.to_string(), version.version);
            hashes.insert(version.hash.clone(), of_version);
        }
        let mut running: HashMap<(String, u32), u64> = HashMap::new();
        let sql = "SELECT hash, count(*) FROM saga WHERE ended_at IS NULL GROUP BY hash";
        for row in self.database.query(sql, ()).await? {
            let (hash, count): (String, i64) = (row.get(0)?, row.get(1)?);
            if let Some(of_version) = hashes.get(&hash) {
                *running.entry(of_version.clone()).or_default() +=
                    u64::try_from(count).unwrap_or(0);
            }
        }
        let listed = |version: DefinitionVersion| {
            let of_version = (version.name.to_string(), version.version);
            ListedDefinition { running: running.get(&of_version).copied().unwrap_or(0), version }
        };
        Ok(versions.into_iter().map(listed).collect())
    }

    /// Returns the stored JSON of the definition with this hash. `None` if it was removed or never
    /// stored.
    pub async fn definition_body(&self, hash: &str) -> Result<Option<String>, Error> {
        let rows = self.database.query(BODY_BY_HASH, (hash,)).await?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?)
    }

    /// Stores definitions, all or none. With `dry_run` nothing is stored.
    pub async fn register(
        &self,
        definitions: &[Definition],
        mode: RegistrationMode,
        now: Timestamp,
        dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrationError> {
        for definition in definitions {
            // a parsed definition may predate the latest rules
            Definition::check(definition.clone().into())?;
        }
        let open = self.change_definitions().await?;
        let (tx, mut registered) = (open.tx(), Vec::with_capacity(definitions.len()));
        for definition in definitions {
            registered.push(register(&tx, definition, mode, now).await?);
        }
        let is_changed =
            |registered: &Registered| registered.outcome != RegistrationOutcome::Unchanged;
        if registered.iter().any(is_changed) {
            check_bounds(&tx, definitions).await?;
            if !dry_run {
                open.commit().await.map_err(Error::from)?;
                return Ok(registered);
            }
        }
        open.rollback().await.map_err(Error::from)?;
        Ok(registered)
    }

    /// Makes new sagas run by this version.
    pub async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<DefinitionVersion, RegistrationError> {
        let open = self.change_definitions().await?;
        let stored = stored(&open.tx(), name, version).await?;
        if stored.retired_at.is_some() {
            return Err(RegistrationError::Retired { name: name.clone(), version });
        }
        if stored.is_active {
            open.rollback().await.map_err(Error::from)?;
            return Ok(stored);
        }
        activate(&open.tx(), name, version).await?;
        open.commit().await.map_err(Error::from)?;
        Ok(DefinitionVersion { is_active: true, ..stored })
    }

    /// Stops starts by this version. If it is active, the name has no active version afterwards.
    pub async fn retire(
        &self,
        name: &Name,
        version: u32,
        now: Timestamp,
    ) -> Result<DefinitionVersion, RegistrationError> {
        let open = self.change_definitions().await?;
        let (tx, stored) = (open.tx(), stored(&open.tx(), name, version).await?);
        if stored.retired_at.is_some() {
            open.rollback().await.map_err(Error::from)?;
            return Ok(stored);
        }
        let of_version = (name.as_str(), version);
        let (retire, deactivate) = (
            "UPDATE definition SET retired_at = $3 WHERE name = $1 AND version = $2",
            "DELETE FROM active_definition WHERE name = $1 AND version = $2",
        );
        tx.execute(retire, (name.as_str(), version, now.0)).await.map_err(Error::from)?;
        tx.execute(deactivate, of_version).await.map_err(Error::from)?;
        open.commit().await.map_err(Error::from)?;
        Ok(DefinitionVersion { is_active: false, retired_at: Some(now), ..stored })
    }

    /// Opens a transaction that changes definitions, and waits for the one before it.
    async fn change_definitions(&self) -> Result<Open, Error> {
        let open = self.begin().await?;
        let count = "UPDATE definition_change SET change = change + 1 WHERE id = 0";
        open.tx().execute(count, ()).await?;
        Ok(open)
    }

    /// Returns hashes of at most `limit` bodies after this one that were retired or replaced before
    /// `before`.
    pub async fn unused_candidates(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let sql = "SELECT hash FROM definition WHERE retired_at < $1 AND body <> ''
            UNION ALL SELECT hash FROM former_definition WHERE replaced_at < $1
            ORDER BY hash LIMIT $2";
        let rows = self.database.query(sql, (before.0, limit)).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?)
    }

    /// Returns the first and the last row number of the sagas; 0 without any.
    pub async fn saga_numbers(&self) -> Result<(i64, i64), Error> {
        let sql = "SELECT (SELECT coalesce(min(seq), 0) FROM saga),
            (SELECT coalesce(max(seq), 0) FROM saga)";
        let rows = self.database.query(sql, ()).await?;
        rows.first().map_or(Ok((0, 0)), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns the first saga with a row number in `[from, until)` and this hash.
    pub async fn first_use(&self, hash: &str, from: i64, until: i64) -> Result<Option<i64>, Error> {
        let sql = "SELECT seq FROM saga WHERE seq >= $1 AND seq < $2 AND hash = $3
            ORDER BY seq LIMIT 1";
        let rows = self.database.query(sql, (from, until, hash)).await?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?)
    }

    /// Removes the body with this hash, if it was retired or replaced before `before`. The version
    /// and its hash stay, so that the version cannot be stored with other contents.
    pub async fn remove_body(&self, hash: &str, before: Timestamp) -> Result<(), Error> {
        let open = self.change_definitions().await?;
        let (empty, remove) = (
            "UPDATE definition SET body = '' WHERE hash = $1 AND retired_at < $2",
            "DELETE FROM former_definition WHERE hash = $1 AND replaced_at < $2",
        );
        open.tx().execute(empty, (hash, before.0)).await?;
        open.tx().execute(remove, (hash, before.0)).await?;
        Ok(open.commit().await?)
    }
}

/// Selects the body with a hash, of a stored version or of one that was replaced.
pub(super) const BODY_BY_HASH: &str = "SELECT body FROM definition WHERE hash = $1 AND body <> ''
    UNION ALL SELECT body FROM former_definition WHERE hash = $1 LIMIT 1";

async fn register(
    tx: &Tx,
    definition: &Definition,
    mode: RegistrationMode,
    now: Timestamp,
) -> Result<Registered, RegistrationError> {
    use RegistrationMode::{Apply, Deploy, Replace};
    let (name, version) = (&definition.name, definition.version);
    let body = Body::of(definition).map_err(|why| bad(name, why))?;
    let (bytes, bytes_max) = (body.as_str().len(), BODY_BYTES_MAX);
    if bytes > bytes_max {
        return Err(RegistrationError::TooLarge { name: name.clone(), version, bytes, bytes_max });
    }
    let is_first = !is_registered(tx, name).await?;
    // the key decides which of two concurrent registrations is stored
    let insert = "INSERT INTO definition (name, version, hash, body, registered_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name, version) DO NOTHING";
    let row = (name.as_str(), version, definition.hash(), body.as_str(), now.0);
    let is_new = tx.execute(insert, row).await.map_err(Error::from)? > 0;
    let known = stored(tx, name, version).await?;
    let is_same = known.hash == definition.hash();
    let outcome = match mode {
        _ if is_new => RegistrationOutcome::Registered,
        Apply | Deploy if !is_same => {
            return Err(RegistrationError::Changed { name: name.clone(), version });
        }
        Replace if !is_same => {
            replace(tx, &known.hash, definition, &body, now).await?;
            RegistrationOutcome::Replaced
        }
        // an older program stored it, and activates nothing
        Apply | Deploy | Replace if known.registered_at.is_none() => {
            store_again(tx, definition, &body, now).await?;
            RegistrationOutcome::Registered
        }
        Apply if known.retired_at.is_some() => {
            store_again(tx, definition, &body, now).await?;
            RegistrationOutcome::Restored
        }
        Apply | Deploy | Replace => RegistrationOutcome::Unchanged,
    };
    if outcome != RegistrationOutcome::Unchanged {
        check_compatible(tx, definition).await?;
    }
    let active = active(tx, name).await?;
    let activates = match (outcome, mode) {
        (RegistrationOutcome::Unchanged | RegistrationOutcome::Restored, _) => false,
        (_, Apply) => is_first,
        (_, Deploy | Replace) => active.is_none_or(|active| active < version),
    };
    if activates {
        activate(tx, name, version).await?;
    }
    Ok(Registered { version: stored(tx, name, version).await?, outcome })
}

/// Fails if a message has another schema in a version that is not retired, beyond additional
/// optional fields: participants handle the messages of both.
async fn check_compatible(tx: &Tx, definition: &Definition) -> Result<(), RegistrationError> {
    let (name, version) = (&definition.name, definition.version);
    if definition.schemas.is_empty() {
        return Ok(());
    }
    let sql = "SELECT version FROM definition
        WHERE name = $1 AND version <> $2 AND retired_at IS NULL ORDER BY version DESC";
    for row in tx.query(sql, (name.as_str(), version)).await.map_err(Error::from)? {
        let other = number(&row, 0)?;
        let body = "SELECT body FROM definition WHERE name = $1 AND version = $2";
        let rows = tx.query(body, (name.as_str(), other)).await.map_err(Error::from)?;
        let body: Option<String> =
            rows.first().map(|row| row.get(0)).transpose().map_err(Error::from)?;
        // a newer program stored what this one cannot read
        let Ok(stored) = serde_json::from_str::<Draft>(&body.unwrap_or_default()) else { continue };
        let (old, new) = match other < version {
            true => (&stored.schemas, &definition.schemas),
            false => (&definition.schemas, &stored.schemas),
        };
        let changes = sagamore_schema::incompatible(old, new);
        if !changes.is_empty() {
            let name = name.clone();
            return Err(RegistrationError::Incompatible { name, version, other, changes });
        }
    }
    Ok(())
}

/// Stores other contents of a version. Those before stay readable by their hash.
async fn replace(
    tx: &Tx,
    former: &str,
    definition: &Definition,
    body: &Body,
    now: Timestamp,
) -> Result<(), Error> {
    let (retain, discard, update) = (
        "INSERT INTO former_definition (hash, name, version, body, replaced_at)
         SELECT hash, name, version, body, CAST($2 AS BIGINT) FROM definition
         WHERE hash = $1 AND body <> ''
         ON CONFLICT (hash) DO UPDATE SET replaced_at = excluded.replaced_at",
        "DELETE FROM former_definition WHERE hash = $1",
        "UPDATE definition SET hash = $3, body = $4, registered_at = $5, retired_at = NULL
         WHERE name = $1 AND version = $2",
    );
    tx.execute(retain, (former, now.0)).await?;
    tx.execute(discard, (definition.hash(),)).await?;
    let (name, version) = (definition.name.as_str(), definition.version);
    tx.execute(update, (name, version, definition.hash(), body.as_str(), now.0)).await?;
    Ok(())
}

/// Stores the same contents again, no longer retired.
async fn store_again(
    tx: &Tx,
    definition: &Definition,
    body: &Body,
    now: Timestamp,
) -> Result<(), Error> {
    let update = "UPDATE definition SET body = $3, registered_at = $4, retired_at = NULL
        WHERE name = $1 AND version = $2";
    let (name, version) = (definition.name.as_str(), definition.version);
    tx.execute(update, (name, version, body.as_str(), now.0)).await?;
    Ok(())
}

async fn activate(tx: &Tx, name: &Name, version: u32) -> Result<(), Error> {
    let sql = "INSERT INTO active_definition (name, version) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    tx.execute(sql, (name.as_str(), version)).await?;
    Ok(())
}

async fn active(tx: &Tx, name: &Name) -> Result<Option<u32>, Error> {
    let sql = "SELECT version FROM active_definition WHERE name = $1";
    tx.query(sql, (name.as_str(),)).await?.first().map(|row| number(row, 0)).transpose()
}

/// Whether a version of this name is registered, other than by an older program.
async fn is_registered(tx: &Tx, name: &Name) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM definition WHERE name = $1 AND registered_at IS NOT NULL LIMIT 1";
    Ok(!tx.query(sql, (name.as_str(),)).await?.is_empty())
}

async fn stored(
    tx: &Tx,
    name: &Name,
    version: u32,
) -> Result<DefinitionVersion, RegistrationError> {
    let sql = format!("SELECT {COLUMNS} WHERE d.name = $1 ORDER BY d.version");
    let rows = tx.query(&sql, (name.as_str(),)).await.map_err(Error::from)?;
    let versions = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match versions.iter().find(|stored| stored.version == version) {
        Some(found) => Ok(found.clone()),
        None => Err(RegistrationError::Unknown {
            name: name.clone(),
            version,
            known: listed(versions.iter().map(DefinitionVersion::summary)),
        }),
    }
}

/// Fails if the transaction stored more than the bounds.
async fn check_bounds(tx: &Tx, definitions: &[Definition]) -> Result<(), RegistrationError> {
    let count = async |sql: &str, name: Option<&Name>| -> Result<i64, Error> {
        let rows = match name {
            Some(name) => tx.query(sql, (name.as_str(),)).await?,
            None => tx.query(sql, ()).await?,
        };
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    };
    let full = |what: String| Err(RegistrationError::TooMany(what));
    if count("SELECT count(*) FROM definition", None).await? > VERSIONS_MAX {
        return full(format!("the store holds at most {VERSIONS_MAX} versions of definitions"));
    }
    let former = count("SELECT count(*) FROM former_definition", None).await?;
    if former > FORMER_MAX {
        return full(format!(
            "{FORMER_MAX} definitions were replaced in place: unused ones are removed within two \
             hours"
        ));
    }
    let bytes = "SELECT CAST((SELECT coalesce(sum(octet_length(body)), 0) FROM definition)
        + (SELECT coalesce(sum(octet_length(body)), 0) FROM former_definition) AS BIGINT)";
    if count(bytes, None).await? > BYTES_MAX {
        return full(format!(
            "the stored definitions would exceed {BYTES_MAX} bytes: retire versions without sagas"
        ));
    }
    for definition in definitions {
        let of_name = "SELECT count(*) FROM definition WHERE name = $1";
        if count(of_name, Some(&definition.name)).await? > VERSIONS_OF_NAME_MAX {
            return full(format!(
                "'{}' has {VERSIONS_OF_NAME_MAX} versions, the maximum: continue under a new name",
                definition.name
            ));
        }
    }
    Ok(())
}
