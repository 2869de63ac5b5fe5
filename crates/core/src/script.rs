//! Tests of a definition, written as a sequence of lines. A test drives `decide` with a simulated
//! clock; no other code runs. [`Script`] uses message types; a [`Player`] uses names of messages.
//!
//! Each line states a command and its reply, and asserts that no other command is outstanding. A
//! failed line panics with the expected commands, the outstanding commands and the journal.
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

mod player;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::body::Body;
use crate::definition::Definition;
use crate::id::{Direction, Name, SagaId};
use crate::message::{Command, IntoRefusal, Outcome, ReplyOutcome};
use crate::saga::{Saga, Status, Verb};
use crate::typed::{Action, Message, Undoes};

pub use player::{Mismatch, Player};

/// A saga in the middle of its story.
pub struct Script {
    player: Player,
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

/// An outstanding query of the action `M`, which the next call answers.
pub struct Querying<M> {
    script: Script,
    command: Command,
    message: PhantomData<fn() -> M>,
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
        Script { player: Player::begin(definition, id, input) }
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

    /// Asserts that the query of the action `M` is the only outstanding command. A pause passes
    /// automatically.
    #[track_caller]
    pub fn queries<M: Action>(mut self) -> Querying<M> {
        let command = held(self.player.queries(M::NAME));
        Querying { script: self, command, message: PhantomData }
    }

    /// Asserts that these actions, by message name, are outstanding in parallel, and no other
    /// command. Continue with [`Script::answering`].
    #[track_caller]
    pub fn sends_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.play(|player| player.sends_all(Direction::Action, &messages))
    }

    /// Asserts that these compensations are outstanding in parallel, and no other command. Continue
    /// with [`Script::undoing`].
    #[track_caller]
    pub fn undoes_all<const N: usize>(self, messages: [&str; N]) -> Script {
        self.play(|player| player.sends_all(Direction::Compensation, &messages))
    }

    /// Selects one of several outstanding actions.
    #[track_caller]
    pub fn answering<M: Action>(self) -> SentAction<M> {
        let command = held(self.player.outstanding(Direction::Action, M::NAME));
        SentAction { script: self, command, message: PhantomData }
    }

    /// Selects one of several outstanding compensations.
    #[track_caller]
    pub fn undoing<C: Undoes>(self) -> Undoing {
        let command = held(self.player.outstanding(Direction::Compensation, C::NAME));
        Undoing { script: self, command }
    }

    /// Delivers a late or repeated reply to the action `M`. The following lines assert whether it
    /// counts.
    #[track_caller]
    pub fn late<M: Action>(self, output: M::Output) -> Script {
        self.play(|player| player.late(M::NAME, done(&output)))
    }

    /// Advances the clock and handles everything that is due by then.
    #[track_caller]
    pub fn time_passes(self, time: Duration) -> Script {
        self.play(|player| player.time_passes(time))
    }

    /// Stops the transport's acknowledgements. Commands stay in flight, without a running deadline.
    pub fn brokers_become_unavailable(mut self) -> Script {
        self.player.brokers_become_unavailable();
        self
    }

    /// Acknowledges every command in flight: their deadlines run from now.
    pub fn brokers_recover(mut self) -> Script {
        self.player.brokers_recover();
        self
    }

    /// Cancels the saga before its pivot's command is sent.
    #[track_caller]
    pub fn cancel(self) -> Script {
        self.play(Player::cancel)
    }

    /// Asserts that a cancellation is too late, because the pivot's command was sent.
    #[track_caller]
    pub fn cancel_comes_too_late(self) -> Script {
        self.play(Player::cancel_comes_too_late)
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

    /// Resolves a step as done or undone manually, as an operator.
    #[track_caller]
    pub fn resolve(self, step: &str) -> Script {
        self.rescue(step, Verb::Resolve)
    }

    /// Asserts that only a person can decide now.
    #[track_caller]
    pub fn is_stuck(self) -> Script {
        self.play(|player| player.rests_as(Status::Stuck))
    }

    /// Asserts that the saga has this status and no command is outstanding.
    #[track_caller]
    pub fn ends(self, status: Status) {
        self.play(|player| player.rests_as(status));
    }

    /// Returns the saga, for further assertions.
    pub fn saga(&self) -> &Saga {
        self.player.saga()
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

    /// Replies that the action is pending. Answer it later with [`Script::late`].
    #[track_caller]
    pub fn pending(self, delay: Duration) -> Script {
        self.script.answered(self.command, ReplyOutcome::Pending(delay))
    }

    /// Replies that the action may have happened.
    #[track_caller]
    pub fn unknown(self, reason: &str) -> Script {
        self.script.answered(self.command, ReplyOutcome::Unknown(reason.to_owned()))
    }

    /// Lets the reply's deadline pass.
    #[track_caller]
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

impl<M: Action> Querying<M> {
    /// Replies that the action succeeded with this output.
    #[track_caller]
    pub fn done(self, output: M::Output) -> Script {
        self.script.answered(self.command, done(&output))
    }

    /// Replies that the action was refused.
    #[track_caller]
    pub fn refused(self, refusal: impl IntoRefusal) -> Script {
        self.script.answered(self.command, Outcome::Refused(refusal.into_refusal()))
    }

    /// Replies that the action never ran, and will not run.
    #[track_caller]
    pub fn absent(self) -> Script {
        self.script.answered(self.command, ReplyOutcome::Absent)
    }

    /// Replies that the participant does not know.
    #[track_caller]
    pub fn unknown(self, reason: &str) -> Script {
        self.script.answered(self.command, ReplyOutcome::Unknown(reason.to_owned()))
    }

    /// Replies with a fault.
    #[track_caller]
    pub fn faults(self, fault: &str) -> Script {
        self.script.answered(self.command, Outcome::Fault(fault.to_owned()))
    }

    /// Lets the reply's deadline pass.
    #[track_caller]
    pub fn silence(self) -> Script {
        self.script.silence(&self.command)
    }
}

impl Undoing {
    /// Replies that the participant works on the undo.
    #[track_caller]
    pub fn pending(self, delay: Duration) -> Script {
        self.script.answered(self.command, ReplyOutcome::Pending(delay))
    }

    /// Replies that the undo may have happened.
    #[track_caller]
    pub fn unknown(self, reason: &str) -> Script {
        self.script.answered(self.command, ReplyOutcome::Unknown(reason.to_owned()))
    }

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
    #[track_caller]
    pub fn silence(self) -> Script {
        self.script.silence(&self.command)
    }
}

impl Script {
    #[track_caller]
    fn answered(self, command: Command, outcome: impl Into<ReplyOutcome>) -> Script {
        self.play(|player| player.answer(&command, outcome))
    }

    #[track_caller]
    fn set_aside(self, command: Command, reason: &str) -> Script {
        self.play(|player| player.set_aside(&command, reason))
    }

    #[track_caller]
    fn silence(self, command: &Command) -> Script {
        self.play(|player| player.silence(command))
    }

    #[track_caller]
    fn rescue(self, step: &str, verb: Verb) -> Script {
        let step = Name::new(step).expect("a step has a legal name");
        self.play(|player| player.rescue(step, verb))
    }

    #[track_caller]
    fn carries(&self, command: &Command, message: &impl Message) {
        let fields = Body::of(message).expect("a message is written as JSON");
        held(self.player.carries(command, &fields));
    }

    /// Plays one line, and panics if it does not hold.
    #[track_caller]
    fn play(mut self, line: impl FnOnce(&mut Player) -> Result<(), Mismatch>) -> Script {
        held(line(&mut self.player));
        self
    }
}

#[track_caller]
fn held<T>(line: Result<T, Mismatch>) -> T {
    match line {
        Ok(value) => value,
        Err(mismatch) => panic!("{mismatch}"),
    }
}

fn done(output: &impl Message) -> Outcome {
    Outcome::Done(Body::of(output).expect("a message is written as JSON"))
}
