//! The problems of a definition, each with its fix.

use super::contract::{Repeat, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX, SchemaPlace};
use super::draft::{Kind, Reference, STEPS_MAX};
use crate::id::{Malformed, Name};

/// A definition that cannot run, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The definition's name.
    pub definition: String,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Problem {
    /// A malformed name. Only the builder can produce it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A step without an action. Only the builder can produce it.
    #[error("step '{step}' has no action: add one with .sends(..)")]
    SendsNothing { step: String },
    /// A reference to a step of another definition. Only the builder can produce it.
    #[error(
        "step '{step}' refers to a step of another definition for '{field}': refer to a step of \
         this one"
    )]
    Foreign { step: String, field: String },
    /// A key that is a field of a step. Only the builder can produce it.
    #[error("the key is a field of step '{step}': name a field of the input")]
    KeyOfStep { step: String },
    /// Version 0.
    #[error("the version is 0: write 1 for the first one")]
    NoVersion,
    /// A deadline of 0 ms.
    #[error("the saga's deadline is 0 ms, so no step could complete: lengthen it, or remove it")]
    NoTime,
    /// A field name that no reference can express.
    #[error(
        "no reference can name the field '{field}' of {of}: use a name that is not empty and has \
         no '.'"
    )]
    Unnameable { of: String, field: String },
    /// A key that is not a field of the input.
    #[error("the key is the field '{field}' of the input, which has only: {}", known.join(", "))]
    UnknownKey { field: String, known: Vec<String> },
    /// A compensation with the message of its action.
    #[error(
        "step '{step}' is undone by '{message}', which is also its action: the participant would \
         do it twice, so name \
         the message that undoes it"
    )]
    UndoneByItself { step: Name, message: Name },
    /// A definition without steps.
    #[error("the definition has no steps: add at least one")]
    NoSteps,
    /// More than [`STEPS_MAX`] steps.
    #[error(
        "the definition has {count} steps, but at most {STEPS_MAX} are allowed: split it, or join \
         steps of one participant"
    )]
    TooManySteps { count: usize },
    /// Two steps of the same name.
    #[error("two steps are named '{step}': rename one of them")]
    SameName { step: Name },
    /// A step named `input`.
    #[error("a step is named 'input', which in references means the saga's input: rename the step")]
    Reserved,
    /// A predecessor that does not exist.
    #[error(
        "step '{step}' comes after '{after}', but no step has that name: name a step of this \
         definition"
    )]
    UnknownPredecessor { step: Name, after: Name },
    /// Steps that wait for one another.
    #[error("steps wait for one another: {}: remove one of these 'after' entries", chain(steps))]
    Cycle {
        /// The cycle: each step waits for the one before it, and the first for the last.
        steps: Vec<Name>,
    },
    /// Two pivots.
    #[error(
        "'{first}' and '{second}' are both pivots: a definition has at most one, so change the \
         kind of one"
    )]
    TwoPivots { first: Name, second: Name },
    /// A compensatable step without a compensation.
    #[error(
        "step '{step}' is compensatable but has no compensation: add one, or make it the pivot or \
         retriable"
    )]
    NoCompensation { step: Name },
    /// A pivot or retriable step with a compensation.
    #[error(
        "step '{step}' is {kind} and never undone, but has a compensation: remove it, or make the \
         step compensatable"
    )]
    NeverUndone { step: Name, kind: Kind },
    /// A compensation that another participant executes.
    #[error(
        "step '{step}' is executed by '{action}' but undone by '{compensation}': only the \
         executing participant knows \
         whether there is something to undo, so let '{action}' undo it"
    )]
    OtherParticipant { step: Name, action: Name, compensation: Name },
    /// A compensatable step that the pivot does not wait for.
    #[error(
        "step '{step}' is compensatable, but the pivot '{pivot}' does not wait for it: let \
         '{pivot}' come after it"
    )]
    NotBeforePivot { step: Name, pivot: Name },
    /// A retriable step that does not wait for the pivot.
    #[error(
        "step '{step}' is retriable but does not wait for the pivot '{pivot}': let it come after \
         '{pivot}'"
    )]
    NotAfterPivot { step: Name, pivot: Name },
    /// A retriable step in a definition without a pivot.
    #[error(
        "step '{step}' is retriable but the definition has no pivot: add one, or give '{step}' a \
         compensation"
    )]
    NoPivot { step: Name },
    /// A reference to a step that does not exist.
    #[error(
        "step '{step}' takes '{field}' from '{reference}', but no step has that name: name a step \
         of this definition"
    )]
    UnknownSource { step: Name, field: String, reference: Reference },
    /// A reference to a step that is not an ancestor.
    #[error(
        "step '{step}' takes '{field}' from '{reference}' but does not wait for that step: let it \
         come after that step"
    )]
    NotAnAncestor { step: Name, field: String, reference: Reference },
    /// A compensation that refers to the output of its own action.
    #[error(
        "the compensation of '{step}' takes '{field}' from its own action: remove it, because the \
         participant has stored that output"
    )]
    OwnOutput { step: Name, field: String },
    /// A reference to a field that its source lacks.
    #[error(
        "step '{step}' takes '{field}' from '{reference}', which has only: {}", known.join(", ")
    )]
    UnknownField {
        step: Name,
        field: String,
        reference: Reference,
        /// The fields that the source has.
        known: Vec<String>,
    },
    /// A timeout of 0 ms.
    #[error("step '{step}' waits 0 ms for a reply: set a timeout")]
    NoTimeout { step: Name },
    /// A pause of 0 ms.
    #[error("step '{step}' pauses 0 ms before a resend, and would resend without end: set a pause")]
    NoPause { step: Name },
    /// A shortest pause above the longest.
    #[error("step '{step}' pauses for at least {min} ms and at most {max} ms: swap them")]
    Backoff {
        step: Name,
        /// The shortest pause in ms.
        min: u64,
        /// The longest pause in ms.
        max: u64,
    },
    /// A limit of 0 attempts.
    #[error("step '{step}' allows 0 attempts: allow at least 1, or remove the limit")]
    NoAttempts { step: Name },
    /// A limit of attempts on a step that cannot be given up.
    #[error(
        "step '{step}' is {kind} and repeated until it is done: remove the limit of {attempts} \
         attempts"
    )]
    NeverGivenUp { step: Name, kind: Kind, attempts: u32 },
    /// A saga's deadline that is shorter than a step's timeout.
    #[error(
        "the saga's deadline of {deadline} ms is shorter than the {timeout} ms that step '{step}' \
         may take to reply: \
         lengthen it, or shorten that timeout"
    )]
    DeadlineBeforeTimeout {
        step: Name,
        /// The saga's deadline in ms.
        deadline: u64,
        /// The step's timeout in ms.
        timeout: u64,
    },
    /// A saga's deadline that is shorter than the attempts that its steps allow.
    #[error(
        "the saga's deadline of {deadline} ms is shorter than the {needed} ms that all attempts of \
         {} may take: \
         lengthen it, or lower the attempts or timeouts",
        chain(steps)
    )]
    DeadlineBeforeAttempts {
        /// The steps of the longest path before the pivot.
        steps: Vec<Name>,
        /// The saga's deadline in ms.
        deadline: u64,
        /// Attempts times timeouts in ms, without pauses.
        needed: u64,
    },
    /// A contract of a participant that executes no step.
    #[error(
        "'participants' has an entry for '{participant}', which executes no step: use one of {}, \
         or remove the entry",
        list(known)
    )]
    UnknownParticipant { participant: Name, known: Vec<Name> },
    /// A status query at a participant with a barrier.
    #[error(
        "participant '{participant}' has a query, but also a barrier, which answers a resent \
         command: \
         remove the query, or write 'repeat: by-key' or 'repeat: never'"
    )]
    QueryOfBarrier { participant: Name },
    /// A status query with the message of an action or a compensation.
    #[error(
        "participant '{participant}' is queried by '{message}', which a step sends as a command: \
         name another message"
    )]
    QueryIsCommand { participant: Name, message: Name },
    /// A refusal by a status that is not an error.
    #[error(
        "participant '{participant}' refuses by the HTTP status {status}: use a status from 400 to \
         599"
    )]
    RefusalStatus { participant: Name, status: u16 },
    /// A refusal by a code of the SDK.
    #[error(
        "participant '{participant}' refuses by the HTTP status {status} with '{code}', a code of \
         Sagamore itself: \
         use another code"
    )]
    ReservedCode { participant: Name, status: u16, code: Name },
    /// A compensation without fields at a participant that stores no output.
    #[error(
        "the compensation of '{step}' has no fields, but '{participant}' (repeat: {repeat}) has no \
         barrier that stores the \
         action's output: add fields from the input, or from the action's output as {step}.FIELD"
    )]
    UndoWithoutFields { step: Name, participant: Name, repeat: Repeat },
    /// A schema of a message that the definition does not send.
    #[error(
        "schemas.messages has '{message}', which no step sends: use one of {}, or remove the \
         schema",
        list(known)
    )]
    SchemaOfNoMessage { message: Name, known: Vec<Name> },
    /// A schema of the output of a message that is not an action.
    #[error(
        "schemas.outputs has '{message}', which is the action of no step: use one of {}, or remove \
         the schema",
        list(known)
    )]
    SchemaOfNoAction { message: Name, known: Vec<Name> },
    /// A schema that is not a JSON object.
    #[error("{place} is {found}: write a JSON Schema as an object")]
    SchemaIsNoObject { place: SchemaPlace, found: &'static str },
    /// A schema of more than [`SCHEMA_BYTES_MAX`] bytes.
    #[error(
        "{place} has {bytes} bytes as JSON, but at most {SCHEMA_BYTES_MAX} are allowed: shorten it"
    )]
    SchemaTooLarge { place: SchemaPlace, bytes: usize },
    /// Schemas of more than [`SCHEMAS_BYTES_MAX`] bytes together.
    #[error(
        "the schemas have {bytes} bytes as JSON, but at most {SCHEMAS_BYTES_MAX} are allowed \
         together: shorten them"
    )]
    SchemasTooLarge { bytes: usize },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "definition '{}' cannot run", self.definition)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

impl Problem {
    /// Returns whether a definition stored by an older program may have this problem. Such a
    /// definition continues to run.
    pub fn is_of_a_later_rule(&self) -> bool {
        matches!(
            self,
            Problem::NoVersion
                | Problem::NoTime
                | Problem::Unnameable { .. }
                | Problem::UndoneByItself { .. }
        )
    }

    /// Returns whether this problem makes the order of the steps meaningless.
    pub(crate) fn hides_the_order(&self) -> bool {
        matches!(
            self,
            Problem::NoSteps
                | Problem::TooManySteps { .. }
                | Problem::SameName { .. }
                | Problem::UnknownPredecessor { .. }
        )
    }
}

fn chain(steps: &[Name]) -> String {
    steps.iter().map(|step| format!("'{step}'")).collect::<Vec<_>>().join(" -> ")
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
