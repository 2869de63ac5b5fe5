//! The plan of a saga: plain data, whoever wrote it (the typed builder, YAML, a test).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::decide::{bit, members};
use crate::id::Name;

mod draw;

pub use crate::validate::{Error, Problem};
pub use draw::{mermaid, text};

/// A plan that was validated: the only kind that runs. Reads like its [`Draft`].
///
/// Deserializing one accepts what an older program stored: rules that came later ([`Problem::is_of_a_later_rule`]) hold
/// for definitions that are registered, by [`Definition::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Draft", into = "Draft")]
pub struct Definition {
    draft: Draft,
    graph: Graph,
    hash: String,
    input_check: InputCheck,
}

/// The check of a start by business key and input: known to the process that built the definition with the input's
/// message type, and no part of what the definition says.
#[derive(Clone, Default)]
pub(crate) struct InputCheck(Option<Arc<Check>>);

type Check = dyn Fn(&str, &Body) -> Result<(), String> + Send + Sync;

impl InputCheck {
    pub fn new(check: impl Fn(&str, &Body) -> Result<(), String> + Send + Sync + 'static) -> InputCheck {
        InputCheck(Some(Arc::new(check)))
    }

    /// Passes everything where the type is not known.
    pub fn run(&self, key: &str, input: &Body) -> Result<(), String> {
        self.0.as_ref().map_or(Ok(()), |check| check(key, input))
    }
}

/// A plan as written, not yet validated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// `checkout`.
    pub name: Name,
    /// Raised with every change: the same version with other contents is refused.
    pub version: u32,
    /// From the start of the saga; when it passes before the pivot was asked, the saga compensates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The field of the input that holds the business key: a start with another key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The fields of the input that steps may refer to.
    pub input: Vec<String>,
    /// In the order in which they were written.
    pub steps: Vec<Step>,
}

/// One place in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Unique in the definition.
    pub name: Name,
    /// What may happen to it.
    pub kind: Kind,
    /// The steps that must be done before this one is asked. Absent: the step written before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Name>>,
    /// What is asked of whom.
    pub action: Ask,
    /// What undoes it: exactly the compensatable steps have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Ask>,
    /// The fields of the action's output that later steps may refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<String>,
    /// How patient the coordinator is.
    #[serde(default)]
    pub patience: Patience,
}

/// The three kinds of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Can be undone.
    Compensatable,
    /// The point of no return, at most one.
    Pivot,
    /// After the pivot: repeated until done.
    Retriable,
}

/// One message to one participant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// Whose command topic it goes to.
    pub participant: Name,
    /// The message's name: `payment.charge`.
    pub message: Name,
    /// Field of the message -> where its value comes from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Reference>,
}

/// A source and one field of it: written `input.orderId` or `create-order.totalCents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// The input, or a step whose output is meant.
    pub source: Source,
    /// One field, no path.
    pub field: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the saga was started with.
    Input,
    /// What this step's action gave.
    Step(Name),
}

/// How long the coordinator waits and how it asks again. Attempts are unlimited unless limited here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Patience {
    /// No answer for this long, counted from the transport's acknowledgement: the outcome is unknown.
    pub timeout_ms: u64,
    /// How often a compensatable action is asked before it is given up and compensated. Absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// The pause before the second attempt; doubles with each one.
    pub backoff_ms_min: u64,
    /// The longest pause.
    pub backoff_ms_max: u64,
}

impl Patience {
    /// No answer for this long after the transport's acknowledgement: the outcome is unknown.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// What follows from the steps' order, computed once. Steps are numbered as written; sets of steps are bit masks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Direct predecessors of each step.
    pub before: Vec<u64>,
    /// All ancestors of each step.
    pub ancestors: Vec<u64>,
    /// All descendants of each step.
    pub descendants: Vec<u64>,
}

/// The most steps in one definition: a set of steps is one 64-bit mask.
pub const STEPS_MAX: usize = 64;

impl Deref for Definition {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl Definition {
    /// Puts together what validation has found to be right.
    pub(crate) fn assemble(draft: Draft, graph: Graph, hash: String) -> Definition {
        Definition { draft, graph, hash, input_check: InputCheck::default() }
    }

    /// The same definition, whose starts meet this check too.
    pub(crate) fn checking(self, input_check: InputCheck) -> Definition {
        Definition { input_check, ..self }
    }

    /// The check of a start by its message type.
    pub(crate) fn input_check(&self) -> &InputCheck {
        &self.input_check
    }

    /// SHA-256 over the canonical JSON, in lower-case hex: what a saga pins.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What follows from the order of the steps.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The number of the step with this name.
    pub fn index_of(&self, step: &Name) -> Option<usize> {
        self.steps.iter().position(|candidate| candidate.name == *step)
    }
}

impl Graph {
    /// The steps that must be done right before this one.
    pub fn directly_before(&self, step: usize) -> impl Iterator<Item = usize> {
        members(self.before[step])
    }

    /// All steps that must be done before this one.
    pub fn all_before(&self, step: usize) -> impl Iterator<Item = usize> {
        members(self.ancestors[step])
    }

    /// The steps that may be under way while this one is.
    pub fn beside(&self, step: usize) -> impl Iterator<Item = usize> {
        let ordered = self.ancestors[step] | self.descendants[step] | bit(step);
        (0..self.before.len()).filter(move |other| ordered & bit(*other) == 0)
    }
}

impl Default for Patience {
    /// 30 s to answer, asked again for ever after 0.2 s to 30 s.
    fn default() -> Patience {
        Patience { timeout_ms: 30_000, attempts_max: None, backoff_ms_min: 200, backoff_ms_max: 30_000 }
    }
}

impl Kind {
    /// `compensatable`, `pivot` or `retriable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Compensatable => "compensatable",
            Kind::Pivot => "pivot",
            Kind::Retriable => "retriable",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Definition> for Draft {
    fn from(definition: Definition) -> Draft {
        definition.draft
    }
}

impl std::fmt::Debug for InputCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InputCheck")
    }
}

/// All are equal: two definitions that say the same are the same, whoever built them.
impl PartialEq for InputCheck {
    fn eq(&self, _: &InputCheck) -> bool {
        true
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Input => write!(f, "input.{}", self.field),
            Source::Step(step) => write!(f, "{step}.{}", self.field),
        }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = String;

    fn try_from(text: String) -> Result<Reference, String> {
        let wanted = || format!("'{text}' is no reference: write input.FIELD or STEP.FIELD");
        let (source, field) = text.rsplit_once('.').filter(|(_, field)| !field.is_empty()).ok_or_else(wanted)?;
        let source = match source {
            "input" => Source::Input,
            step => Source::Step(Name::new(step).map_err(|_| wanted())?),
        };
        Ok(Reference { source, field: field.to_owned() })
    }
}
