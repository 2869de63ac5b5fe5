//! `init`: writes a definition, its test, and a participant in Python and in Node.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::output::Exit;

/// The files, by their path in the directory.
const FILES: [(&str, &str); 5] = [
    ("sagas/trip.yaml", include_str!("../init/trip.yaml")),
    ("sagas/trip.test.yaml", include_str!("../init/trip.test.yaml")),
    ("participants/cards.py", include_str!("../init/cards.py")),
    ("participants/cards.mjs", include_str!("../init/cards.mjs")),
    ("README.md", include_str!("../init/README.md")),
];

/// The arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory for the files, created if it does not exist [default: the current one]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Writes the files, or nothing if one of them exists.
pub fn run(program: &str, InitArgs { directory }: InitArgs) -> Result<Exit> {
    let directory = directory.unwrap_or_default();
    let existing: Vec<PathBuf> =
        FILES.iter().map(|(path, _)| directory.join(path)).filter(|path| exists(path)).collect();
    if !existing.is_empty() {
        for path in existing {
            errln!("{} exists", path.display());
        }
        errln!("Nothing was written. Choose another directory: {program} init DIR");
        return Ok(Exit::Error);
    }
    for (path, text) in FILES {
        let path = directory.join(path);
        create(&path, &of_program(text, program))
            .with_context(|| format!("write {}", path.display()))?;
        outln!("  {}", path.display());
    }
    outln!("\nNext steps:");
    if !directory.as_os_str().is_empty() {
        outln!("  cd {}", directory.display());
    }
    outln!("  {program} test sagas");
    outln!("  {program} dev");
    outln!("README.md lists the next commands.");
    Ok(Exit::Completed)
}

/// Whether the path exists. A broken link exists as well.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Writes a new file, never over an existing one.
fn create(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// Names the program in commands.
fn of_program(text: &str, program: &str) -> String {
    text.replace("sagamore ", &format!("{program} "))
}
