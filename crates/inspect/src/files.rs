//! Files in which a saga is written by hand: YAML that holds a choreography's plan or an orchestrated definition, each
//! in the form in which core reads and writes it. What is in a file is read here, and checked by core.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sagamore_core::Plan;
use sagamore_core::definition::Draft;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// No file of this kind is larger, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What a file holds, not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Services that react to each other's events.
    Plan(Plan),
    /// Steps that an orchestrator asks for.
    Definition(Draft),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Error {
    /// There is no such file, or it is not ours to read.
    #[error("read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Larger than what people write.
    #[error("{} has more than {BYTES_MAX} bytes: a saga's file is written by hand, so name another", path.display())]
    TooLarge { path: PathBuf },
    /// Not what it should be, at a place in it.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Malformed { path: PathBuf, line: u64, column: u64, why: String },
}

/// What is wrong with a text, and where: line and column from 1.
#[derive(Debug, PartialEq)]
struct Fault {
    line: u64,
    column: u64,
    why: String,
}

/// The keys by which the two kinds of file are told apart; none is of both.
#[derive(Deserialize)]
struct Keys {
    begins: Option<IgnoredAny>,
    reactions: Option<IgnoredAny>,
    input: Option<IgnoredAny>,
    steps: Option<IgnoredAny>,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Written, Error> {
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
            why: "this is no UTF-8: save the file as such".to_owned(),
        }
    })
}

fn parse(text: &str) -> Result<Written, Fault> {
    let keys: Keys = yaml(text)?;
    match (keys.begins.or(keys.reactions).is_some(), keys.input.or(keys.steps).is_some()) {
        (true, false) => yaml(text).map(Written::Plan),
        (false, true) => yaml(text).map(Written::Definition),
        (true, true) => Err(Fault::of_all(
            "this has keys of a plan (begins, reactions) and of a definition (input, steps): keep those of one",
        )),
        (false, false) => Err(Fault::of_all(
            "this is neither a plan nor a definition: write name, version, begins and reactions for the plan of a \
             choreography, or name, version, input and steps for a definition",
        )),
    }
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    // Only true and false are booleans, and a key that is there twice is a mistake.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // The file is quoted in it, and may hold what a terminal obeys.
        let why = why(error.without_snippet()).replace(char::is_control, " ");
        Fault { line, column, why }
    })
}

/// In words for who writes the file, not for who writes the program.
fn why(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            format!("there is no key '{field}' here: write one of {}", expected.join(", "))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            format!("'{variant}' is not known here: write one of {}", expected.join(", "))
        }
        Yaml::SerdeMissingField { field, .. } => {
            format!("the key '{field}' is missing beside this one: add it")
        }
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key '{key}' is there twice: remove one")
        }
        Yaml::Unexpected { expected: "sequence start", .. } => {
            "a list belongs here: write [ONE, ANOTHER]".into()
        }
        Yaml::Unexpected { expected: "mapping start", .. } => {
            "keys and values belong here: write KEY: VALUE".into()
        }
        Yaml::Unexpected { expected: "string scalar", .. } => {
            "one text belongs here: write it without [ ] or { }".into()
        }
        Yaml::InvalidScalar { ty: "u32" | "u64", .. } => {
            "a whole number belongs here, not below zero: write 1".into()
        }
        Yaml::InvalidBooleanStrict { .. } => "a yes or no belongs here: write true or false".into(),
        Yaml::NullIntoString { .. } => "nothing stands here: write a text".into(),
        Yaml::MultipleDocuments { .. } => {
            "another document begins here: write one plan or definition in a file".into()
        }
        // What core says of names and references.
        Yaml::Message { msg, .. } => msg.clone(),
        Yaml::ExternalMessage { msg, .. } => {
            format!(
                "this is no YAML ({msg}): look at the indentation, the brackets and the quotes up to here"
            )
        }
        Yaml::AliasError { error, .. } => why(error),
        Yaml::Budget { .. } => {
            "this is nested too deeply, or refers to too much by aliases: write it out".into()
        }
        // The crate adds to its own words where that is, which is told already.
        other => {
            let text = other.to_string();
            let told = text.split_once(" at line ").map_or(text.as_str(), |(told, _)| told);
            format!("this cannot be read ({told}): write it more simply")
        }
    }
}

impl Fault {
    fn of_all(why: &str) -> Fault {
        Fault { line: 1, column: 1, why: why.to_owned() }
    }
}

/// The files in the docs, which the tests of this crate inspect.
#[cfg(test)]
pub(crate) mod testing {
    use sagamore_core::Definition;

    use super::{Plan, Written, parse};

    pub const PLAN: &str = include_str!("../../../docs/plans/fulfilment.yaml");
    pub const DEFINITION: &str = include_str!("../../../docs/plans/checkout.yaml");

    /// The plan in `docs/plans/fulfilment.yaml`.
    pub fn fulfilment() -> Plan {
        let Ok(Written::Plan(plan)) = parse(PLAN) else { panic!("{:?}", parse(PLAN)) };
        plan
    }

    /// The definition in `docs/plans/checkout.yaml`.
    pub fn checkout() -> Definition {
        let Ok(Written::Definition(draft)) = parse(DEFINITION) else {
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
    fn check(text: &str, from: &str, to: &str, told: &str) {
        assert!(text.contains(from), "{from} is not there");
        let Fault { line, column, why } = parse(&text.replacen(from, to, 1)).expect_err(to);
        assert_eq!(format!("{line}:{column}: {why}"), told);
    }

    #[test]
    fn what_is_no_plan_is_told_with_its_place_and_what_to_write() {
        let plan = |from, to, told| check(PLAN, from, to, told);
        plan(
            "    fails:",
            "    failz:",
            "22:5: there is no key 'failz' here: write one of name, service, on, emits, fails, undo, neverAfter, pivot",
        );
        plan("pivot: true", "pivot: yes", "39:12: a yes or no belongs here: write true or false");
        plan(
            "version: 1",
            "version: one",
            "5:10: a whole number belongs here, not below zero: write 1",
        );
        plan(
            "version: 1",
            "version: -1",
            "5:10: a whole number belongs here, not below zero: write 1",
        );
        plan(
            "    service: payment\n",
            "",
            "22:5: the key 'service' is missing beside this one: add it",
        );
        plan(
            "on: [order.created]",
            "on: order.created",
            "20:9: a list belongs here: write [ONE, ANOTHER]",
        );
        plan("begins:", "begins: []\nends:", "9:9: keys and values belong here: write KEY: VALUE");
        plan(
            "event: order.created",
            "event: Order.Created",
            "12:10: 'Order.Created' is not a name: use a-z, 0-9, '-' and '.', a letter first, at most 100 bytes",
        );
        plan("event: order.created", "event:", "12:8: nothing stands here: write a text");
        plan(
            "name: create\n",
            "name: create\n  name: a\n",
            "11:3: the key 'name' is there twice: remove one",
        );
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place_and_where_to_look() {
        let told = |what: &str| {
            format!("{what}): look at the indentation, the brackets and the quotes up to here")
        };
        let open = told("21:10: this is no YAML (illegal placement of ':' indicator");
        check(PLAN, "on: [order.created]", "on: [order.created", &open);
        let tab = told("19:14: this is no YAML (while scanning a plain scalar, found a tab");
        check(PLAN, "on: [order.created]", "\ton: [order.created]", &tab);
        let escape = told("6:1: this is no YAML (unexpected character: `\\u{1b}'");
        check(PLAN, "deadlineMs", "\u{1b}[31m", &escape);
        let twice = "10:1: another document begins here: write one plan or definition in a file";
        check(PLAN, "begins:", "---\nbegins:", twice);
        let Fault { line, column, .. } = text(b"name: a\nversion: \xff").expect_err("no UTF-8");
        assert_eq!((line, column), (2, 10));
    }

    #[test]
    fn what_is_no_definition_is_told_with_its_place_and_what_to_write() {
        let definition = |from, to, told| check(DEFINITION, from, to, told);
        definition(
            "kind: pivot",
            "kind: pivotal",
            "46:11: 'pivotal' is not known here: write one of compensatable, pivot, retriable",
        );
        definition(
            "input.orderId",
            "input",
            "16:18: 'input' is not a reference: write input.FIELD or STEP.FIELD",
        );
        definition(
            "input.orderId",
            "[input.orderId]",
            "16:18: one text belongs here: write it without [ ] or { }",
        );
        definition(
            "name: create-order",
            "patience: { timeoutMs: 1.5 }\n    name: create-order",
            "10:28: a whole number belongs here, not below zero: write 1",
        );
    }

    #[test]
    fn what_holds_neither_or_both_is_told() {
        let told = |text: &str| parse(text).expect_err(text).why;
        for text in ["", "# nothing", "name: lonely"] {
            assert!(
                told(text).starts_with("this is neither a plan nor a definition: write name, "),
                "{text}"
            );
        }
        for text in ["[1, 2]", "just words"] {
            assert_eq!(told(text), "keys and values belong here: write KEY: VALUE");
        }
        let both = PLAN.replace("reactions:", "steps: []\nreactions:");
        assert!(
            told(&both)
                .starts_with("this has keys of a plan (begins, reactions) and of a definition")
        );
        let deep = format!("a: {}", "{a: ".repeat(1_000));
        assert!(told(&deep).starts_with("this is nested too deeply"), "{}", told(&deep));
        assert!(told("a: &x [*x]").starts_with("this cannot be read ("), "{}", told("a: &x [*x]"));
    }
}
