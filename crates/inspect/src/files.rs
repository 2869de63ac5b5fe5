//! Saga files: YAML or JSON with the plan of a choreography or an orchestrated definition. This
//! module parses them; core checks their content.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sagamore_core::definition::{Definition, Draft, SchemaPlace};
use sagamore_core::{Name, Plan, plan};
use sagamore_schema::{CompiledSchema, InvalidSchema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::place;
use crate::pointer::Pointer;
use crate::shape::{self, DEFINITION, PLAN, Shape};
use crate::tree::Tree;
use crate::violation::{Finding, Violation};

/// Maximum size of a saga file, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;

/// The content of a saga file, which core has checked.
#[derive(Clone, Debug, PartialEq)]
pub enum SagaFile {
    /// The plan of a choreography.
    Plan(Plan),
    /// The definition of an orchestrated saga.
    Definition(Definition),
}

/// The content of a saga file with a valid shape, whose meaning has not been checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The plan of a choreography.
    Plan(Plan),
    /// The definition of an orchestrated saga.
    Definition(Draft),
}

/// A saga file with a valid shape, with the position of each value.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    /// The content as written.
    pub content: Content,
    pub(crate) tree: Tree<'a>,
}

/// A saga file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Error {
    /// The file does not exist or cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The file is larger than 1 MiB.
    #[error(
        "{} has more than {BYTES_MAX} bytes: name a plan, definition or test file", path.display()
    )]
    TooLarge { path: PathBuf },
    /// The content is not a valid plan or definition.
    #[error("{}", Lines(path, violations))]
    Invalid { path: PathBuf, violations: Vec<Violation> },
}

/// Violations, a line each with the path: `trip.yaml:14:5: ..`.
struct Lines<'a>(&'a Path, &'a [Violation]);

/// Reads, parses and checks a file.
///
/// # Errors
/// Names the file, and every violation with its place.
pub fn read(path: &Path) -> Result<SagaFile, Error> {
    let bytes = bytes(path)?;
    let invalid = |violations| Error::Invalid { path: path.to_owned(), violations };
    text(&bytes).and_then(check_text).map_err(invalid)
}

/// Reads a file of at most 1 MiB.
///
/// # Errors
/// Names the file that is unreadable or too large.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Returns the text of a file.
///
/// # Errors
/// Returns the place of the first byte that is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Vec<Violation>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let last = before.rsplit('\n').next().unwrap_or_default();
        let (line, column) = (before.matches('\n').count() + 1, last.chars().count() + 1);
        let finding = Finding::new(Pointer::root(), "not valid UTF-8: save the file as UTF-8");
        vec![Violation::new(finding, (line as u64, column as u64))]
    })
}

/// Parses and checks the text of a saga file, YAML or JSON.
///
/// # Errors
/// Returns all violations, each with its place. Errors of syntax hide those of shape, and those of
/// shape hide those of meaning.
pub fn check_text(text: &str) -> Result<SagaFile, Vec<Violation>> {
    Parsed::parse(text)?.check()
}

/// Parses and checks a JSON body like [`check_text`]. YAML is rejected.
pub fn check_json(text: &str) -> Result<SagaFile, Vec<Violation>> {
    Parsed::of_json(text)?.check()
}

/// Returns the YAML of a stored plan or definition, which is a valid saga file.
///
/// # Errors
/// The text is not JSON.
pub fn yaml(stored: &str) -> Result<String, serde_json::Error> {
    // the order of the type's fields; one that only a newer program reads is sorted by key
    let written = match Parsed::of_json(stored) {
        Ok(Parsed { content: Content::Plan(plan), .. }) => serde_saphyr::to_string(&plan),
        Ok(Parsed { content: Content::Definition(draft), .. }) => serde_saphyr::to_string(&draft),
        Err(_) => serde_saphyr::to_string(&serde_json::from_str::<Value>(stored)?),
    };
    Ok(written.expect("plain data is YAML"))
}

/// Returns the violations at these JSON pointers with their places in the text of a saga file.
/// Empty if the text is neither YAML nor JSON.
pub fn violations_at(text: &str, of: impl IntoIterator<Item = (String, String)>) -> Vec<Violation> {
    let finding = |(pointer, detail)| Finding::new(Pointer::parsed(pointer), detail);
    let findings = of.into_iter().map(finding).collect();
    Tree::parse(text).map_or_else(|_| Vec::new(), |tree| tree.violations(findings))
}

/// Returns the JSON pointer of a schema in a definition.
pub fn schema_pointer(place: &SchemaPlace) -> String {
    place::definition::schema(place).to_string()
}

impl<'a> Parsed<'a> {
    /// Parses the text of a saga file, YAML or JSON.
    ///
    /// # Errors
    /// Returns all violations of the shape: missing and unknown keys, and values of other types.
    pub fn parse(text: &'a str) -> Result<Parsed<'a>, Vec<Violation>> {
        Parsed::of(Tree::parse(text)?)
    }

    fn of_json(text: &'a str) -> Result<Parsed<'a>, Vec<Violation>> {
        Parsed::of(Tree::json(text)?)
    }

    fn of(tree: Tree<'a>) -> Result<Parsed<'a>, Vec<Violation>> {
        match content(&tree) {
            Ok(content) => Ok(Parsed { content, tree }),
            Err(findings) => Err(tree.violations(findings)),
        }
    }

    /// Returns the name of the plan or definition.
    pub fn name(&self) -> &Name {
        match &self.content {
            Content::Plan(plan) => &plan.name,
            Content::Definition(draft) => &draft.name,
        }
    }

    /// Checks the content's meaning.
    ///
    /// # Errors
    /// Returns all violations, each with its place.
    pub fn check(self) -> Result<SagaFile, Vec<Violation>> {
        let findings = match self.content {
            Content::Plan(plan) => match plan::check(&plan) {
                problems if problems.is_empty() => match of_event_schemas(&plan) {
                    findings if findings.is_empty() => return Ok(SagaFile::Plan(plan)),
                    findings => findings,
                },
                problems => {
                    problems.iter().map(|problem| Finding::of_plan(problem, &plan)).collect()
                }
            },
            Content::Definition(draft) => match Definition::check(draft.clone()) {
                Ok(definition) => match sagamore_schema::attach(definition) {
                    Ok(definition) => return Ok(SagaFile::Definition(definition)),
                    Err(errors) => of_schemas(&errors),
                },
                Err(error) => of_definition(&error, &draft),
            },
        };
        Err(self.tree.violations(findings))
    }
}

/// Returns the content of a file by the keys that only plans or only definitions have.
fn content(tree: &Tree) -> Result<Content, Vec<Finding>> {
    if !matches!(tree.root.content, crate::tree::Content::Map(_) | crate::tree::Content::Null) {
        return shape::read(tree, &DEFINITION).map(|_| unreachable!("a definition is an object"));
    }
    let has = |key: &str| tree.root.get(key).is_some();
    let of_file = |why: &str| Err(vec![Finding::new(Pointer::root(), why)]);
    match (has("begins") || has("reactions"), has("input") || has("steps")) {
        (true, false) => typed(tree, &PLAN).map(Content::Plan),
        (false, true) => typed(tree, &DEFINITION).map(Content::Definition),
        (true, true) => of_file(
            "the file has keys of a plan (begins, reactions) and of a definition (input, steps): \
             remove one set",
        ),
        (false, false) => of_file(
            "the file is neither a plan nor a definition: write name, version, begins and \
             reactions for the plan of a choreography, or name, version, input and steps for a \
             definition",
        ),
    }
}

/// Reads a file by its shape. Then core accepts it, unless core has a rule of shape of its own.
fn typed<T: DeserializeOwned>(tree: &Tree, shape: &Shape) -> Result<T, Vec<Finding>> {
    let value: Value = shape::read(tree, shape)?;
    serde_json::from_value(value).map_err(|error| vec![Finding::new(Pointer::root(), error)])
}

/// Returns the problems of a draft with their places.
pub(crate) fn of_definition(
    error: &sagamore_core::definition::Error,
    draft: &Draft,
) -> Vec<Finding> {
    let finding = |problem| Finding::new(place::definition::of(problem, draft), problem);
    error.problems.iter().map(finding).collect()
}

/// Returns the schemas that cannot be compiled, with their places.
pub(crate) fn of_schemas(errors: &[InvalidSchema]) -> Vec<Finding> {
    let finding =
        |error: &InvalidSchema| Finding::new(place::definition::schema(&error.place), error);
    errors.iter().map(finding).collect()
}

/// Returns the schemas of events that cannot be compiled, with their places.
pub(crate) fn of_event_schemas(plan: &Plan) -> Vec<Finding> {
    let invalid = |(event, schema): (&Name, &Value)| {
        let why = CompiledSchema::new(schema).err()?;
        let place = format!("schemas.events.{event}");
        let detail = format!("{place} is not a valid JSON Schema: {why}");
        Some(Finding::new(place::plan::schema(event), detail))
    };
    plan.schemas.events.iter().filter_map(invalid).collect()
}

impl Finding {
    /// Returns a problem of a plan, whose run is not part of the detail.
    pub(crate) fn of_plan(problem: &plan::Problem, plan: &Plan) -> Finding {
        let text = problem.to_string();
        let mut finding = Finding::new(place::plan::of(problem, plan), &text);
        if let Some(run) = problem.run() {
            if let Some(brief) = text.strip_suffix(&format!(" ({run})")) {
                finding.detail = brief.to_owned();
            }
            finding.run.clone_from(&run.0);
        }
        finding
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lines(path, violations) = self;
        for (index, violation) in violations.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            write!(f, "{line}{}:{violation}", path.display())?;
        }
        Ok(())
    }
}

/// The files in `docs`, for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use sagamore_core::Definition;

    use super::{Plan, SagaFile, check_text};

    pub const PLAN: &str = include_str!("../../../docs/plans/fulfilment.yaml");
    pub const DEFINITION: &str = include_str!("../../../docs/plans/checkout.yaml");

    /// The plan in `docs/plans/fulfilment.yaml`.
    pub fn fulfilment() -> Plan {
        let Ok(SagaFile::Plan(plan)) = check_text(PLAN) else { panic!("{:?}", check_text(PLAN)) };
        plan
    }

    /// The definition in `docs/plans/checkout.yaml`.
    pub fn checkout() -> Definition {
        let Ok(SagaFile::Definition(definition)) = check_text(DEFINITION) else {
            panic!("{:?}", check_text(DEFINITION))
        };
        definition
    }
}

#[cfg(test)]
mod tests;
