//! A test of a definition, written as a story. It drives `decide` with its own clock; nothing else
//! runs.
//!
//! Each line states a command and its reply, and asserts that no other command is outstanding. A
//! line that does not hold panics with the expected and the outstanding commands and the journal so
//! far.
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
//! let book = BookFrom { city: trip.city };
//! let booked = saga.step("book").sends(book).undone_by::<Unbook>().yields();
//! saga.pivot("pay").sends(PayFrom { price: booked.price });
//!
//! Script::given(saga.build().unwrap(), Trip { city: "Lahti".into() })
//!     .sends::<Book>().done(Booked { price: 80 })
//!     .sends_exactly(Pay { price: 80 }).refused(Refusal::new("no-money", "empty account"))
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
use crate::saga::{Entry, IgnoreReason, Input, Rescue, Saga, Status, Verb};
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

/// An outstanding action `M`, which the next call answers.
pub struct SentAction<M> {
    script: Script,
    command: Command,
    message: PhantomData<fn() -> M>,
}

/// An outstanding compensation, which the next call answers.
pub struct Undoing {
    script: Script,
    command: Command,
}

impl Script {
    /// Starts a saga of this definition with `input`.
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
        let mut script = Script {
            saga,
            now,
            rng: fastrand::Rng::with_seed(0),
            entries: Vec::new(),
            brokers_are_unavailable: false,
        };
        script.take("a start", &Input::Start);
        script
    }

    /// Asserts that the action `M` is the only outstanding command. A pause before a resend passes
    /// automatically.
    #[track_caller]
    pub fn sends<M: Action>(self) -> SentAction<M> {
        self.sends_all([M::NAME]).answering()
    }

    /// Asserts that the action `M` with exactly these fields is the only outstanding command.
    #[track_caller]
    pub fn sends_exactly<M: Action>(self, message: M) -> SentAction<M> {
        let sent = self.sends::<M>();
        sent.script.carries(&sent.command, &message);
        sent
    }

    /// Asserts that this compensation with exactly these fields is the only outstanding command. A
    /// pause passes automatically.
    #[track_caller]
    pub fn undoes<C: Undoes>(self, compensation: C) -> Undoing {
        let undoing = self.undoes_all([C::NAME]).undoing::<C>();
        undoing.script.carries(&undoing.command, &compensation);
        undoing
    }

    /// Asserts that these actions, by message name, are outstanding in parallel, and no other
    /// command. Continue with [`Script::answering`].
    #[track_caller]
    pub fn sends_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.waits_for(Direction::Action, &messages)
    }

    /// Asserts that these compensations are outstanding in parallel, and no other command. Continue
    /// with [`Script::undoing`].
    #[track_caller]
    pub fn undoes_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.waits_for(Direction::Compensation, &messages)
    }

    /// Selects one of several outstanding actions.
    #[track_caller]
    pub fn answering<M: Action>(self) -> SentAction<M> {
        let command = self.outstanding(Direction::Action, M::NAME);
        SentAction { script: self, command, message: PhantomData }
    }

    /// Selects one of several outstanding compensations.
    #[track_caller]
    pub fn undoing<C: Undoes>(self) -> Undoing {
        let command = self.outstanding(Direction::Compensation, C::NAME);
        Undoing { script: self, command }
    }

    /// Delivers a late or repeated reply to the action `M`. The following lines assert whether it
    /// counts.
    #[track_caller]
    pub fn late<M: Action>(mut self, output: M::Output) -> Script {
        let steps = &self.saga.definition.steps;
        let Some(step) = steps.iter().position(|step| step.action.message.as_str() == M::NAME)
        else {
            self.fail(&format!("a step that sends '{}'", M::NAME))
        };
        let command = self.saga.command(step, Direction::Action);
        let reply = Reply { key: command.key, outcome: done(&output), trace: None };
        let _either_way = self.feed(&Input::Reply(reply));
        self
    }

    /// Advances the clock and handles everything that is due by then.
    pub fn time_passes(mut self, time: Duration) -> Script {
        self.pass_until(self.now.plus(time));
        self
    }

    /// Stops the transport's acknowledgements. Commands stay in flight, without a running deadline.
    pub fn brokers_become_unavailable(mut self) -> Script {
        self.brokers_are_unavailable = true;
        self
    }

    /// Acknowledges every command in flight: their deadlines run from now.
    pub fn brokers_recover(mut self) -> Script {
        self.brokers_are_unavailable = false;
        self.acknowledge();
        self
    }

    /// Cancels the saga before its pivot's command is sent.
    #[track_caller]
    pub fn cancel(mut self) -> Script {
        self.take("a cancellation in time", &Input::Cancel { reason: None });
        self
    }

    /// Asserts that a cancellation is too late, because the pivot's command was sent.
    #[track_caller]
    pub fn cancel_comes_too_late(mut self) -> Script {
        match self.feed(&Input::Cancel { reason: None }) {
            Err(IgnoreReason::TooLate) => self,
            other => self.fail(&format!("a cancellation to come too late, but it gave {other:?}")),
        }
    }

    /// Retries a refused step in a new generation, as an operator.
    #[track_caller]
    pub fn retry(self, step: &str) -> Script {
        self.rescue(step, Verb::Retry)
    }

    /// Skips a step, as an operator.
    #[track_caller]
    pub fn skip(self, step: &str) -> Script {
        self.rescue(step, Verb::Skip)
    }

    /// Resolves a step as done or undone by hand, as an operator.
    #[track_caller]
    pub fn resolve(self, step: &str) -> Script {
        self.rescue(step, Verb::Resolve)
    }

    /// Asserts that only a person can decide now.
    #[track_caller]
    pub fn is_stuck(self) -> Script {
        self.rests_as(Status::Stuck)
    }

    /// Asserts that the saga has this status and no command is outstanding.
    #[track_caller]
    pub fn ends(self, status: Status) {
        self.rests_as(status);
    }

    /// Returns the saga, for further assertions.
    pub fn saga(&self) -> &Saga {
        &self.saga
    }
}

impl<M: Action> SentAction<M> {
    /// Replies with success and this output.
    #[track_caller]
    pub fn done(self, output: M::Output) -> Script {
        self.script.answered(self.command, done(&output))
    }

    /// Replies with a refusal.
    #[track_caller]
    pub fn refused(self, refusal: impl IntoRefusal) -> Script {
        self.script.answered(self.command, Outcome::Refused(refusal.into_refusal()))
    }

    /// Replies with a fault.
    #[track_caller]
    pub fn faults(self, fault: &str) -> Script {
        self.script.answered(self.command, Outcome::Fault(fault.to_owned()))
    }

    /// Lets the reply's deadline pass.
    pub fn silence(self) -> Script {
        self.script.silence(&self.command)
    }

    /// Sets the step aside, as when its reply cannot be stored.
    #[track_caller]
    pub fn set_aside(self, reason: &str) -> Script {
        self.script.set_aside(self.command, reason)
    }

    /// Cancels the saga while the action is outstanding, in time.
    #[track_caller]
    pub fn cancel(self) -> SentAction<M> {
        SentAction { script: self.script.cancel(), ..self }
    }

    /// Asserts that a cancellation while the action is outstanding is too late.
    #[track_caller]
    pub fn cancel_comes_too_late(self) -> SentAction<M> {
        SentAction { script: self.script.cancel_comes_too_late(), ..self }
    }
}

impl Undoing {
    /// Replies with success: undone, or nothing to undo.
    #[track_caller]
    pub fn done(self) -> Script {
        self.script.answered(self.command, Outcome::Done(Body::empty()))
    }

    /// Replies with a refusal to undo.
    #[track_caller]
    pub fn refused(self, refusal: impl IntoRefusal) -> Script {
        self.script.answered(self.command, Outcome::Refused(refusal.into_refusal()))
    }

    /// Replies with a fault.
    #[track_caller]
    pub fn faults(self, fault: &str) -> Script {
        self.script.answered(self.command, Outcome::Fault(fault.to_owned()))
    }

    /// Sets the undo aside, as when its reply cannot be stored.
    #[track_caller]
    pub fn set_aside(self, reason: &str) -> Script {
        self.script.set_aside(self.command, reason)
    }

    /// Lets the reply's deadline pass.
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
        self.take(
            "a step that can be set aside",
            &Input::SetAside { step, direction, reason: reason.to_owned() },
        );
        self
    }

    fn silence(mut self, command: &Command) -> Script {
        let step =
            self.saga.definition.index_of(&command.key.step).expect("the command is of this saga");
        let due = self.saga.steps[step].wait.due().expect("an outstanding command has a deadline");
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

    /// Feeds an input that must not be ignored.
    #[track_caller]
    fn take(&mut self, what: &str, input: &Input) {
        if let Err(ignored) = self.feed(input) {
            self.fail(&format!("{what}, but it was ignored: {ignored}"));
        }
    }

    /// Decides, and asserts that the changes alone reproduce the decided saga.
    fn feed(&mut self, input: &Input) -> Result<(), IgnoreReason> {
        let before = self.saga.clone();
        let decision = decide(before.clone(), input, self.now, &mut self.rng)
            .map_err(|(_, ignored)| ignored)?;
        let (saga, mut folded) = (decision.saga.clone(), before);
        let applied =
            decision.changes.iter().try_for_each(|change| apply(&mut folded, change, self.now));
        (folded.revision, folded.changed_at) = (saga.revision, saga.changed_at);
        let bug = "the changes lead to another saga: a bug of the core, please report it";
        assert_eq!(applied.map(|()| folded).as_ref(), Ok(&saga), "{bug}");
        self.entries.extend(decision.into_parts().1);
        self.saga = saga;
        self.acknowledge();
        Ok(())
    }

    /// Acknowledges every command at once, unless the brokers are unavailable.
    fn acknowledge(&mut self) {
        if !self.brokers_are_unavailable {
            for Command { key, attempt, .. } in self.commands().collect::<Vec<_>>() {
                self.saga.acknowledge(&key, attempt, self.now);
            }
        }
    }

    /// Ticks at every due time until `until`.
    fn pass_until(&mut self, until: Timestamp) {
        while let Some(due) = self.saga.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            if self.feed(&Input::Tick).is_err() {
                break;
            }
        }
        self.now = self.now.max(until);
    }

    /// Lets back-off pauses pass while no command is outstanding.
    fn pass_pauses(&mut self) {
        while self.saga.outstanding().is_empty()
            && self.saga.steps.iter().any(|step| step.wait.is_retry())
        {
            let Some(due) = self.saga.next_due() else { break };
            self.pass_until(due);
        }
    }

    #[track_caller]
    fn waits_for(mut self, direction: Direction, messages: &[&str]) -> Script {
        self.pass_pauses();
        let mut wanted: Vec<_> =
            messages.iter().map(|message| (direction, (*message).to_owned())).collect();
        let mut sent: Vec<_> = self
            .commands()
            .map(|command| (command.key.direction, command.name.to_string()))
            .collect();
        wanted.sort();
        sent.sort();
        if wanted != sent {
            let verb = match direction {
                Direction::Action => "sent",
                Direction::Compensation => "sent as a compensation",
            };
            self.fail(&format!("{}, and nothing else, to be {verb}", messages.join(" and ")));
        }
        self
    }

    #[track_caller]
    fn rests_as(mut self, status: Status) -> Script {
        self.pass_pauses();
        if self.saga.status != status || self.commands().next().is_some() {
            self.fail(&format!("the saga to be {}, with nothing outstanding", status.as_str()));
        }
        self
    }

    #[track_caller]
    fn outstanding(&self, direction: Direction, message: &str) -> Command {
        let wanted = |command: &Command| {
            command.key.direction == direction && command.name.as_str() == message
        };
        match self.commands().find(wanted) {
            Some(command) => command,
            None => self.fail(&format!("{message} to be outstanding")),
        }
    }

    #[track_caller]
    fn carries(&self, command: &Command, message: &impl Message) {
        let wanted = serde_json::to_value(message).expect("a message is written as JSON");
        let carried: Value = command.body.read().expect("a command's body is JSON");
        if wanted != carried {
            self.fail(&format!("{} to carry {wanted}, but it carries {carried}", command.name));
        }
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        self.saga
            .outstanding()
            .into_iter()
            .map(|(step, direction)| self.saga.command(step, direction))
    }

    /// Panics with the expectation, the outstanding commands and the journal.
    #[track_caller]
    fn fail(&self, expected: &str) -> ! {
        let mut text =
            format!("expected {expected}\n\nthe saga is {}, and sends:", self.saga.status.as_str());
        let indent = |text: &mut String, line: &str| text.extend(["\n  ", line]);
        if self.commands().next().is_none() {
            indent(&mut text, "nothing");
        }
        for Command { name, body, key, .. } in self.commands() {
            indent(
                &mut text,
                &format!("{name} {} ({}, {})", body.as_str(), key.step, key.direction),
            );
        }
        text.push_str("\n\nits journal:");
        for Entry { revision, at, changes, trace: _ } in &self.entries {
            changes.iter().for_each(|change| {
                let change = serde_json::to_string(change).expect("a change is JSON");
                indent(&mut text, &format!("{revision} at {at} ms: {change}"))
            });
        }
        panic!("{text}");
    }
}

fn done(output: &impl Message) -> Outcome {
    Outcome::Done(Body::of(output).expect("a message is written as JSON"))
}
