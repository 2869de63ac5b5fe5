//! The state of one reaction of a chain, and its transitions. Pure.
//!
//! The first recorded answer of the participant is final: a repeat publishes the same event again.
//! An undo that arrives before its reaction prevents the reaction, like a barrier's tombstone.

mod answer;
mod stored;

use std::collections::BTreeMap;

use sagamore_core::message::code;
use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Body, Direction, Event, Name, Refusal, StepKey, Timestamp, TraceContext};
use sagamore_transport::wire::{decode_event, encode_event};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

pub(crate) use answer::{ReactionEnd, ReactionResult, read};
pub(crate) use stored::StoredRecord;

/// One reaction of a chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reaction {
    /// The version of the chain's plan.
    pub version: u32,
    action: Action,
    /// The awaited events that have arrived, until the reaction has its result.
    #[serde(default)]
    inputs: Vec<StoredRecord>,
    /// The event that reports the result; `None` if the plan has none.
    #[serde(default)]
    result: Option<Emission>,
    /// The failure that triggered the undo.
    #[serde(default)]
    undo: Option<StoredRecord>,
    /// The event that reports the undo.
    #[serde(default)]
    undone: Option<Emission>,
    /// The calls of an open pivot, which decide whether its deadline may give it up.
    #[serde(default)]
    calls: Calls,
    /// The deadline's event that arrived while a call may have been sent.
    #[serde(default)]
    overdue: Option<StoredRecord>,
}

/// The calls of a pivot that has no answer.
///
/// **Invariant:** a call begins after its state is stored, and only the attempt that has stored
/// [`Calls::Begun`] stores that it was not sent. A second attempt makes it [`Calls::Sent`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Calls {
    /// No call was sent.
    Unsent,
    /// The first attempt, with this random number, may have been sent.
    Begun(u64),
    /// A call may have been sent, also by a program that did not store calls.
    #[default]
    Sent,
}

/// The state of the reaction itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// An awaited event is missing.
    Waiting,
    /// The participant is called until it answers.
    Open,
    Done,
    Refused,
    /// An undo or a `neverAfter` event arrived first.
    Never,
}

/// An event to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Emission {
    record: StoredRecord,
    sent: bool,
}

/// The next work of a reaction.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Nothing to do until another event arrives.
    Rest,
    /// Call the participant with these events.
    Call(Direction, Vec<StoredRecord>),
    /// Publish an event, and then mark it as sent.
    Publish(Direction, StoredRecord),
}

/// The part of a plan that a reaction executes, with facts for its events.
pub(crate) struct Context<'a> {
    pub plan: &'a Plan,
    pub part: Part<'a>,
    pub now: Timestamp,
}

impl Reaction {
    /// Creates the reaction before its first event. The start of a chain has happened.
    pub fn new(version: u32, part: &Part<'_>) -> Reaction {
        let action = if part.on.is_empty() { Action::Done } else { Action::Waiting };
        let (inputs, (result, undo, undone, overdue)) = Default::default();
        let calls = Calls::Unsent;
        Reaction { version, action, inputs, result, undo, undone, calls, overdue }
    }

    /// Takes an event of the chain. A repeated one publishes the result again.
    pub fn receive(&mut self, context: &Context<'_>, event: &Event, record: StoredRecord) {
        let Context { plan, part, .. } = context;
        if part.undone_on().contains(&event.name) {
            if self.action == Action::Waiting {
                self.action = Action::Never;
            }
            match &mut self.undone {
                Some(undone) => undone.sent = false,
                None if self.undo.is_none() => self.undo = Some(record.clone()),
                None => {}
            }
        }
        if part.never_after.contains(&event.name) && self.action == Action::Waiting {
            self.action = Action::Never;
        }
        if part.pivot && plan.overdue.as_ref() == Some(&event.name) {
            self.give_up(context, event, &record);
        }
        if part.on.contains(&event.name) {
            self.take_input(part, event, record);
        }
        self.advance(context);
    }

    fn take_input(&mut self, part: &Part<'_>, event: &Event, record: StoredRecord) {
        match self.action {
            Action::Waiting => {
                if !self.inputs.iter().any(|known| known.is_of(&event.name)) {
                    self.inputs.push(record);
                }
                let is_here =
                    |awaited| self.inputs.iter().any(|known: &StoredRecord| known.is_of(awaited));
                if part.on.iter().all(is_here) {
                    self.action = Action::Open;
                }
            }
            Action::Open => {}
            Action::Done | Action::Refused | Action::Never => self.publish_again(),
        }
    }

    /// Gives the pivot up. If a call may have been sent, its answer decides, or the end of the call
    /// without a connection.
    fn give_up(&mut self, context: &Context<'_>, overdue: &Event, record: &StoredRecord) {
        match self.action {
            Action::Open if self.calls != Calls::Unsent => self.overdue = Some(record.clone()),
            Action::Waiting | Action::Open => {
                let refusal = Refusal::new(code::OVERDUE, "the chain is overdue");
                self.refuse(context, overdue, &overdue.body, &refusal);
            }
            Action::Done | Action::Refused | Action::Never => self.publish_again(),
        }
    }

    /// Whether [`Reaction::begin_call`] must be stored before the next call. Only a pivot is given
    /// up.
    pub fn stores_calls(&self, context: &Context<'_>) -> bool {
        let may_be_given_up = context.part.pivot && context.plan.overdue.is_some();
        may_be_given_up && self.action == Action::Open && self.calls != Calls::Sent
    }

    /// Records that an attempt with this random number begins.
    pub fn begin_call(&mut self, attempt: u64) {
        self.calls = match self.calls {
            Calls::Unsent => Calls::Begun(attempt),
            Calls::Begun(_) | Calls::Sent => Calls::Sent,
        };
    }

    /// Records that an attempt was not sent, because no connection was made.
    pub fn end_unsent_call(&mut self, context: &Context<'_>, attempt: u64) {
        if self.calls != Calls::Begun(attempt) {
            return;
        }
        self.calls = Calls::Unsent;
        if let Some(record) = self.overdue.take()
            && let Ok(overdue) = decode_event(&record.record())
        {
            self.give_up(context, &overdue, &record);
        }
        self.advance(context);
    }

    fn publish_again(&mut self) {
        if let Some(result) = &mut self.result {
            result.sent = false;
        }
    }

    /// Returns the next work.
    pub fn next(&self, part: &Part<'_>) -> Next {
        let unsent = |emission: &Option<Emission>| {
            emission.as_ref().filter(|emission| !emission.sent).map(|one| one.record.clone())
        };
        if let Some(record) = unsent(&self.result) {
            return Next::Publish(Direction::Action, record);
        }
        if self.action == Action::Open {
            let in_order = part.on.iter();
            let inputs = in_order
                .filter_map(|name| self.inputs.iter().find(|input| input.is_of(name)).cloned());
            return Next::Call(Direction::Action, inputs.collect());
        }
        if let Some(record) = unsent(&self.undone) {
            return Next::Publish(Direction::Compensation, record);
        }
        match (&self.undo, &self.undone) {
            (Some(failure), None) => Next::Call(Direction::Compensation, vec![failure.clone()]),
            (Some(_), Some(_)) | (None, _) => Next::Rest,
        }
    }

    /// Returns the direction of the present or next work.
    pub fn direction(&self) -> Direction {
        let is_settled =
            self.action != Action::Open && self.result.as_ref().is_none_or(|result| result.sent);
        match is_settled && self.undo.is_some() {
            true => Direction::Compensation,
            false => Direction::Action,
        }
    }

    /// Records that the event of a direction is published and durable.
    pub fn mark_sent(&mut self, direction: Direction) {
        let emission = match direction {
            Direction::Compensation => &mut self.undone,
            Direction::Action | Direction::Query => &mut self.result,
        };
        if let Some(emission) = emission {
            emission.sent = true;
        }
    }

    /// Records the participant's answer, unless one is recorded.
    pub fn settle(
        &mut self,
        context: &Context<'_>,
        direction: Direction,
        result: ReactionResult,
        trace: Option<TraceContext>,
    ) {
        match direction {
            Direction::Compensation if self.undone.is_none() && self.undo.is_some() => {
                let reported = match result {
                    ReactionResult::Done(reported) => reported.map(|(_, body)| body),
                    ReactionResult::Failed(..) | ReactionResult::Refused(_) => return,
                };
                self.finish_undo(context, reported, trace);
            }
            Direction::Action if self.action == Action::Open => {
                let Some(cause) = self.cause() else { return };
                match result {
                    ReactionResult::Refused(refusal) => {
                        let first = context.part.on.first().and_then(|name| self.input(name));
                        let given = first.map_or_else(Body::empty, |first| first.body);
                        self.refuse(context, &cause, &given, &refusal);
                    }
                    ReactionResult::Done(reported) => {
                        self.action = Action::Done;
                        self.result = reported.map(|(name, body)| {
                            context.emit(Direction::Action, name, body, &cause, trace)
                        });
                    }
                    ReactionResult::Failed(name, body) => {
                        self.action = Action::Refused;
                        self.result =
                            Some(context.emit(Direction::Action, name, body, &cause, trace));
                    }
                }
                self.inputs.clear();
                self.overdue = None;
            }
            Direction::Action | Direction::Compensation | Direction::Query => {}
        }
        self.advance(context);
    }

    /// Completes an undo that needs no call: there is nothing to undo.
    fn advance(&mut self, context: &Context<'_>) {
        let has_nothing = matches!(self.action, Action::Refused | Action::Never);
        if has_nothing && self.undo.is_some() && self.undone.is_none() {
            self.finish_undo(context, None, None);
        }
        if has_nothing {
            self.inputs.clear();
        }
    }

    /// Returns the latest awaited event in the order of causes: the one with the highest hop, and
    /// for equal hops the greatest id.
    fn cause(&self) -> Option<Event> {
        let events = self.inputs.iter().filter_map(|input| decode_event(&input.record()).ok());
        events.max_by_key(|event| (event.hop, event.id()))
    }

    /// Returns an awaited event that has arrived.
    fn input(&self, name: &Name) -> Option<Event> {
        let input = self.inputs.iter().find(|input| input.is_of(name))?;
        decode_event(&input.record()).ok()
    }

    /// Reports a refusal by the plan's first failure event: the given data with the fields `code`
    /// and `reason`.
    fn refuse(&mut self, context: &Context<'_>, cause: &Event, given: &Body, refusal: &Refusal) {
        self.action = Action::Refused;
        let Some(name) = context.part.fails.first() else { return };
        let mut fields: BTreeMap<String, Box<RawValue>> = given.read().unwrap_or_default();
        for (field, text) in [("code", &refusal.code), ("reason", &refusal.message)] {
            fields.extend(to_raw_value(text).ok().map(|value| (field.to_owned(), value)));
        }
        let body = Body::of(&fields).unwrap_or_else(|_| Body::empty());
        let result = context.emit(Direction::Action, name.clone(), body, cause, None);
        self.result = Some(result);
    }

    /// Reports an undo. Without data of the participant, the event has the data of the failure.
    fn finish_undo(
        &mut self,
        context: &Context<'_>,
        reported: Option<Body>,
        trace: Option<TraceContext>,
    ) {
        let failure = self.undo.as_ref().and_then(|undo| decode_event(&undo.record()).ok());
        let (Some(cause), Some(undo)) = (failure, context.part.undo) else { return };
        let body = reported.unwrap_or_else(|| cause.body.clone());
        let direction = Direction::Compensation;
        self.undone = Some(context.emit(direction, undo.emits.clone(), body, &cause, trace));
    }
}

impl Context<'_> {
    /// Returns the key of a direction, from which its event's id derives.
    fn key(&self, cause: &Event, direction: Direction) -> StepKey {
        let (saga, step) = (cause.chain().clone(), self.part.name.clone());
        StepKey { saga, step, direction, generation: 1 }
    }

    fn emit(
        &self,
        direction: Direction,
        name: Name,
        body: Body,
        cause: &Event,
        trace: Option<TraceContext>,
    ) -> Emission {
        let event = Event {
            key: self.key(cause, direction),
            version: cause.version,
            name,
            causation: Some(cause.id()),
            hop: cause.hop.saturating_add(1),
            at: self.now,
            body,
            trace: trace.or_else(|| cause.trace.clone()),
        };
        let record = encode_event(&event, self.part.service);
        Emission { record: StoredRecord::of(&record), sent: false }
    }
}

#[cfg(test)]
mod tests;
