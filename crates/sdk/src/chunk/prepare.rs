//! The preparation of a command: its answer, if the barrier knows one, or its handler.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sagamore_core::message::{Outcome, code};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, Name, Refusal};
use sagamore_database::Tx;

use super::context::ChunkContext;
use super::inputs::Inputs;
use crate::answer::Answer;
use crate::barrier::{StepHistory, Verdict};
use crate::handler::{Handler, Running, Unreadable};
use crate::keys::{CommandKeys, Key};
use crate::reaction::Declared;
use crate::text::{cut, panic_text};
use crate::work::{CommandWork, ReactionEnd, Work, WorkItem};

/// The next action for a command.
pub(super) enum Preparation {
    Answered(Box<Answer>),
    Running(ReadyHandler),
}

/// A handler that was not polled yet.
pub(super) struct ReadyHandler {
    pub running: Running,
    /// The keys of its messages; `None` if it must run alone.
    pub keys: Option<Vec<Key>>,
}

impl ChunkContext<'_> {
    /// Returns the answer of a command that needs no handler, or its handler on `tx`, not yet
    /// polled.
    pub(super) fn prepare(
        &self,
        tx: Tx,
        item: &WorkItem,
        known: &StepHistory,
        inputs: &Inputs,
    ) -> Preparation {
        let (case, verdict) = known.judge(&item.key);
        let service = self.service.name().to_string();
        metrics::counter!("sagamore_barrier_total", "service" => service, "case" => case.as_str())
            .increment(1);
        let begun = match verdict {
            Verdict::Answered(_)
                if planted(Bug::OverdueIgnoresPivot)
                    && item.end() == Some(ReactionEnd::Overdue) =>
            {
                return never(ReactionEnd::Overdue);
            }
            Verdict::Answered(outcome) => {
                let poison = self.poison(item).or_else(|| undecodable(item, &outcome));
                return Preparation::Answered(Box::new(Answer {
                    poison,
                    fresh: false,
                    ..Answer::fresh(outcome)
                }));
            }
            Verdict::NothingToUndo => {
                let outcome = Outcome::Done(Body::empty());
                return Preparation::Answered(Box::new(Answer {
                    poison: self.poison(item),
                    ..Answer::fresh(outcome)
                }));
            }
            Verdict::Act => match inputs {
                _ if let Some(end) = item.end() => return never(end),
                Inputs::Missing { names, since } => {
                    let why = format!("waits for {}", names.join(", "));
                    let early = self.now.since(*since) > self.options.early_max;
                    let poison =
                        early.then(|| format!("{why} for more than {:?}", self.options.early_max));
                    return Preparation::Answered(Box::new(Answer {
                        waits: true,
                        poison,
                        ..Answer::fresh(Outcome::Fault(why))
                    }));
                }
                Inputs::Command | Inputs::All { .. } => self.begin_unharmed(item, tx, inputs, None),
            },
            Verdict::Undo(output) => self.begin_unharmed(item, tx, inputs, Some(&output)),
        };
        match begun {
            Ok(begun) => Preparation::Running(begun),
            Err(Unreadable::Body(reason)) => {
                let outcome = Outcome::Refused(Refusal::new(code::UNDECODABLE, cut(&reason)));
                Preparation::Answered(Box::new(Answer {
                    poison: Some(reason),
                    ..Answer::fresh(outcome)
                }))
            }
            Err(Unreadable::Output(reason) | Unreadable::Name(reason)) => {
                Preparation::Answered(Box::new(Answer::fresh(Outcome::Fault(cut(&reason)))))
            }
            Err(Unreadable::Panic(text)) => {
                let why = format!("reading the message panicked: {text}");
                Preparation::Answered(Box::new(Answer::fresh(Outcome::Fault(cut(&why)))))
            }
        }
    }

    /// Calls [`ChunkContext::begin`] and turns a panic into a fault: messages and keys are read by
    /// the service's own code.
    fn begin_unharmed(
        &self,
        item: &WorkItem,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
    ) -> Result<ReadyHandler, Unreadable> {
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let mut keys = self.service.keys().of_command();
            let running = self.begin(item, tx, inputs, output, &mut keys)?;
            Ok(ReadyHandler { running, keys: keys.found() })
        }));
        begun.unwrap_or_else(|panic| Err(Unreadable::Panic(panic_text(panic.as_ref()).to_owned())))
    }

    /// Starts the handler: only names that the service declared lead to code.
    fn begin(
        &self,
        item: &WorkItem,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        match &item.work {
            Work::Command(command) => self.begin_command(command, tx, output, keys),
            Work::Reaction(reaction) => {
                self.begin_reaction(&reaction.declared, tx, inputs, output, keys)
            }
        }
    }

    fn begin_command(
        &self,
        command: &CommandWork,
        tx: Tx,
        output: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        let (name, body) =
            command.message.as_ref().map_err(|reason| Unreadable::Body(reason.clone()))?;
        match (self.service.handler(name), output) {
            (Some(Handler::Action { run, .. }), None) => run(tx, body, keys),
            (Some(Handler::Compensation { run }), Some(output)) => run(tx, body, output, keys),
            // A refusal is a decision of the business, and final. The next version of this program
            // may know the message.
            (Some(Handler::Compensation { .. }) | None, None) => {
                Err(Unreadable::Name(self.unknown(name, Direction::Action)))
            }
            (Some(Handler::Action { .. }) | None, Some(_)) => {
                Err(Unreadable::Name(self.unknown(name, Direction::Compensation)))
            }
        }
    }

    fn begin_reaction(
        &self,
        declared: &Declared,
        tx: Tx,
        inputs: &Inputs,
        emitted: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        match (emitted, inputs, &declared.react, &declared.undo) {
            (Some(emitted), _, _, Some(undo)) => (undo.run)(tx, emitted, keys),
            (None, Inputs::All { bodies, .. }, Some(react), _) => react(tx, bodies, keys),
            (Some(_), _, _, None) | (None, _, _, _) => {
                let (service, reaction) = (self.service.name(), &declared.name);
                let why = format!("service '{service}' has no reaction '{reaction}'");
                Err(Unreadable::Output(why))
            }
        }
    }

    /// Returns why the record is a dead letter although its handler is not called. The check is
    /// repeated for each delivery, because a crash between commit and publish would otherwise lose
    /// the dead letter.
    fn poison(&self, item: &WorkItem) -> Option<String> {
        let message = match &item.work {
            Work::Command(command) => &command.message,
            Work::Reaction(_) => return None, // see `undecodable`
        };
        let (name, body) = match message {
            Ok(message) => message,
            Err(reason) => return Some(reason.clone()),
        };
        match (item.key.direction, self.service.handler(name)) {
            (Direction::Action, Some(Handler::Action { check, .. })) => {
                check(body).err().map(|error| error.to_string())
            }
            // a name without a handler is a fault of the deployment, not of the record
            (Direction::Action, Some(Handler::Compensation { .. }) | None)
            | (Direction::Compensation | Direction::Query, _) => None,
        }
    }

    fn unknown(&self, name: &Name, direction: Direction) -> String {
        let known: Vec<&str> = self.service.knows().collect();
        let service = self.service.name();
        format!("service '{service}' has no {direction} '{name}'; it knows: {}", known.join(", "))
    }
}

impl Preparation {
    /// Returns whether nothing new must be stored.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Preparation::Answered(answer) => answer.waits || !answer.fresh,
            Preparation::Running(_) => false,
        }
    }
}

/// Returns why a repeated event is a dead letter: its reaction refused it as undecodable. The
/// refusal does not tell which event it was, so it must be the only one that triggers the step.
fn undecodable(item: &WorkItem, stored: &Outcome) -> Option<String> {
    let (Work::Reaction(reaction), Outcome::Refused(refusal)) = (&item.work, stored) else {
        return None;
    };
    let declared = &reaction.declared;
    let triggers = match item.key.direction {
        Direction::Compensation => declared.undo.as_ref().map_or(0, |undo| undo.on.len()),
        Direction::Action | Direction::Query => declared.inputs.len(),
    };
    let is_trigger = reaction.end.is_none() && triggers == 1;
    (refusal.code == code::UNDECODABLE && is_trigger).then(|| refusal.message.clone())
}

/// Answers an action that will never run.
fn never(end: ReactionEnd) -> Preparation {
    let refusal = match end {
        ReactionEnd::Overdue => {
            Refusal::new(code::OVERDUE, "the deadline passed before it ran: it never will")
        }
        ReactionEnd::ChainEnded => {
            Refusal::new(code::ENDED, "the chain ended before it ran: it never will")
        }
    };
    Preparation::Answered(Box::new(Answer::fresh(Outcome::Refused(refusal))))
}
