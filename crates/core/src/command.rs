//! The commands of a saga, and how long it waits for their replies.
//!
//! Commands are not stored: each is built from the state, with the same id each time. Data is
//! mapped by references only: a field's JSON text is copied unchanged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::body::{Body, Fields};
use crate::definition::{CommandTemplate, Kind, Reference, Repeat, Source};
use crate::id::{Direction, Name, StepKey};
use crate::message::Command;
use crate::saga::{Saga, Status};
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
        let (template, generation) = match direction {
            Direction::Action => (&plan.action, state.generation),
            Direction::Compensation => (
                plan.compensation.as_ref().expect("only compensatable steps are undone"),
                state.undo_generation,
            ),
            Direction::Query => (&plan.action, state.generation),
        };
        let contract = self.contract(step);
        let query = contract.query.as_ref().filter(|_| direction == Direction::Query);
        // Only the first attempt expires: a participant whose clock is ahead by more than the
        // timeout would otherwise skip every attempt. Only unlimited attempts expire, because a
        // skipped command would use up a limited one. A participant that never repeats a command
        // receives no second attempt.
        let first = direction == Direction::Action
            && state.attempts <= 1
            && contract.repeat != Repeat::Never;
        let may_expire =
            first && plan.kind == Kind::Compensatable && plan.patience.attempts_max.is_none();
        Command {
            key: StepKey { saga: self.id.clone(), step: plan.name.clone(), direction, generation },
            version: self.definition.version,
            attempt: state.attempts,
            participant: template.participant.clone(),
            name: query.unwrap_or(&template.message).clone(),
            body: self.body_of(template),
            reply_to: self.reply_to.clone(),
            expires_at: state.wait.due().filter(|_| may_expire),
            trace: self.trace.clone(),
        }
    }

    /// Returns an upper bound of the body's bytes, at less cost than building the command.
    pub(crate) fn body_bytes_max(&self, step: usize, direction: Direction) -> usize {
        let plan = &self.definition.steps[step];
        let template = match direction {
            Direction::Action | Direction::Query => Some(&plan.action),
            Direction::Compensation => plan.compensation.as_ref(),
        };
        let length = |reference: &Reference| match &reference.source {
            Source::Input => self.input.as_str().len(),
            Source::Step(step) => self.output_of(step).map_or(0, |output| output.as_str().len()),
        };
        // Quotes, colon and comma take 8 bytes with `null`. An escaped name grows sixfold at most.
        let bytes = |(name, from): (&String, &Reference)| 6 * name.len() + 8 + length(from);
        2 + template.map_or(0, |template| template.fields.iter().map(bytes).sum())
    }

    fn body_of(&self, template: &CommandTemplate) -> Body {
        let mut sources: Vec<(&Source, Fields<'_>)> = Vec::new();
        let mut fields: BTreeMap<&str, &RawValue> = BTreeMap::new();
        for (name, reference) in &template.fields {
            let known = sources.iter().position(|(source, _)| *source == &reference.source);
            let known = known.unwrap_or_else(|| {
                let body = match &reference.source {
                    Source::Input => Some(&self.input),
                    Source::Step(step) => self.output_of(step),
                };
                sources.push((&reference.source, body.map(Body::fields).unwrap_or_default()));
                sources.len() - 1
            });
            fields.insert(name, sources[known].1.get(&reference.field).unwrap_or(RawValue::NULL));
        }
        Body::of(&fields).expect("a map with string keys is JSON")
    }

    /// Returns whether `template` refers to a step's field that no output provides. References to
    /// the output of `but` do not count.
    pub(crate) fn lacks_a_field_of(&self, template: &CommandTemplate, but: Option<&Name>) -> bool {
        template.fields.values().any(|Reference { source, field }| match source {
            Source::Input => false,
            Source::Step(step) if Some(step) == but => false,
            Source::Step(step) => {
                self.output_of(step).is_none_or(|output| output.fields().get(field).is_none())
            }
        })
    }

    fn output_of(&self, step: &Name) -> Option<&Body> {
        self.definition.index_of(step).and_then(|index| self.steps[index].output.as_ref())
    }

    /// Returns the commands without a reply that are not backing off. A takeover resends them.
    pub fn outstanding(&self) -> Vec<(usize, Direction)> {
        let sent = self.steps.iter().enumerate().filter(|(_, step)| step.wait.is_outstanding());
        sent.filter_map(|(index, _)| Some((index, self.awaited(index)?))).collect()
    }

    /// Returns when the oldest command without a reply was first sent. Resends do not change it.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        self.steps.iter().filter_map(|step| step.wait.asked_since()).min()
    }

    /// Returns the time of the next tick, unless an input arrives earlier.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = self.steps.iter().filter_map(|step| step.wait.running_due());
        due.chain(self.deadline()).min()
    }

    /// Returns the saga's own deadline while it can still turn the saga back.
    pub fn deadline(&self) -> Option<Timestamp> {
        let deadline = Duration::from_millis(self.definition.deadline_ms?);
        let applies = self.revision > 0 && self.status == Status::Running && !self.is_past_return();
        applies.then(|| Timestamp(self.started_at.plus(deadline).0.saturating_add(self.paused_ms)))
    }
}
