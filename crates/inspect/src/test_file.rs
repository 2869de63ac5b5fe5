//! Test files: scripts for one definition, as YAML. This module parses them and checks their shape;
//! `play` runs a case.

mod case;
mod play;
mod written;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{self, Error};

pub use case::{Case, Line, Place, TestFile};
pub use play::{Failure, FailureCause, play};

/// The end of a test file's name.
const SUFFIXES: [&str; 2] = [".test.yaml", ".test.yml"];

/// Returns whether a file is a test file, by its name.
pub fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
}

/// Returns the test files of a folder, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_test_file(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads and parses a test file.
///
/// # Errors
/// The file cannot be read, or its shape is invalid.
pub fn read(path: &Path) -> Result<TestFile, Error> {
    let invalid = |violations| Error::Invalid { path: path.to_owned(), violations };
    let bytes = files::bytes(path)?;
    let text = files::text(&bytes).map_err(invalid)?;
    let mut file = written::parse(text).map_err(|violation| invalid(vec![violation]))?;
    file.definition = path.parent().unwrap_or(Path::new("")).join(&file.definition);
    Ok(file)
}

#[cfg(test)]
mod tests;
