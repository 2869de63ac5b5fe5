//! Plays a script line by line, with its own clock. A line that does not hold is a [`Mismatch`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::apply::apply;
use crate::body::Body;
use crate::decide::decide;
use crate::definition::{Definition, InputError};
use crate::id::{Direction, Name, SagaId, StepKey};
use crate::journal::Entry;
use crate::message::{Command, Outcome, Reply, ReplyOutcome, ReplyTo};
use crate::saga::{IgnoreReason, Input, Rescue, Saga, Status, Verb};
use crate::time::Timestamp;

/// Maximum timers of one line. A line that lets a day pass would otherwise run for minutes if the
/// definition's pauses are very short.
const TIMERS_MAX: usize = 10_000;

/// A saga in the middle of a script whose messages are known by name only.
#[derive(Clone, Debug)]
pub struct Player {
    saga: Saga,
    now: Timestamp,
    rng: fastrand::Rng,
    entries: Vec<Entry>,
    brokers_are_unavailable: bool,
}

/// A line that does not hold: its expectation, and the state of the saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The expectation, such as `hotel.book, and nothing else, to be sent`.
    pub expected: String,
    /// The saga's status.
    pub status: Status,
    /// The outstanding commands, a line each.
    pub outstanding: Vec<String>,
    /// The journal so far, a line for each change.
    pub journal: Vec<String>,
}

impl Player {
    /// Starts a saga with this business key and input.
    ///
    /// # Errors
    /// The definition does not accept the key or the input.
    pub fn start(
        definition: Arc<Definition>,
        id: SagaId,
        input: Body,
    ) -> Result<Player, InputError> {
        definition.check_start(id.key(), &input)?;
        Ok(Player::begin(definition, id, input))
    }

    /// Starts a saga with an input that is already checked.
    pub(super) fn begin(definition: Arc<Definition>, id: SagaId, input: Body) -> Player {
        let reply_to = ReplyTo { topic: "script.replies".to_owned(), partition: 0 };
        let now = Timestamp(0);
        let saga = Saga::begin(id, definition, reply_to, input, now);
        let mut player = Player {
            saga,
            now,
            rng: fastrand::Rng::with_seed(0),
            entries: Vec::new(),
            brokers_are_unavailable: false,
        };
        player.feed(&Input::Start).expect("a new saga starts");
        player
    }

    /// Returns the saga.
    pub fn saga(&self) -> &Saga {
        &self.saga
    }

    /// Expects exactly these commands, by message, to be outstanding. A pause before a resend
    /// passes automatically.
    pub fn sends_all(&mut self, direction: Direction, messages: &[&str]) -> Result<(), Mismatch> {
        self.pass_pauses()?;
        let mut wanted: Vec<_> =
            messages.iter().map(|message| (direction, (*message).to_owned())).collect();
        let mut sent: Vec<_> = self
            .commands()
            .map(|command| (command.key.direction, command.name.to_string()))
            .collect();
        wanted.sort();
        sent.sort();
        if wanted == sent {
            return Ok(());
        }
        let role = match direction {
            Direction::Action => "sent",
            Direction::Compensation => "sent as a compensation",
            Direction::Query => "sent as a query",
        };
        Err(self.mismatch(format!("{}, and nothing else, to be {role}", messages.join(" and "))))
    }

    /// Returns the first outstanding command with this message.
    pub fn outstanding(&self, direction: Direction, message: &str) -> Result<Command, Mismatch> {
        let wanted = |command: &Command| {
            command.key.direction == direction && command.name.as_str() == message
        };
        let found = self.commands().find(wanted);
        found.ok_or_else(|| self.mismatch(format!("{message} to be outstanding")))
    }

    /// Returns the outstanding query of the action with this message, and expects no other command.
    pub fn queries(&mut self, action: &str) -> Result<Command, Mismatch> {
        let mut steps = self.saga.definition.steps.iter();
        let step = steps.find(|step| step.action.message.as_str() == action);
        let query = step.and_then(|step| self.saga.definition.contract_of(step).query.clone());
        let Some(query) = query else {
            return Err(self.mismatch(format!("a query of '{action}' in the definition")));
        };
        self.sends_all(Direction::Query, &[query.as_str()])?;
        self.outstanding(Direction::Query, query.as_str())
    }

    /// Expects the command to carry exactly these fields.
    pub fn carries(&self, command: &Command, fields: &Body) -> Result<(), Mismatch> {
        if command.body.means_the_same(fields) {
            return Ok(());
        }
        let (name, wanted, carried) = (&command.name, fields.as_str(), command.body.as_str());
        Err(self.mismatch(format!("{name} to carry {wanted}, but it carries {carried}")))
    }

    /// Answers an outstanding command.
    pub fn answer(
        &mut self,
        command: &Command,
        outcome: impl Into<ReplyOutcome>,
    ) -> Result<(), Mismatch> {
        let reply = Reply { key: command.key.clone(), outcome: outcome.into(), trace: None };
        self.take("an answer that counts", &Input::Reply(reply))
    }

    /// Lets the deadline of an outstanding command pass.
    pub fn silence(&mut self, command: &Command) -> Result<(), Mismatch> {
        let step =
            self.saga.definition.index_of(&command.key.step).expect("the command is of this saga");
        let due = self.saga.steps[step].wait.due().expect("an outstanding command has a deadline");
        self.pass_until(due)
    }

    /// Sets the step of a command aside, as when its reply cannot be stored.
    pub fn set_aside(&mut self, command: &Command, reason: &str) -> Result<(), Mismatch> {
        let StepKey { step, direction, .. } = command.key.clone();
        let input = Input::SetAside { step, direction, reason: reason.to_owned() };
        self.take("a step that can be set aside", &input)
    }

    /// Delivers a late or repeated reply to the action with this message, which may have no effect.
    pub fn late(&mut self, message: &str, outcome: Outcome) -> Result<(), Mismatch> {
        let mut steps = self.saga.definition.steps.iter();
        let Some(step) = steps.position(|step| step.action.message.as_str() == message) else {
            return Err(self.mismatch(format!("a step that sends '{message}'")));
        };
        let key = self.saga.command(step, Direction::Action).key;
        let reply = Reply { key, outcome: outcome.into(), trace: None };
        let _either_way = self.feed(&Input::Reply(reply));
        Ok(())
    }

    /// Advances the clock and handles everything that is due by then.
    pub fn time_passes(&mut self, time: Duration) -> Result<(), Mismatch> {
        self.pass_until(self.now.plus(time))
    }

    /// Stops the transport's acknowledgements. Commands stay in flight, without a running deadline.
    pub fn brokers_become_unavailable(&mut self) {
        self.brokers_are_unavailable = true;
    }

    /// Acknowledges every command in flight: their deadlines run from now.
    pub fn brokers_recover(&mut self) {
        self.brokers_are_unavailable = false;
        self.acknowledge();
    }

    /// Cancels the saga before its pivot's command is sent.
    pub fn cancel(&mut self) -> Result<(), Mismatch> {
        self.take("a cancellation in time", &Input::Cancel { reason: None })
    }

    /// Expects a cancellation to be too late, because the pivot's command was sent.
    pub fn cancel_comes_too_late(&mut self) -> Result<(), Mismatch> {
        match self.feed(&Input::Cancel { reason: None }) {
            Err(IgnoreReason::TooLate) => Ok(()),
            Err(other) => Err(self
                .mismatch(format!("a cancellation that is too late, but it was ignored: {other}"))),
            Ok(()) => {
                Err(self.mismatch("a cancellation that is too late, but it was accepted".into()))
            }
        }
    }

    /// Decides a step, as an operator.
    pub fn rescue(&mut self, step: Name, verb: Verb) -> Result<(), Mismatch> {
        let rescue = Rescue::new(step, verb, "the script says so");
        self.take("a verb that is allowed", &Input::Rescue(rescue))
    }

    /// Expects the saga to have this status, with no outstanding command.
    pub fn rests_as(&mut self, status: Status) -> Result<(), Mismatch> {
        self.pass_pauses()?;
        if self.saga.status == status && self.commands().next().is_none() {
            return Ok(());
        }
        Err(self.mismatch(format!("the saga to be {}, with nothing outstanding", status.as_str())))
    }

    /// Feeds an input that must not be ignored.
    fn take(&mut self, what: &str, input: &Input) -> Result<(), Mismatch> {
        self.feed(input)
            .map_err(|ignored| self.mismatch(format!("{what}, but it was ignored: {ignored}")))
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
    fn pass_until(&mut self, until: Timestamp) -> Result<(), Mismatch> {
        let mut timers = 0;
        while let Some(due) = self.saga.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            if self.feed(&Input::Tick).is_err() {
                break;
            }
            timers += 1;
            if timers == TIMERS_MAX {
                let expected = format!("fewer than {TIMERS_MAX} timers in one line");
                return Err(self.mismatch(expected));
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Lets back-off pauses pass while no command is outstanding.
    fn pass_pauses(&mut self) -> Result<(), Mismatch> {
        while self.saga.outstanding().is_empty()
            && self.saga.steps.iter().any(|step| step.wait.is_retry())
        {
            let Some(due) = self.saga.next_due() else { break };
            self.pass_until(due)?;
        }
        Ok(())
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        self.saga
            .outstanding()
            .into_iter()
            .map(|(step, direction)| self.saga.command(step, direction))
    }

    fn mismatch(&self, expected: String) -> Mismatch {
        let command = |Command { name, body, key, .. }: Command| {
            format!("{name} {} ({}, {})", body.as_str(), key.step, key.direction)
        };
        let lines = |Entry { revision, at, changes, trace: _ }: &Entry| {
            let line = |change| {
                let change = serde_json::to_string(change).expect("a change is JSON");
                format!("{revision} at {at} ms: {change}")
            };
            changes.iter().map(line).collect::<Vec<String>>()
        };
        Mismatch {
            expected,
            status: self.saga.status,
            outstanding: self.commands().map(command).collect(),
            journal: self.entries.iter().flat_map(lines).collect(),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { expected, status, outstanding, journal } = self;
        write!(f, "expected {expected}\n\nthe saga is {}, and sends:", status.as_str())?;
        if outstanding.is_empty() {
            f.write_str("\n  nothing")?;
        }
        outstanding.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        f.write_str("\n\nits journal:")?;
        journal.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Mismatch {}
