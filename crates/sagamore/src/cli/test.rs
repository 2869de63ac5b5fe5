//! `test`: plays the cases of test files against their definitions.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use owo_colors::{OwoColorize, Style};
use sagamore_core::Definition;
use sagamore_core::saga::Status;
use sagamore_inspect::SagaFile;
use sagamore_inspect::files;
use sagamore_inspect::test_file::{self, Failure, FailureCause, TestFile};
use serde::Serialize;

use super::args::{Format, FormatArgs};
use crate::output::{self, Exit};

/// The arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Test files, and folders with files named *.test.yaml
    #[arg(default_value = "sagas", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The results of all files.
#[derive(Default, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    /// Files without any case that ran.
    unreadable: usize,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    /// The reason that no case ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    cases: Vec<CaseReport>,
}

#[derive(Serialize)]
struct CaseReport {
    name: String,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureReport>,
}

/// The line of the case whose expectation failed.
#[derive(Serialize)]
struct FailureReport {
    line: u64,
    column: u64,
    error: String,
    /// The saga at that line; absent when it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<SagaReport>,
}

#[derive(Serialize)]
struct SagaReport {
    status: Status,
    outstanding: Vec<String>,
    journal: Vec<String>,
}

/// Plays every case of every file. Returns exit code 1 if a case or a file fails.
pub fn run(args: &TestArgs) -> Result<Exit> {
    let mut report = Report::default();
    for file in expanded(&args.files)? {
        let played = of_file(&file);
        let passed = played.cases.iter().filter(|case| case.passed).count();
        report.passed += passed;
        report.failed += played.cases.len() - passed;
        report.unreadable += usize::from(played.error.is_some());
        if args.format.output == Format::Table {
            print(&played);
        }
        report.files.push(played);
    }
    match args.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => outln!("{}", summary(&report)),
    }
    Ok(if report.failed + report.unreadable == 0 { Exit::Completed } else { Exit::Error })
}

/// Replaces each folder by its test files.
fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = test_file::in_folder(path)?;
        if found.is_empty() {
            bail!("{} has no test files: their names end with .test.yaml", path.display());
        }
        files.extend(found);
    }
    Ok(files)
}

fn of_file(path: &Path) -> FileReport {
    let file = path.display().to_string();
    match opened(path) {
        Err(error) => FileReport { file, error: Some(error), cases: Vec::new() },
        Ok((tests, definition)) => {
            let cases = tests.cases.iter().map(|case| CaseReport::of(case, &definition));
            FileReport { file, error: None, cases: cases.collect() }
        }
    }
}

/// Reads a test file and its definition.
fn opened(path: &Path) -> Result<(TestFile, Arc<Definition>), String> {
    let tests = test_file::read(path).map_err(|error| error.to_string())?;
    let named = |why: &dyn Display| {
        format!("{}:{}:{}: {why}", path.display(), tests.at.line, tests.at.column)
    };
    match files::read(&tests.definition) {
        Ok(SagaFile::Definition(definition)) => Ok((tests, definition.into())),
        Ok(SagaFile::Plan(_)) => {
            let file = tests.definition.display();
            Err(named(&format_args!("{file} is the plan of a choreography: name a definition")))
        }
        Err(error @ files::Error::Invalid { .. }) => Err(error.to_string().replace('\n', "\n    ")),
        Err(error) => Err(named(&error)),
    }
}

impl CaseReport {
    fn of(case: &test_file::Case, definition: &Arc<Definition>) -> CaseReport {
        let failure = test_file::play(case, definition).err().map(FailureReport::of);
        CaseReport { name: case.name.clone(), passed: failure.is_none(), failure }
    }
}

impl FailureReport {
    fn of(Failure { at, cause }: Failure) -> FailureReport {
        let (error, saga) = match cause {
            FailureCause::Key(error) => (error.to_string(), None),
            FailureCause::Start(error) => (error.to_string(), None),
            FailureCause::Mismatch(mismatch) => (
                format!("expected {}", mismatch.expected),
                Some(SagaReport {
                    status: mismatch.status,
                    outstanding: mismatch.outstanding,
                    journal: mismatch.journal,
                }),
            ),
        };
        FailureReport { line: at.line, column: at.column, error, saga }
    }
}

fn print(FileReport { file, error, cases }: &FileReport) {
    outln!("{file}");
    if let Some(error) = error {
        outln!("  {} {error}", "✗".style(Style::new().red()));
    }
    for CaseReport { name, failure, .. } in cases {
        match failure {
            None => outln!("  {} {name}", "✓".style(Style::new().green())),
            Some(failure) => {
                outln!("  {} {name}", "✗".style(Style::new().red()));
                print_failure(file, failure);
            }
        }
    }
}

fn print_failure(file: &str, FailureReport { line, column, error, saga }: &FailureReport) {
    outln!("    {file}:{line}:{column}: {error}");
    let Some(SagaReport { status, outstanding, journal }) = saga else { return };
    outln!("    the saga is {}, and sends:", status.as_str());
    if outstanding.is_empty() {
        outln!("      nothing");
    }
    outstanding.iter().for_each(|command| outln!("      {command}"));
    outln!("    its journal:");
    journal.iter().for_each(|change| outln!("      {change}"));
}

fn summary(Report { passed, failed, unreadable, .. }: &Report) -> String {
    let files = match unreadable {
        0 => String::new(),
        1 => ", 1 file not run".to_owned(),
        many => format!(", {many} files not run"),
    };
    format!("{passed} passed, {failed} failed{files}")
}
