//! The saga files of `dev`: registered at its start, and again when they change.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use sagamore_engine::{Chains, Handle, RegistrationError, RegistrationMode, RegistrationOutcome};
use sagamore_inspect::SagaFile;

use crate::crew::StopSignal;
use crate::error::Error;
use crate::plain;
use crate::saga_files::{SagaFiles, Snapshot, snapshot};

/// The folder that `dev` loads if no file is named.
const FOLDER: &str = "sagas";
/// The interval between two checks for changes.
const POLL: Duration = Duration::from_millis(300);

/// Returns the files and folders of `dev`: those named, else `./sagas` if it exists.
pub fn paths(named: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let folder = PathBuf::from(FOLDER);
    if named.is_empty() && folder.is_dir() {
        return Ok(vec![folder]);
    }
    match named.iter().find(|path| !path.exists()) {
        Some(missing) => bail!("{}: no such file or folder", missing.display()),
        None => Ok(named),
    }
}

/// The parts of `dev` that take definitions and plans.
#[derive(Clone)]
pub struct Registries {
    pub handle: Handle,
    pub chains: Option<Chains>,
}

/// Prints all mistakes, and registers the contents of the other files.
pub async fn register_all(registries: &Registries, files: SagaFiles) -> anyhow::Result<()> {
    for mistake in &files.mistakes {
        errln!("{}", plain::visible(mistake));
    }
    for (path, file) in files.into_contents() {
        register(registries, &path, file).await?;
    }
    Ok(())
}

/// Registers the contents of a file, which replace their version in place, and prints what changed.
///
/// # Errors
/// A fault of the engine. Other errors are printed, and the last good contents stay.
pub async fn register(
    registries: &Registries,
    path: &Path,
    file: SagaFile,
) -> Result<(), RegistrationError> {
    let (running, registered) = match (file, &registries.chains) {
        (SagaFile::Definition(definition), _) => {
            let mode = RegistrationMode::Replace;
            ("sagas", registries.handle.register(vec![definition], mode).await)
        }
        (SagaFile::Plan(plan), Some(chains)) => {
            ("chains", chains.register(vec![plan], RegistrationMode::Replace, false).await)
        }
        (SagaFile::Plan(plan), None) => {
            errln!("{}: restart to load the plan '{}'", path.display(), plan.name);
            return Ok(());
        }
    };
    let registered = match registered {
        Err(error @ RegistrationError::Fault(_)) => return Err(error),
        Err(error) => {
            errln!("{}: {error}", path.display());
            return Ok(());
        }
        Ok(mut registered) => registered.remove(0), // one for each file
    };
    let version = &registered.version;
    let (file, id) = (path.display(), format!("{}@{}", version.name, version.version));
    let done = match registered.outcome {
        RegistrationOutcome::Registered => "registered".to_owned(),
        RegistrationOutcome::Replaced => {
            format!("replaced (running {running} keep the former contents)")
        }
        RegistrationOutcome::Restored => "restored".to_owned(),
        RegistrationOutcome::Unchanged => "unchanged".to_owned(),
    };
    if registered.outcome != RegistrationOutcome::Unchanged {
        errln!("{file}: {id} {done}");
    }
    if version.retired_at.is_some() {
        errln!("{file}: {id} is retired: `apply` restores it");
    } else if !version.is_active {
        let verb = if running == "chains" { "plans" } else { "definitions" };
        errln!("{file}: {id} is not active: `{verb} activate {id}` changes that");
    }
    Ok(())
}

/// Registers files again when they change, until the stop. They were registered as seen
/// first, except for duplicates.
pub async fn follow(
    paths: Vec<PathBuf>,
    registries: Registries,
    (mut seen, mut duplicates): (Snapshot, BTreeSet<PathBuf>),
    mut stopped: StopSignal,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = &mut stopped => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        let mut now = snapshot(&paths);
        if now == seen {
            continue;
        }
        let (of, before, after) = (paths.clone(), seen, now.clone());
        // the check of a plan may take seconds
        let read = tokio::task::spawn_blocking(move || changed(&of, &before, &after, &duplicates));
        let files = read.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        duplicates = files.duplicates.clone();
        for mistake in &files.mistakes {
            errln!("{}\n  The last valid contents stay in use.", plain::visible(mistake));
        }
        for (path, file) in files.into_contents() {
            if let Err(error) = register(&registries, &path, file).await {
                errln!("{}: {error}: trying again", path.display());
                now.remove(&path); // it counts as changed at the next poll
            }
        }
        seen = now;
    }
}

/// Reads the files that have changed between two snapshots. A duplicate of another file is read
/// again with the next change, which may be the removal of the other one.
fn changed(
    paths: &[PathBuf],
    seen: &Snapshot,
    now: &Snapshot,
    duplicates: &BTreeSet<PathBuf>,
) -> SagaFiles {
    SagaFiles::load_only(paths, |path| {
        let facts = now.get(path).copied().flatten();
        let is_known = seen.get(path).copied().flatten() == facts;
        facts.is_some() && (!is_known || duplicates.contains(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_does_not_replace_the_version_of_another_file() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = |name: &str| folder.path().join(name);
        let write = |name: &str, version: u32, participant: &str| {
            let text = format!(
                "name: trip\nversion: {version}\ninput: [tripId]\nsteps:\n  \
                 - name: reserve-seat\n    kind: pivot\n    \
                 action: {{ participant: {participant}, message: seats.reserve, \
                 fields: {{ tripId: input.tripId }} }}\n"
            );
            std::fs::write(file(name), text).expect("written");
        };
        let paths = [folder.path().to_owned()];
        write("b.yaml", 1, "seats");
        let first = snapshot(&paths);
        // `a.yaml` precedes the file that is registered
        write("a.yaml", 1, "the-other-seats");
        let second = snapshot(&paths);
        let found = changed(&paths, &first, &second, &BTreeSet::new());
        assert!(found.definitions.is_empty(), "it would replace trip@1 of b.yaml");
        assert!(found.mistakes[0].contains("'trip' version 1 is also in "), "{:?}", found.mistakes);
        assert!(found.duplicates.contains(&file("a.yaml")));
        // the next change is that of the other file
        write("b.yaml", 22, "seats");
        let third = snapshot(&paths);
        let found = changed(&paths, &second, &third, &found.duplicates);
        let versions: Vec<u32> = found.definitions.iter().map(|(_, found)| found.version).collect();
        assert_eq!((versions, found.mistakes), (vec![1, 22], Vec::new()));
    }
}
