//! The list of all services that have used a data directory. The database of each must exist, and a
//! new service may join.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file of the list, one name per line.
const ROSTER: &str = "services";

/// Returns the file of a database.
pub fn file(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}.sqlite"))
}

/// Fails if the database of an earlier service is missing. The engine's database is created last,
/// so its existence implies those of all listed services. The log may be lost, but no database.
pub fn check_databases(data: &Path, services: &[&str]) -> Result<(), Error> {
    if !file(data, "engine").exists() {
        return Ok(());
    }
    let listed = read(data)?;
    // a directory without a list comes from a program with the same services
    let is_listed = |name: &&&str| listed.as_ref().is_none_or(|listed| listed.contains(**name));
    let missing =
        services.iter().filter(is_listed).map(|name| file(data, name)).find(|path| !path.exists());
    missing.map_or(Ok(()), |path| Err(Error::Missing { path }))
}

/// Adds the services to the list.
pub fn store(data: &Path, services: &[&str]) -> Result<(), Error> {
    let listed = read(data)?;
    let mut all: BTreeSet<String> = listed.clone().unwrap_or_default();
    all.extend(services.iter().map(|name| (*name).to_owned()));
    if listed.as_ref() == Some(&all) {
        return Ok(());
    }
    let text: String = all.iter().map(|name| format!("{name}\n")).collect();
    let (path, next) = (data.join(ROSTER), data.join(format!("{ROSTER}.new")));
    let written = std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &path));
    written.map_err(|source| Error::Directory { path, source })
}

fn read(data: &Path) -> Result<Option<BTreeSet<String>>, Error> {
    let path = data.join(ROSTER);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.lines().map(str::to_owned).collect())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Directory { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_service_may_join_but_no_earlier_database_may_be_missing() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let touch = |name: &str| std::fs::write(file(data, name), "").unwrap();
        assert!(check_databases(data, &["seats"]).is_ok(), "the directory is empty");
        touch("engine");
        assert!(
            check_databases(data, &["seats"]).is_err(),
            "without a list, every service counts as earlier"
        );
        touch("seats");
        store(data, &["seats"]).unwrap();
        assert!(check_databases(data, &["seats", "cards"]).is_ok(), "cards joins");
        store(data, &["cards"]).unwrap();
        assert!(check_databases(data, &["seats"]).is_ok());
        assert!(check_databases(data, &["seats", "cards"]).is_err(), "cards is listed");
    }
}
