//! What can be wrong with a definition, each with what to do about it.

use crate::definition::{Kind, Reference, STEPS_MAX};
use crate::id::{Malformed, Name};

/// A definition that cannot run, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it is called.
    pub definition: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One violation: which steps are concerned, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name that is none; only the builder can meet one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A step without an action; only the builder can meet one.
    #[error("step '{step}' asks for nothing: say what, with .asks(..)")]
    AsksNothing {
        /// Which.
        step: String,
    },
    /// A reference to a step of another definition; only the builder can meet one.
    #[error("step '{step}' refers to a step of another definition for '{field}': take it from this one")]
    Foreign {
        /// Which.
        step: String,
        /// The field that is filled.
        field: String,
    },
    /// A key that is no field of the input; only the builder can meet one.
    #[error("the key is a field of step '{step}': take it from the input")]
    KeyOfStep {
        /// Where it comes from.
        step: String,
    },
    /// A version that none comes before.
    #[error("the version is 0: write 1 for the first one")]
    NoVersion,
    /// A deadline that has passed when the saga starts.
    #[error("the saga's deadline is 0 ms, and no step would ever be done: lengthen it, or leave it out for none")]
    NoTime,
    /// A field that no reference can name.
    #[error(
        "the field '{field}' of {of} cannot be named by a reference: write a name that is not empty and has no '.'"
    )]
    Unnameable {
        /// The input, or a step.
        of: String,
        /// The field.
        field: String,
    },
    /// A key that is no field of the input.
    #[error("the key is the field '{field}' of the input, but there is only: {}", known.join(", "))]
    UnknownKey {
        /// The field that the definition names.
        field: String,
        /// The fields of the input.
        known: Vec<String>,
    },
    /// A compensation that is the message of its action.
    #[error(
        "step '{step}' is undone by '{message}', which is its action as well: the participant would do it twice, so name \
         the message that undoes it"
    )]
    UndoneByItself {
        /// Which.
        step: Name,
        /// The message of both.
        message: Name,
    },
    /// A definition without steps.
    #[error("there are no steps: write at least one")]
    NoSteps,
    /// More than [`STEPS_MAX`] steps.
    #[error("there are {count} steps, and {STEPS_MAX} is the most: split the saga, or join steps of one participant")]
    TooManySteps {
        /// How many.
        count: usize,
    },
    /// A step with the name of another.
    #[error("two steps are called '{step}': give each a name of its own")]
    SameName {
        /// The name.
        step: Name,
    },
    /// A step called `input`.
    #[error("a step is called 'input', which is what references call the saga's input: rename it")]
    Reserved,
    /// A predecessor that does not exist.
    #[error("step '{step}' comes after '{after}', but no step is called so: name one of this definition")]
    UnknownPredecessor {
        /// Which.
        step: Name,
        /// What it names.
        after: Name,
    },
    /// Steps that wait for one another.
    #[error("steps wait for one another: {}: take one 'after' away", chain(steps))]
    Cycle {
        /// Each waits for the one before it, and the first for the last.
        steps: Vec<Name>,
    },
    /// Two points of no return.
    #[error("'{first}' and '{second}' are both pivots: there is one point of no return, so make one another kind")]
    TwoPivots {
        /// The one written first.
        first: Name,
        /// Another.
        second: Name,
    },
    /// A compensatable step that nothing undoes.
    #[error(
        "step '{step}' is compensatable but nothing undoes it: give it a compensation, or make it the pivot or retriable"
    )]
    NoCompensation {
        /// Which.
        step: Name,
    },
    /// A pivot or retriable step with a compensation.
    #[error(
        "step '{step}' is {kind} and never undone, but has a compensation: remove that, or make the step compensatable"
    )]
    NeverUndone {
        /// Which.
        step: Name,
        /// What it is.
        kind: Kind,
    },
    /// A compensation that is asked of somebody else than its action.
    #[error(
        "step '{step}' is carried out by '{action}' but undone by '{compensation}': only who carries a step out knows \
         whether there is something to undo, so let '{action}' undo it"
    )]
    OtherParticipant {
        /// Which.
        step: Name,
        /// Who carries out the action.
        action: Name,
        /// Who is asked to undo it.
        compensation: Name,
    },
    /// A compensatable step that the pivot does not wait for.
    #[error("step '{step}' can still be undone when the pivot '{pivot}' is asked: let '{pivot}' come after it")]
    NotBeforePivot {
        /// Which.
        step: Name,
        /// The point of no return.
        pivot: Name,
    },
    /// A retriable step that does not wait for the pivot.
    #[error("step '{step}' is retriable but does not wait for the pivot '{pivot}': let it come after '{pivot}'")]
    NotAfterPivot {
        /// Which.
        step: Name,
        /// The point of no return.
        pivot: Name,
    },
    /// A retriable step in a definition without a pivot.
    #[error("step '{step}' is retriable but there is no pivot: make a step the pivot, or give '{step}' a compensation")]
    NoPivot {
        /// Which.
        step: Name,
    },
    /// A reference to a step that does not exist.
    #[error("step '{step}' takes '{field}' from '{reference}', but no step is called so: name one of this definition")]
    UnknownSource {
        /// Which.
        step: Name,
        /// The field that is filled.
        field: String,
        /// From where.
        reference: Reference,
    },
    /// A reference to a step that need not be done by then.
    #[error("step '{step}' takes '{field}' from '{reference}' but does not wait for it: let it come after that step")]
    NotAnAncestor {
        /// Which.
        step: Name,
        /// The field that is filled.
        field: String,
        /// From where.
        reference: Reference,
    },
    /// A compensation that refers to what its own action gave.
    #[error(
        "the compensation of '{step}' takes '{field}' from its own action: leave it out, the participant has it stored"
    )]
    OwnOutput {
        /// Which.
        step: Name,
        /// The field that is filled.
        field: String,
    },
    /// A reference to a field that its source does not have.
    #[error("step '{step}' takes '{field}' from '{reference}', but there is only: {}", known.join(", "))]
    UnknownField {
        /// Which.
        step: Name,
        /// The field that is filled.
        field: String,
        /// From where.
        reference: Reference,
        /// What the source has.
        known: Vec<String>,
    },
    /// A timeout of nothing.
    #[error("step '{step}' waits 0 ms for an answer: give it a timeout")]
    NoTimeout {
        /// Which.
        step: Name,
    },
    /// A pause of nothing.
    #[error("step '{step}' pauses for 0 ms before it asks again, and would ask without end: give it a pause")]
    NoPause {
        /// Which.
        step: Name,
    },
    /// A shortest pause above the longest.
    #[error("step '{step}' pauses for at least {min} ms and at most {max} ms: swap them")]
    Backoff {
        /// Which.
        step: Name,
        /// The shortest pause.
        min: u64,
        /// The longest pause.
        max: u64,
    },
    /// A step that is never asked.
    #[error("step '{step}' may be asked 0 times: allow 1 attempt, or leave the limit out to ask for ever")]
    NoAttempts {
        /// Which.
        step: Name,
    },
    /// A limit where giving up is no way out.
    #[error("step '{step}' is {kind} and asked until it is done: remove the limit of {attempts} attempts")]
    NeverGivenUp {
        /// Which.
        step: Name,
        /// What it is.
        kind: Kind,
        /// Its limit.
        attempts: u32,
    },
    /// The saga's deadline cuts a step's first answer off.
    #[error(
        "the saga's deadline of {deadline} ms is shorter than the {timeout} ms that step '{step}' may take to answer: \
         lengthen it, or shorten that timeout"
    )]
    DeadlineBeforeTimeout {
        /// Which.
        step: Name,
        /// The saga's deadline in ms.
        deadline: u64,
        /// The step's timeout in ms.
        timeout: u64,
    },
    /// The saga's deadline cuts the attempts off that the steps allow.
    #[error(
        "the saga's deadline of {deadline} ms is shorter than the {needed} ms that all attempts of {} may take: \
         lengthen it, or lower the attempts or timeouts",
        chain(steps)
    )]
    DeadlineBeforeAttempts {
        /// One after another, before the pivot.
        steps: Vec<Name>,
        /// The saga's deadline in ms.
        deadline: u64,
        /// Attempts times timeouts in ms, pauses not counted.
        needed: u64,
    },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "definition '{}' cannot run", self.definition)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

impl Problem {
    /// Whether definitions that older programs stored may have it: they run on as they did.
    pub fn is_of_a_later_rule(&self) -> bool {
        matches!(
            self,
            Problem::NoVersion | Problem::NoTime | Problem::Unnameable { .. } | Problem::UndoneByItself { .. }
        )
    }

    /// Whether it makes no sense to ask what comes before what.
    pub(super) fn hides_the_order(&self) -> bool {
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
