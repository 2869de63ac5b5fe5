//! The saga files of `dev`: registered at its start, and again when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use sagamore_core::Definition;
use sagamore_engine::{Handle, RegistrationError, RegistrationMode, RegistrationOutcome};

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

/// Prints all mistakes, and registers the definitions of the other files.
pub async fn register_all(handle: &Handle, files: SagaFiles) -> anyhow::Result<()> {
    for mistake in files.mistakes {
        errln!("{}", plain::visible(&mistake));
    }
    for (path, definition) in files.definitions {
        register(handle, &path, definition).await?;
    }
    Ok(())
}

/// Registers the definition of a file, which replaces its version in place, and prints what
/// changed.
///
/// # Errors
/// A fault of the engine. Other errors are printed, and the last good contents stay.
pub async fn register(
    handle: &Handle,
    path: &Path,
    definition: Definition,
) -> Result<(), RegistrationError> {
    let registered = handle.register(vec![definition], RegistrationMode::Replace).await;
    let registered = match registered {
        Err(error @ RegistrationError::Fault(_)) => return Err(error),
        Err(error) => {
            errln!("{}: {error}", path.display());
            return Ok(());
        }
        Ok(mut registered) => registered.remove(0), // one for each definition
    };
    let version = &registered.version;
    let (file, id) = (path.display(), format!("{}@{}", version.name, version.version));
    let done = match registered.outcome {
        RegistrationOutcome::Registered => "registered",
        RegistrationOutcome::Replaced => "replaced (running sagas keep the former contents)",
        RegistrationOutcome::Restored => "restored",
        RegistrationOutcome::Unchanged => "unchanged",
    };
    if registered.outcome != RegistrationOutcome::Unchanged {
        errln!("{file}: {id} {done}");
    }
    if version.retired_at.is_some() {
        errln!("{file}: {id} is retired: `apply` restores it");
    } else if !version.is_active {
        errln!("{file}: {id} is not active: `definitions activate {id}` changes that");
    }
    Ok(())
}

/// Registers files again when they change, until the stop.
pub async fn follow(
    paths: Vec<PathBuf>,
    handle: Handle,
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
            let SagaFiles { definitions, plans, mistakes } =
                SagaFiles::load(std::slice::from_ref(&path));
            for mistake in mistakes {
                errln!("{}\n  The last valid contents stay in use.", plain::visible(&mistake));
            }
            for (path, plan) in plans {
                errln!("{}: restart to load the changed plan '{}'", path.display(), plan.name);
            }
            for (path, definition) in definitions {
                if let Err(error) = register(&handle, &path, definition).await {
                    errln!("{}: {error}: trying again", path.display());
                    now.remove(&path); // it counts as changed at the next poll
                }
            }
        }
        seen = now;
    }
}
