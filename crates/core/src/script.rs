//! A test of a plan, written as the story it tells. Drives `decide` with a clock of its own; nothing else runs.
//!
//! Every line says what the saga asks now and what it is answered. Each asserts that nothing else is outstanding, and
//! a line that does not hold panics with what was expected, what is outstanding, and the journal so far.
//!
//! ```
//! # extern crate sagamore_core as sagamore;
//! use sagamore_core::saga::Status;
//! use sagamore_core::script::Script;
//! use sagamore_core::{Definition, Message, Refusal};
//!
//! #[derive(Message)]
//! struct Trip { city: String }
//!
//! #[derive(Message)]
//! #[message(to = "hotel", yields = Booked)]
//! struct Book { city: String }
//!
//! #[derive(Message)]
//! struct Booked { price: i64 }
//!
//! #[derive(Message)]
//! #[message(to = "hotel", undoes = Book)]
//! struct Unbook;
//!
//! #[derive(Message)]
//! #[message(to = "bank")]
//! struct Pay { price: i64 }
//!
//! let mut saga = Definition::named("trip");
//! let trip = saga.input::<Trip>();
//! let booked = saga.step("book").asks(BookFrom { city: trip.city }).undone_by::<Unbook>().yields();
//! saga.pivot("pay").asks(PayFrom { price: booked.price });
//!
//! Script::given(saga.build().unwrap(), Trip { city: "Lahti".into() })
//!     .asks::<Book>().done(Booked { price: 80 })
//!     .asks_exactly(Pay { price: 80 }).refused(Refusal::new("no-money", "the account is empty"))
//!     .undoes(Unbook).done()
//!     .ends(Status::Compensated);
//! ```

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::apply::apply;
use crate::body::Body;
use crate::decide::decide;
use crate::definition::Definition;
use crate::id::{Direction, Name, SagaId, StepKey};
use crate::message::{Command, IntoRefusal, Outcome, Reply, ReplyTo};
use crate::saga::{Entry, Ignored, Input, Rescue, Saga, Status, Verb};
use crate::time::Timestamp;
use crate::typed::{Action, Message, Undoes};

/// A saga in the middle of its story.
pub struct Script {
    saga: Saga,
    now: Timestamp,
    rng: fastrand::Rng,
    entries: Vec<Entry>,
    brokers_are_unavailable: bool,
}

/// The action `M` is asked; say what comes of it.
pub struct Asked<M> {
    script: Script,
    command: Command,
    message: PhantomData<fn() -> M>,
}

/// A compensation is asked; say what comes of it.
pub struct Undoing {
    script: Script,
    command: Command,
}

impl Script {
    /// A saga of this definition, started with `input`.
    #[track_caller]
    pub fn given(definition: impl Into<Arc<Definition>>, input: impl Serialize) -> Script {
        let definition = definition.into();
        let input = Body::of(&input).expect("the input is written as JSON");
        if let Err(lack) = definition.check_input(&input) {
            panic!("{lack}: {}", input.as_str());
        }
        let id = SagaId::new(&definition.name, "script").expect("the key is legal");
        let reply_to = ReplyTo { topic: "script.replies".to_owned(), partition: 0 };
        let now = Timestamp(0);
        let saga = Saga::begin(id, definition, reply_to, input, now);
        let mut script =
            Script { saga, now, rng: fastrand::Rng::with_seed(0), entries: Vec::new(), brokers_are_unavailable: false };
        script.take("a start", &Input::Start);
        script
    }

    /// The action `M` is all that is asked. A pause before another attempt passes by itself.
    #[track_caller]
    pub fn asks<M: Action>(self) -> Asked<M> {
        self.asks_all([M::NAME]).answering()
    }

    /// The action `M` is all that is asked, with exactly these fields.
    #[track_caller]
    pub fn asks_exactly<M: Action>(self, message: M) -> Asked<M> {
        let asked = self.asks::<M>();
        asked.script.carries(&asked.command, &message);
        asked
    }

    /// What undoes a step is all that is asked, with exactly these fields. A pause passes by itself.
    #[track_caller]
    pub fn undoes<C: Undoes>(self, compensation: C) -> Undoing {
        let undoing = self.undoes_all([C::NAME]).undoing::<C>();
        undoing.script.carries(&undoing.command, &compensation);
        undoing
    }

    /// These actions are asked, in parallel, and nothing else: by the messages' names. Go on with [`Script::answering`].
    #[track_caller]
    pub fn asks_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.waits_for(Direction::Action, &messages)
    }

    /// These compensations are asked, in parallel, and nothing else. Go on with [`Script::undoing`].
    #[track_caller]
    pub fn undoes_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.waits_for(Direction::Compensation, &messages)
    }

    /// One of several actions that are asked.
    #[track_caller]
    pub fn answering<M: Action>(self) -> Asked<M> {
        let command = self.outstanding(Direction::Action, M::NAME);
        Asked { script: self, command, message: PhantomData }
    }

    /// One of several compensations that are asked.
    #[track_caller]
    pub fn undoing<C: Undoes>(self) -> Undoing {
        let command = self.outstanding(Direction::Compensation, C::NAME);
        Undoing { script: self, command }
    }

    /// An answer to the action `M` that comes late, or twice. Whether it still counts is for the next lines to say.
    #[track_caller]
    pub fn late<M: Action>(mut self, output: M::Output) -> Script {
        let steps = &self.saga.definition.steps;
        let Some(step) = steps.iter().position(|step| step.action.message.as_str() == M::NAME) else {
            self.complain(&format!("a step that asks for '{}'", M::NAME))
        };
        let command = self.saga.command(step, Direction::Action);
        let reply = Reply { key: command.key, outcome: done(&output), trace: None };
        let _either_way = self.feed(&Input::Reply(reply));
        self
    }

    /// Time passes, and whatever is due by then is done.
    pub fn time_passes(mut self, time: Duration) -> Script {
        self.pass_until(self.now.plus(time));
        self
    }

    /// From here on the transport acknowledges no command: what is asked is on its way, and no deadline runs for it.
    pub fn brokers_become_unavailable(mut self) -> Script {
        self.brokers_are_unavailable = true;
        self
    }

    /// The transport acknowledges every command that is on its way: from now on their deadlines run.
    pub fn brokers_recover(mut self) -> Script {
        self.brokers_are_unavailable = false;
        self.acknowledge();
        self
    }

    /// Somebody wants it undone, and it is not too late.
    #[track_caller]
    pub fn cancel(mut self) -> Script {
        self.take("a cancellation in time", &Input::Cancel { reason: None });
        self
    }

    /// Somebody wants it undone, but the pivot was asked already.
    #[track_caller]
    pub fn cancel_comes_too_late(mut self) -> Script {
        match self.feed(&Input::Cancel { reason: None }) {
            Err(Ignored::TooLate) => self,
            other => self.complain(&format!("a cancellation to come too late, but it gave {other:?}")),
        }
    }

    /// An operator has a refused step asked again, in a new generation.
    #[track_caller]
    pub fn retry(self, step: &str) -> Script {
        self.rescue(step, Verb::Retry)
    }

    /// An operator passes a step over.
    #[track_caller]
    pub fn skip(self, step: &str) -> Script {
        self.rescue(step, Verb::Skip)
    }

    /// An operator did by hand what a step should have done, or its undo.
    #[track_caller]
    pub fn resolve(self, step: &str) -> Script {
        self.rescue(step, Verb::Resolve)
    }

    /// Only a person can decide now.
    #[track_caller]
    pub fn is_stuck(self) -> Script {
        self.rests_as(Status::Stuck)
    }

    /// The saga is at rest in this status, and nothing is outstanding.
    #[track_caller]
    pub fn ends(self, status: Status) {
        self.rests_as(status);
    }

    /// The saga as it stands, for whatever else a test wants to know.
    pub fn saga(&self) -> &Saga {
        &self.saga
    }
}

impl<M: Action> Asked<M> {
    /// It holds, and gives this.
    #[track_caller]
    pub fn done(self, output: M::Output) -> Script {
        self.script.answered(self.command, done(&output))
    }

    /// The business says no.
    #[track_caller]
    pub fn refused(self, refusal: impl IntoRefusal) -> Script {
        self.script.answered(self.command, Outcome::Refused(refusal.into_refusal()))
    }

    /// Something broke in the participant.
    #[track_caller]
    pub fn faults(self, fault: &str) -> Script {
        self.script.answered(self.command, Outcome::Fault(fault.to_owned()))
    }

    /// No answer comes, and the deadline for it passes.
    pub fn silence(self) -> Script {
        self.script.silence(&self.command)
    }

    /// What is answered cannot be stored: the step is set aside for a person.
    #[track_caller]
    pub fn set_aside(self, reason: &str) -> Script {
        self.script.set_aside(self.command, reason)
    }

    /// Somebody wants the saga undone while the step is asked, and it is not too late.
    #[track_caller]
    pub fn cancel(self) -> Asked<M> {
        Asked { script: self.script.cancel(), ..self }
    }

    /// Somebody wants the saga undone while the step is asked, but the pivot was asked already.
    #[track_caller]
    pub fn cancel_comes_too_late(self) -> Asked<M> {
        Asked { script: self.script.cancel_comes_too_late(), ..self }
    }
}

impl Undoing {
    /// It is undone, or there was nothing to undo.
    #[track_caller]
    pub fn done(self) -> Script {
        self.script.answered(self.command, Outcome::Done(Body::empty()))
    }

    /// The business says that it cannot be undone.
    #[track_caller]
    pub fn refused(self, refusal: impl IntoRefusal) -> Script {
        self.script.answered(self.command, Outcome::Refused(refusal.into_refusal()))
    }

    /// Something broke in the participant.
    #[track_caller]
    pub fn faults(self, fault: &str) -> Script {
        self.script.answered(self.command, Outcome::Fault(fault.to_owned()))
    }

    /// What is answered cannot be stored: the undo is set aside for a person.
    #[track_caller]
    pub fn set_aside(self, reason: &str) -> Script {
        self.script.set_aside(self.command, reason)
    }

    /// No answer comes, and the deadline for it passes.
    pub fn silence(self) -> Script {
        self.script.silence(&self.command)
    }
}

impl Script {
    #[track_caller]
    fn answered(mut self, command: Command, outcome: Outcome) -> Script {
        let reply = Reply { key: command.key, outcome, trace: None };
        self.take("an answer that counts", &Input::Reply(reply));
        self
    }

    #[track_caller]
    fn set_aside(mut self, command: Command, reason: &str) -> Script {
        let StepKey { step, direction, .. } = command.key;
        self.take("a step that can be set aside", &Input::SetAside { step, direction, reason: reason.to_owned() });
        self
    }

    fn silence(mut self, command: &Command) -> Script {
        let step = self.saga.definition.index_of(&command.key.step).expect("the command is of this saga");
        let due = self.saga.steps[step].due.expect("what is outstanding has a deadline");
        self.pass_until(due);
        self
    }

    #[track_caller]
    fn rescue(mut self, step: &str, verb: Verb) -> Script {
        let step = Name::new(step).expect("a step has a legal name");
        let rescue = Rescue { step, verb, reason: "the script says so".to_owned() };
        self.take("a verb that is allowed", &Input::Rescue(rescue));
        self
    }

    /// Feeds what must not be ignored.
    #[track_caller]
    fn take(&mut self, what: &str, input: &Input) {
        if let Err(ignored) = self.feed(input) {
            self.complain(&format!("{what}, but it was ignored: {ignored}"));
        }
    }

    /// Decides, and makes sure that the changes are all there is.
    fn feed(&mut self, input: &Input) -> Result<(), Ignored> {
        let before = self.saga.clone();
        let decision = decide(before.clone(), input, self.now, &mut self.rng).map_err(|(_, ignored)| ignored)?;
        let (saga, mut told) = (decision.saga.clone(), before);
        let applied = decision.changes.iter().try_for_each(|change| apply(&mut told, change, self.now));
        (told.revision, told.changed_at) = (saga.revision, saga.changed_at);
        let bug = "the changes tell another saga: a bug of the core, please report it";
        assert_eq!(applied.map(|()| told).as_ref(), Ok(&saga), "{bug}");
        self.entries.extend(decision.into_parts().1);
        self.saga = saga;
        self.acknowledge();
        Ok(())
    }

    /// A command is acknowledged in the moment in which it is sent.
    fn acknowledge(&mut self) {
        if !self.brokers_are_unavailable {
            for Command { key, attempt, .. } in self.commands().collect::<Vec<_>>() {
                self.saga.acknowledge(&key, attempt, self.now);
            }
        }
    }

    /// Ticks at every moment at which something is due, and stops at `until`.
    fn pass_until(&mut self, until: Timestamp) {
        while let Some(due) = self.saga.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            if self.feed(&Input::Tick).is_err() {
                break;
            }
        }
        self.now = self.now.max(until);
    }

    /// Lets the pause before another attempt pass, when there is nothing else to wait for.
    fn pass_pauses(&mut self) {
        while self.saga.outstanding().is_empty() && self.saga.steps.iter().any(|step| step.backing_off) {
            let Some(due) = self.saga.next_due() else { break };
            self.pass_until(due);
        }
    }

    #[track_caller]
    fn waits_for(mut self, direction: Direction, messages: &[&str]) -> Script {
        self.pass_pauses();
        let mut wanted: Vec<_> = messages.iter().map(|message| (direction, (*message).to_owned())).collect();
        let mut asked: Vec<_> =
            self.commands().map(|command| (command.key.direction, command.name.to_string())).collect();
        wanted.sort();
        asked.sort();
        if wanted != asked {
            let verb = match direction {
                Direction::Action => "asked",
                Direction::Compensation => "asked as a compensation",
            };
            self.complain(&format!("{}, and nothing else, to be {verb}", messages.join(" and ")));
        }
        self
    }

    #[track_caller]
    fn rests_as(mut self, status: Status) -> Script {
        self.pass_pauses();
        if self.saga.status != status || self.commands().next().is_some() {
            self.complain(&format!("the saga to be {}, with nothing outstanding", status.as_str()));
        }
        self
    }

    #[track_caller]
    fn outstanding(&self, direction: Direction, message: &str) -> Command {
        let wanted = |command: &Command| command.key.direction == direction && command.name.as_str() == message;
        match self.commands().find(wanted) {
            Some(command) => command,
            None => self.complain(&format!("{message} to be outstanding")),
        }
    }

    #[track_caller]
    fn carries(&self, command: &Command, message: &impl Message) {
        let wanted = serde_json::to_value(message).expect("a message is written as JSON");
        let carried: Value = command.body.read().expect("a command's body is JSON");
        if wanted != carried {
            self.complain(&format!("{} to carry {wanted}, but it carries {carried}", command.name));
        }
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        self.saga.outstanding().into_iter().map(|(step, direction)| self.saga.command(step, direction))
    }

    /// Panics with all that helps to see why.
    #[track_caller]
    fn complain(&self, expected: &str) -> ! {
        let mut text = format!("expected {expected}\n\nthe saga is {}, and asks:", self.saga.status.as_str());
        let indent = |text: &mut String, line: &str| text.extend(["\n  ", line]);
        if self.commands().next().is_none() {
            indent(&mut text, "nothing");
        }
        for Command { name, body, key, .. } in self.commands() {
            indent(&mut text, &format!("{name} {} ({}, {})", body.as_str(), key.step, key.direction));
        }
        text.push_str("\n\nits journal:");
        for Entry { revision, at, changes, trace: _ } in &self.entries {
            changes.iter().for_each(|change| indent(&mut text, &format!("{revision} at {at} ms: {change:?}")));
        }
        panic!("{text}");
    }
}

fn done(output: &impl Message) -> Outcome {
    Outcome::Done(Body::of(output).expect("a message is written as JSON"))
}
