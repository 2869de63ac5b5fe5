//! The definition of a saga: validated data, from the typed builder, YAML or a test.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::Name;
use crate::step_set::StepSet;

mod contract;
mod draft;
mod problem;

mod draw;
mod fit;
mod input;

pub use contract::{
    ParticipantContract, Repeat, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX, SchemaPlace, Schemas,
};
pub use draft::{
    CommandTemplate, Draft, Kind, NotAReference, Patience, Reference, STEPS_MAX, Source, Step,
};
pub use draw::{mermaid, text};
use fit::AttachedCheck;
pub use fit::{Misfit, Misfits, SchemaCheck};
pub use input::InputError;
pub(crate) use input::{InputCheck, misfit};
pub use problem::{Error, Problem};

/// A validated definition; only these run. Dereferences to its [`Draft`].
///
/// Deserialization accepts definitions that an older program stored. Newer rules
/// ([`Problem::is_of_a_later_rule`]) apply only at registration, in [`Definition::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Draft", into = "Draft")]
pub struct Definition {
    draft: Draft,
    graph: Graph,
    hash: String,
    input_check: InputCheck,
    schema_check: AttachedCheck,
}

/// The order of the steps, computed once. Steps are numbered as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The direct predecessors of each step.
    pub before: Vec<StepSet>,
    /// All ancestors of each step.
    pub ancestors: Vec<StepSet>,
    /// All descendants of each step.
    pub descendants: Vec<StepSet>,
}

impl Deref for Definition {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl Definition {
    /// Builds a definition from validated parts.
    pub(crate) fn assemble(draft: Draft, graph: Graph, hash: String) -> Definition {
        let (input_check, schema_check) = Default::default();
        Definition { draft, graph, hash, input_check, schema_check }
    }

    /// Adds a check of starts to the definition.
    pub(crate) fn checking(self, input_check: InputCheck) -> Definition {
        Definition { input_check, ..self }
    }

    /// Attaches the check of data against the definition's schemas. Without it, only core's own
    /// rules apply.
    pub fn with_schema_check(self, check: Arc<dyn SchemaCheck>) -> Definition {
        Definition { schema_check: AttachedCheck::of(check), ..self }
    }

    /// Returns whether data is checked against all schemas: the check is attached, or there are no
    /// schemas.
    pub fn checks_schemas(&self) -> bool {
        self.schema_check.is_attached() || self.schemas.is_empty()
    }

    /// Checks an action's output against its schema. A later reply to the same command has the same
    /// output, so an output that does not fit needs a person.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_output(&self, step: usize, output: &Body) -> Result<(), Misfits> {
        let message = &self.steps[step].action.message;
        self.schema_check.check_output(message, output)
    }

    /// Checks that the input is a JSON object with every field that the definition names.
    ///
    /// # Errors
    /// Names the missing field.
    pub fn check_input(&self, input: &Body) -> Result<(), InputError> {
        match input.first_missing(&self.input) {
            None => Ok(()),
            Some(field) => {
                let (definition, field) = (self.name.clone(), field.to_owned());
                Err(InputError::MissingField { definition, field })
            }
        }
    }

    /// Checks a start by business key and input. Call it before every start.
    ///
    /// Runs [`Definition::check_input`], compares the key with the input's key field, and checks
    /// the input against its schema. If the message type is known, the input is also deserialized.
    ///
    /// # Errors
    /// Names the violated rule.
    pub fn check_start(&self, key: &str, input: &Body) -> Result<(), InputError> {
        self.check_input(input)?;
        if let Some(field) = &self.key {
            input::check_key(key, field, input)?;
        }
        self.schema_check.check_input(input)?;
        self.input_check.run(key, input)
    }

    /// Returns the SHA-256 of the canonical JSON in lower-case hex. A saga stores it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the order of the steps.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the number of the step with this name.
    pub fn index_of(&self, step: &Name) -> Option<usize> {
        self.steps.iter().position(|candidate| candidate.name == *step)
    }
}

impl Graph {
    /// Iterates over the direct predecessors of a step.
    pub fn directly_before(&self, step: usize) -> impl Iterator<Item = usize> {
        self.before[step].iter()
    }

    /// Iterates over all ancestors of a step.
    pub fn all_before(&self, step: usize) -> impl Iterator<Item = usize> {
        self.ancestors[step].iter()
    }

    /// Iterates over the steps that may run concurrently with this one.
    pub fn beside(&self, step: usize) -> impl Iterator<Item = usize> {
        let ordered = self.ancestors[step].union(self.descendants[step]);
        (0..self.before.len()).filter(move |other| *other != step && !ordered.contains(*other))
    }
}

impl From<Definition> for Draft {
    fn from(definition: Definition) -> Draft {
        definition.draft
    }
}
