//! The services that a data directory has had: the database of each must be there. A new one may join.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Error, file};

/// The file that lists them, a name a line.
const ROSTER: &str = "services";

/// Fails when the database of a service that was here is missing. The engine's database is made last: where it is, the
/// databases of all services in the roster are. The log may be lost, they may not.
pub fn nothing_is_missing(data: &Path, services: &[&str]) -> Result<(), Error> {
    if !file(data, "engine").exists() {
        return Ok(());
    }
    let known = read(data)?;
    // a directory without a roster was made by a program with the same services
    let was_here = |name: &&&str| known.as_ref().is_none_or(|known| known.contains(**name));
    let missing =
        services.iter().filter(was_here).map(|name| file(data, name)).find(|path| !path.exists());
    missing.map_or(Ok(()), |path| Err(Error::Missing { path }))
}

/// Adds these services to the roster.
pub fn store(data: &Path, services: &[&str]) -> Result<(), Error> {
    let known = read(data)?;
    let mut all: BTreeSet<String> = known.clone().unwrap_or_default();
    all.extend(services.iter().map(|name| (*name).to_owned()));
    if known.as_ref() == Some(&all) {
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
    fn a_new_service_may_join_and_the_database_of_a_former_one_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let touch = |name: &str| std::fs::write(file(data, name), "").unwrap();
        assert!(nothing_is_missing(data, &["seats"]).is_ok(), "nothing is here yet");
        touch("engine");
        assert!(
            nothing_is_missing(data, &["seats"]).is_err(),
            "without a roster every service was here"
        );
        touch("seats");
        store(data, &["seats"]).unwrap();
        assert!(nothing_is_missing(data, &["seats", "cards"]).is_ok(), "cards joins");
        store(data, &["cards"]).unwrap();
        assert!(nothing_is_missing(data, &["seats"]).is_ok());
        assert!(nothing_is_missing(data, &["seats", "cards"]).is_err(), "cards was here");
    }
}
