//! The commands of a saga, and how long it waits for their replies.
//!
//! Commands are not stored: each is built from the state, with the same id each time. Data is
//! mapped by references only: a field's JSON text is copied unchanged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::backward;
use crate::body::Body;
use crate::definition::{Ask, Definition, Kind, Reference, Source};
use crate::id::{Direction, Name, StepKey};
use crate::message::Command;
use crate::saga::{Saga, Status, StepState, StepStatus};
use crate::time::Timestamp;

impl Saga {
    /// Builds the current command for a step in one direction. A field without a source value is
    /// null.
    ///
    /// A start's input is checked, so null occurs only in the undo of a step that an operator
    /// resolved because its inputs were missing.
    ///
    /// # Panics
    /// The step does not exist, or `direction` is a compensation that the step does not have.
    pub fn command(&self, step: usize, direction: Direction) -> Command {
        let (plan, state) = (&self.definition.steps[step], &self.steps[step]);
        let (ask, generation) = match direction {
            Direction::Action => (&plan.action, state.generation),
            Direction::Compensation => (
                plan.compensation.as_ref().expect("only compensatable steps are undone"),
                state.undo_generation,
            ),
        };
        // Only the first attempt expires: a participant's clock may be ahead by more than the
        // timeout, and would skip all. Only unlimited attempts expire: a skipped command would use
        // up one of a limited number.
        let first = direction == Direction::Action && state.attempts <= 1;
        let may_expire =
            first && plan.kind == Kind::Compensatable && plan.patience.attempts_max.is_none();
        Command {
            key: StepKey { saga: self.id.clone(), step: plan.name.clone(), direction, generation },
            version: self.definition.version,
            attempt: state.attempts,
            participant: ask.participant.clone(),
            name: ask.message.clone(),
            body: self.body_of(ask),
            reply_to: self.reply_to.clone(),
            expires_at: state.due.filter(|_| may_expire),
            trace: self.trace.clone(),
        }
    }

    /// Returns an upper bound of the body's bytes, at less cost than building the command.
    pub(crate) fn body_bytes_max(&self, step: usize, direction: Direction) -> usize {
        let plan = &self.definition.steps[step];
        let ask = if direction == Direction::Action {
            Some(&plan.action)
        } else {
            plan.compensation.as_ref()
        };
        let length = |reference: &Reference| match &reference.source {
            Source::Input => self.input.as_str().len(),
            Source::Step(step) => self.output_of(step).map_or(0, |output| output.as_str().len()),
        };
        // Quotes, colon and comma take 8 bytes with `null`. An escaped name grows sixfold at most.
        let bytes = |(name, from): (&String, &Reference)| 6 * name.len() + 8 + length(from);
        2 + ask.map_or(0, |ask| ask.fields.iter().map(bytes).sum())
    }

    fn body_of(&self, ask: &Ask) -> Body {
        let mut sources: Vec<(&Source, Fields<'_>)> = Vec::new();
        let mut fields: BTreeMap<&str, &RawValue> = BTreeMap::new();
        for (name, reference) in &ask.fields {
            let known = sources.iter().position(|(source, _)| *source == &reference.source);
            let known = known.unwrap_or_else(|| {
                let body = match &reference.source {
                    Source::Input => Some(&self.input),
                    Source::Step(step) => self.output_of(step),
                };
                sources.push((&reference.source, body.map(Fields::of).unwrap_or_default()));
                sources.len() - 1
            });
            fields.insert(name, sources[known].1.get(&reference.field).unwrap_or(RawValue::NULL));
        }
        Body::of(&fields).expect("a map with string keys is JSON")
    }

    /// Returns whether `ask` refers to a field that an earlier, finished step did not return.
    pub(crate) fn lacks_a_field_of(&self, ask: &Ask) -> bool {
        ask.fields.values().any(|Reference { source, field }| match source {
            Source::Input => false,
            Source::Step(step) => {
                self.output_of(step).is_none_or(|output| Fields::of(output).get(field).is_none())
            }
        })
    }

    fn output_of(&self, step: &Name) -> Option<&Body> {
        self.definition.index_of(step).and_then(|index| self.steps[index].output.as_ref())
    }

    /// Returns the commands without a reply that are not backing off. A takeover resends them.
    pub fn outstanding(&self) -> Vec<(usize, Direction)> {
        let asked = self.steps.iter().enumerate().filter(|(_, step)| !step.backing_off);
        asked.filter_map(|(index, step)| Some((index, step.awaited()?))).collect()
    }

    /// Returns when the oldest command without a reply was first sent. Resends do not change it.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        self.steps.iter().filter_map(|step| step.asked_since).min()
    }

    /// Returns the time of the next tick, unless an input arrives earlier.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.steps.iter().filter_map(StepState::running_due).chain(self.deadline()).min()
    }

    /// Returns the saga's own deadline while it can still turn the saga back.
    pub fn deadline(&self) -> Option<Timestamp> {
        let deadline = Duration::from_millis(self.definition.deadline_ms?);
        let applies =
            self.revision > 0 && self.status == Status::Running && !backward::is_past_return(self);
        applies.then(|| Timestamp(self.started_at.plus(deadline).0.saturating_add(self.paused_ms)))
    }
}

impl StepState {
    /// Returns the direction of the command that awaits a reply or backs off before a resend.
    pub(crate) fn awaited(&self) -> Option<Direction> {
        self.due?;
        match self.status {
            StepStatus::Asked | StepStatus::Unknown => Some(Direction::Action),
            StepStatus::Undoing => Some(Direction::Compensation),
            StepStatus::Waiting | StepStatus::Done | StepStatus::Refused => None,
            StepStatus::Undone | StepStatus::UndoFailed | StepStatus::Skipped => None,
        }
    }
}

impl Definition {
    /// Checks that the input is a JSON object with every field that the definition names.
    ///
    /// # Errors
    /// Names the missing field.
    pub fn check_input(&self, input: &Body) -> Result<(), String> {
        match lacking(input, &self.input) {
            None => Ok(()),
            Some(field) => Err(format!("the input of '{}' lacks the field '{field}'", self.name)),
        }
    }

    /// Checks a start by business key and input. Call it before every start.
    ///
    /// It runs [`Definition::check_input`], compares the key with the input's key field, and reads
    /// the input as its message type if that type is known.
    ///
    /// # Errors
    /// Names the violated rule.
    pub fn check_start(&self, key: &str, input: &Body) -> Result<(), String> {
        self.check_input(input)?;
        if let Some(field) = &self.key {
            let held = Fields::of(input).get(field).map(RawValue::get).unwrap_or_default();
            if !spells(held, key) {
                return Err(format!(
                    "the business key is '{key}', but the field '{field}' holds {}",
                    beginning(held)
                ));
            }
        }
        self.input_check().run(key, input)
    }
}

/// Describes why an input is not of its message type: the field where the parser stopped, with line
/// and column.
pub(crate) fn misfit(input: &Body, message: &str, error: &serde_json::Error) -> String {
    let text = input.as_str();
    let line_begins = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let stopped_at = line_begins + error.column();
    let begins_at = |value: &RawValue| value.get().as_ptr() as usize - text.as_ptr() as usize;
    let fields = Fields::of(input);
    let field = fields.0.iter().rev().find(|(_, value)| begins_at(value) <= stopped_at);
    let place = format!("line {}, column {}", error.line(), error.column());
    match field {
        Some((field, _)) => {
            format!("the field '{field}' does not fit the message '{message}' ({place})")
        }
        None => format!("the input is not a message '{message}' ({place})"),
    }
}

/// Returns whether a JSON value equals this key: a string of the same content, or a number spelled
/// the same.
fn spells(value: &str, key: &str) -> bool {
    let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number {
        value == key
    } else {
        serde_json::from_str::<String>(value).is_ok_and(|text| text == key)
    }
}

/// Returns the first 200 bytes of a value, for error messages.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

/// Returns the first promised field that is missing. A body that is not an object has no fields.
pub(crate) fn lacking<'a>(body: &Body, promised: &'a [String]) -> Option<&'a str> {
    if promised.is_empty() {
        return None;
    }
    let fields = Fields::of(body);
    promised.iter().find(|field| fields.get(field).is_none()).map(String::as_str)
}

/// The top-level fields of an object, borrowed from its text.
#[derive(Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn of(body: &'a Body) -> Fields<'a> {
        serde_json::from_str(body.as_str()).unwrap_or_default()
    }

    /// Returns the last member of this name: the last duplicate wins, as in most JSON readers.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// A field's name, borrowed unless it contains an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
