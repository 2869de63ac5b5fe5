//! Saga files: YAML with the plan of a choreography or an orchestrated definition. This module
//! parses them; core checks their content.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sagamore_core::Plan;
use sagamore_core::definition::Draft;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Maximum size of a saga file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// The parsed content of a saga file, not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub enum SagaFile {
    /// The plan of a choreography.
    Plan(Plan),
    /// A definition, whose shape has not been checked.
    Definition(Draft),
}

/// A saga file cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Error {
    /// The file does not exist or cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The file is larger than 1 MiB.
    #[error("{} has more than {BYTES_MAX} bytes: name a plan or definition file", path.display())]
    TooLarge { path: PathBuf },
    /// The content is not a valid plan or definition.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Malformed { path: PathBuf, line: u64, column: u64, why: String },
}

/// A parse error with its position: line and column from 1.
#[derive(Debug, PartialEq)]
struct Fault {
    line: u64,
    column: u64,
    why: String,
}

/// The distinguishing keys of the two kinds of file. No key belongs to both.
#[derive(Deserialize)]
struct Keys {
    begins: Option<IgnoredAny>,
    reactions: Option<IgnoredAny>,
    input: Option<IgnoredAny>,
    steps: Option<IgnoredAny>,
}

/// Reads and parses a file.
pub fn read(path: &Path) -> Result<SagaFile, Error> {
    let path_buf = || path.to_owned();
    let unreadable = |source| Error::Unreadable { path: path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Error::TooLarge { path: path_buf() });
    }
    text(&bytes).and_then(parse).map_err(|Fault { line, column, why }| Error::Malformed {
        path: path_buf(),
        line,
        column,
        why,
    })
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let last = before.rsplit('\n').next().unwrap_or_default();
        let (line, column) = (before.matches('\n').count() + 1, last.chars().count() + 1);
        Fault {
            line: line as u64,
            column: column as u64,
            why: "not valid UTF-8: save the file as UTF-8".to_owned(),
        }
    })
}

fn parse(text: &str) -> Result<SagaFile, Fault> {
    let keys: Keys = yaml(text)?;
    match (keys.begins.or(keys.reactions).is_some(), keys.input.or(keys.steps).is_some()) {
        (true, false) => yaml(text).map(SagaFile::Plan),
        (false, true) => yaml(text).map(SagaFile::Definition),
        (true, true) => Err(Fault::of_all(
            "the file has keys of a plan (begins, reactions) and of a definition (input, steps): \
             remove one set",
        )),
        (false, false) => Err(Fault::of_all(
            "the file is neither a plan nor a definition: write name, version, begins and \
             reactions for the plan of a choreography, or name, version, input and steps for a \
             definition",
        )),
    }
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    // Only `true` and `false` are booleans, and duplicate keys are errors.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // the message quotes the file, which may contain control characters
        let why = why(error.without_snippet()).replace(char::is_control, " ");
        Fault { line, column, why }
    })
}

/// Rewords an error of the parser for the author of the file.
fn why(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key '{field}': use one of {}", expected.join(", "))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value '{variant}': use one of {}", expected.join(", "))
        }
        Yaml::SerdeMissingField { field, .. } => {
            format!("the key '{field}' is missing here: add it")
        }
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            format!("duplicate key '{key}': remove one")
        }
        Yaml::Unexpected { expected: "sequence start", .. } => {
            "expected a list: write [ONE, ANOTHER]".into()
        }
        Yaml::Unexpected { expected: "mapping start", .. } => {
            "expected keys and values: write KEY: VALUE".into()
        }
        Yaml::Unexpected { expected: "string scalar", .. } => {
            "expected a single text: write it without [ ] or { }".into()
        }
        Yaml::InvalidScalar { ty: "u16" | "u32" | "u64", .. } => {
            "expected a whole number of at least 0: write 1".into()
        }
        Yaml::InvalidBooleanStrict { .. } => "expected a boolean: write true or false".into(),
        Yaml::NullIntoString { .. } => "the value is missing: write a text".into(),
        Yaml::MultipleDocuments { .. } => {
            "second YAML document: write one plan or definition per file".into()
        }
        // core's own message about a name or a reference
        Yaml::Message { msg, .. } => msg.clone(),
        Yaml::ExternalMessage { msg, .. } => {
            format!(
                "not valid YAML ({msg}): check indentation, brackets and quotes up to this position"
            )
        }
        Yaml::AliasError { error, .. } => why(error),
        Yaml::Budget { .. } => {
            "nested too deeply, or too many aliases: write the values out".into()
        }
        // the parser appends the position, which this message has already
        other => {
            let text = other.to_string();
            let cause = text.split_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
            format!("unsupported YAML ({cause}): write it more simply")
        }
    }
}

impl Fault {
    fn of_all(why: &str) -> Fault {
        Fault { line: 1, column: 1, why: why.to_owned() }
    }
}

/// The files in `docs`, for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use sagamore_core::Definition;

    use super::{Plan, SagaFile, parse};

    pub const PLAN: &str = include_str!("../../../docs/plans/fulfilment.yaml");
    pub const DEFINITION: &str = include_str!("../../../docs/plans/checkout.yaml");

    /// The plan in `docs/plans/fulfilment.yaml`.
    pub fn fulfilment() -> Plan {
        let Ok(SagaFile::Plan(plan)) = parse(PLAN) else { panic!("{:?}", parse(PLAN)) };
        plan
    }

    /// The definition in `docs/plans/checkout.yaml`.
    pub fn checkout() -> Definition {
        let Ok(SagaFile::Definition(draft)) = parse(DEFINITION) else {
            panic!("{:?}", parse(DEFINITION))
        };
        Definition::check(draft).expect("a definition")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{DEFINITION, PLAN};
    use super::*;

    #[track_caller]
    fn check(text: &str, from: &str, to: &str, expected: &str) {
        assert!(text.contains(from), "the file does not contain {from}");
        let Fault { line, column, why } = parse(&text.replacen(from, to, 1)).expect_err(to);
        assert_eq!(format!("{line}:{column}: {why}"), expected);
    }

    #[test]
    fn an_invalid_plan_is_reported_with_its_position_and_the_fix() {
        let plan = |from, to, expected| check(PLAN, from, to, expected);
        plan(
            "    fails:",
            "    failz:",
            "22:5: unknown key 'failz': use one of name, service, on, emits, fails, undo, \
             neverAfter, pivot",
        );
        plan("pivot: true", "pivot: yes", "39:12: expected a boolean: write true or false");
        plan("version: 1", "version: one", "5:10: expected a whole number of at least 0: write 1");
        plan("version: 1", "version: -1", "5:10: expected a whole number of at least 0: write 1");
        plan("    service: payment\n", "", "22:5: the key 'service' is missing here: add it");
        plan(
            "on: [order.created]",
            "on: order.created",
            "20:9: expected a list: write [ONE, ANOTHER]",
        );
        plan("begins:", "begins: []\nends:", "9:9: expected keys and values: write KEY: VALUE");
        plan(
            "event: order.created",
            "event: Order.Created",
            "12:10: 'Order.Created' is not a name: use a-z, 0-9, '-' and '.', a letter first, at \
             most 100 bytes",
        );
        plan("event: order.created", "event:", "12:8: the value is missing: write a text");
        plan(
            "name: create\n",
            "name: create\n  name: a\n",
            "11:3: duplicate key 'name': remove one",
        );
    }

    #[test]
    fn invalid_yaml_is_reported_with_its_position() {
        let error = |what: &str| {
            format!("{what}): check indentation, brackets and quotes up to this position")
        };
        let open = error("21:10: not valid YAML (illegal placement of ':' indicator");
        check(PLAN, "on: [order.created]", "on: [order.created", &open);
        let tab = error("19:14: not valid YAML (while scanning a plain scalar, found a tab");
        check(PLAN, "on: [order.created]", "\ton: [order.created]", &tab);
        let escape = error("6:1: not valid YAML (unexpected character: `\\u{1b}'");
        check(PLAN, "deadlineMs", "\u{1b}[31m", &escape);
        let twice = "10:1: second YAML document: write one plan or definition per file";
        check(PLAN, "begins:", "---\nbegins:", twice);
        let Fault { line, column, .. } = text(b"name: a\nversion: \xff").expect_err("no UTF-8");
        assert_eq!((line, column), (2, 10));
    }

    #[test]
    fn an_invalid_definition_is_reported_with_its_position_and_the_fix() {
        let definition = |from, to, expected| check(DEFINITION, from, to, expected);
        definition(
            "kind: pivot",
            "kind: pivotal",
            "46:11: unknown value 'pivotal': use one of compensatable, pivot, retriable",
        );
        definition(
            "input.orderId",
            "input",
            "16:18: 'input' is not a reference: write input.FIELD or STEP.FIELD",
        );
        definition(
            "input.orderId",
            "[input.orderId]",
            "16:18: expected a single text: write it without [ ] or { }",
        );
        definition(
            "name: create-order",
            "patience: { timeoutMs: 1.5 }\n    name: create-order",
            "10:28: expected a whole number of at least 0: write 1",
        );
    }

    #[test]
    fn a_file_with_keys_of_neither_kind_or_of_both_is_rejected() {
        let error = |text: &str| parse(text).expect_err(text).why;
        for text in ["", "# nothing", "name: lonely"] {
            assert!(
                error(text)
                    .starts_with("the file is neither a plan nor a definition: write name, "),
                "{text}"
            );
        }
        for text in ["[1, 2]", "just words"] {
            assert_eq!(error(text), "expected keys and values: write KEY: VALUE");
        }
        let both = PLAN.replace("reactions:", "steps: []\nreactions:");
        assert!(
            error(&both)
                .starts_with("the file has keys of a plan (begins, reactions) and of a definition")
        );
        let deep = format!("a: {}", "{a: ".repeat(1_000));
        assert!(error(&deep).starts_with("nested too deeply"), "{}", error(&deep));
        assert!(error("a: &x [*x]").starts_with("unsupported YAML ("), "{}", error("a: &x [*x]"));
    }
}
