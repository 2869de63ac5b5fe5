//! Saga files of a process: the definitions and plans in files and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sagamore_core::{Definition, Name, Plan};
use sagamore_inspect::SagaFile;
use sagamore_inspect::files;

/// Maximum saga files of a process.
const FILES_MAX: usize = 1_000;
/// The endings of saga files in a folder.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];
/// The endings of test files, which `test` plays.
const TESTS: [&str; 2] = [".test.yaml", ".test.yml"];

/// The content of saga files.
#[derive(Debug, Default)]
pub struct SagaFiles {
    /// The definitions with their files.
    pub definitions: Vec<(PathBuf, Definition)>,
    /// The plans with their files.
    pub plans: Vec<(PathBuf, Plan)>,
    /// All mistakes, each with its file, its place and its fix.
    pub mistakes: Vec<String>,
    /// The files with a name and version that another file has. Each has a mistake.
    pub duplicates: BTreeSet<PathBuf>,
}

/// The files of a process with the time of their last change, in seconds and nanoseconds of the
/// file system's clock, and their size. The values are compared only.
pub type Snapshot = BTreeMap<PathBuf, Option<(i64, i64, u64)>>;

impl SagaFiles {
    /// Reads files, and the saga files of folders. Subfolders are not read.
    pub fn load(paths: &[PathBuf]) -> SagaFiles {
        SagaFiles::load_only(paths, |_| true)
    }

    /// Reads files like [`SagaFiles::load`], and returns the contents and the mistakes of some. One
    /// that has the name and version of another file is a mistake.
    pub fn load_only(paths: &[PathBuf], is_included: impl Fn(&Path) -> bool) -> SagaFiles {
        let mut loaded = SagaFiles::default();
        let mut places: BTreeMap<(Name, u32), PathBuf> = BTreeMap::new();
        let mut files = match list(paths) {
            Ok(files) => files,
            Err(mistake) => return SagaFiles { mistakes: vec![mistake], ..loaded },
        };
        // the others have their names and versions already
        files.sort_by_key(|path| is_included(path));
        for path in files {
            let content = match files::read(&path) {
                Ok(content) => content,
                Err(error) => {
                    if is_included(&path) {
                        loaded.mistakes.push(error.to_string());
                    }
                    continue;
                }
            };
            let (name, version) = match &content {
                SagaFile::Definition(definition) => (&definition.name, definition.version),
                SagaFile::Plan(plan) => (&plan.name, plan.version),
            };
            let place = places.entry((name.clone(), version)).or_insert_with(|| path.clone());
            if !is_included(&path) {
                continue;
            }
            if *place != path {
                let other = place.display();
                loaded.mistakes.push(format!(
                    "{}: '{name}' version {version} is also in {other}: remove one",
                    path.display()
                ));
                loaded.duplicates.insert(path);
                continue;
            }
            match content {
                SagaFile::Definition(definition) => loaded.definitions.push((path, definition)),
                SagaFile::Plan(plan) => loaded.plans.push((path, plan)),
            }
        }
        loaded
    }

    /// Returns the contents with their files, definitions first.
    pub fn into_contents(self) -> impl Iterator<Item = (PathBuf, SagaFile)> {
        let definitions = self.definitions.into_iter();
        let definitions = definitions.map(|(path, one)| (path, SagaFile::Definition(one)));
        definitions.chain(self.plans.into_iter().map(|(path, one)| (path, SagaFile::Plan(one))))
    }

    /// Returns all mistakes as one text; `None` without any.
    pub fn all_mistakes(&self) -> Option<String> {
        (!self.mistakes.is_empty()).then(|| self.mistakes.join("\n"))
    }
}

/// Returns the files as they are now. A missing one has no time.
pub fn snapshot(paths: &[PathBuf]) -> Snapshot {
    let changed = |path: &Path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.mtime(), facts.mtime_nsec(), facts.len()))
    };
    let files = list(paths).unwrap_or_default();
    files.into_iter().map(|path| (path.clone(), changed(&path))).collect()
}

/// Returns the files, and the saga files of the folders, by name.
fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let mut of_folder = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if is_saga_file(&file) {
                of_folder.push(file);
            }
        }
        of_folder.sort();
        files.extend(of_folder);
    }
    let (found, first) = (files.len(), paths.first().map(|path| path.display().to_string()));
    if found > FILES_MAX {
        let first = first.unwrap_or_default();
        return Err(format!("{first}: {found} saga files, more than the limit of {FILES_MAX}"));
    }
    Ok(files)
}

fn is_saga_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    path.is_file() && !name.starts_with('.') && ends(&ENDINGS) && !ends(&TESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: &str = "
name: trip
version: 1
input: [tripId]
steps:
  - name: reserve-seat
    kind: pivot
    action: { participant: seats, message: seats.reserve, fields: { tripId: input.tripId } }
";

    #[test]
    fn a_folder_is_read_without_tests_and_every_mistake_is_reported() {
        let folder = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        write("trip.yaml", TRIP);
        write("trip.test.yaml", "definition: trip.yaml");
        write("notes.txt", "no saga");
        write("bad.yaml", "name: [");
        write("copy.yml", TRIP);
        let loaded = SagaFiles::load(&[folder.path().to_owned()]);
        assert_eq!(loaded.definitions.len(), 1);
        assert_eq!(loaded.mistakes.len(), 2, "{:?}", loaded.mistakes);
        assert!(loaded.mistakes[0].contains("bad.yaml:1:"), "{}", loaded.mistakes[0]);
        let twice = &loaded.mistakes[1];
        assert!(twice.contains("'trip' version 1 is also in "), "{twice}");
        assert_eq!(loaded.duplicates, BTreeSet::from([folder.path().join("trip.yaml")]));
        let missing = SagaFiles::load(&[folder.path().join("none.yaml")]);
        assert!(missing.mistakes[0].contains("none.yaml"), "{:?}", missing.mistakes);
    }
}
