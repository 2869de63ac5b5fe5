//! The saga files of `dev`: registered at its start, and again when they change.

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

/// Registers files again when they change, until the stop.
pub async fn follow(
    paths: Vec<PathBuf>,
    registries: Registries,
    mut seen: Snapshot,
    mut stopped: StopSignal,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = &mut stopped => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
        let mut now = snapshot(&paths);
        let changed: Vec<PathBuf> = now
            .iter()
            .filter(|(path, facts)| facts.is_some() && seen.get(*path) != Some(*facts))
            .map(|(path, _)| path.clone())
            .collect();
        for path in changed {
            let files = SagaFiles::load(std::slice::from_ref(&path));
            for mistake in &files.mistakes {
                errln!("{}\n  The last valid contents stay in use.", plain::visible(mistake));
            }
            for (path, file) in files.into_contents() {
                if let Err(error) = register(&registries, &path, file).await {
                    errln!("{}: {error}: trying again", path.display());
                    now.remove(&path); // it counts as changed at the next poll
                }
            }
        }
        seen = now;
    }
}
