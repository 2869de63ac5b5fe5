//! A toy trip: two bookings, a pivotal payment, and a letter. Each move returns the resulting
//! changes as short words and asserts that the journal folds to the same saga.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod cards;
mod changed;
mod plans;
pub mod world;

pub use changed::Changed;
pub use plans::random_plan;

use std::sync::Arc;

use sagamore_core::definition::{Draft, Kind};
use sagamore_core::journal::{Change, Entry, SagaChange, StepChange};
use sagamore_core::saga::{IgnoreReason, Input, Rescue, Status, StepState, StepStatus, Verb, Wait};
use sagamore_core::{
    Body, Command, Definition, Direction, Name, Outcome, Refusal, Reply, ReplyOutcome, ReplyTo,
    Saga, SagaId, StepKey, Timestamp, decide,
};

/// One saga, its journal and a clock.
pub struct Play {
    pub saga: Saga,
    pub journal: Vec<Entry>,
    pub commands: Vec<Command>,
    pub now: Timestamp,
    pub rng: fastrand::Rng,
    /// Whether the transport acknowledges nothing.
    pub brokers_are_gone: bool,
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn json(text: &str) -> Body {
    Body::parse(text).unwrap()
}

/// Returns a step of the toy. Its action is `{name}.do`, its undo `{name}.undo`, and it yields a
/// `ticket`.
pub fn step(text: &str, kind: Kind, after: &[&str]) -> serde_json::Value {
    let command = |verb: &str| {
        serde_json::json!({"participant": "toy", "message": format!("{text}.{verb}"),
        "fields": {"traveller": "input.traveller"}})
    };
    let mut step = serde_json::json!({
        "name": text, "kind": kind, "after": after, "action": command("do"), "yields": ["ticket"],
        "patience": {"timeoutMs": 1000, "backoffMsMin": 100, "backoffMsMax": 800},
    });
    if kind == Kind::Compensatable {
        step["compensation"] = command("undo");
    }
    step
}

pub fn definition(steps: Vec<serde_json::Value>) -> Draft {
    let plan =
        serde_json::json!({"name": "trip", "version": 1, "input": ["traveller"], "steps": steps});
    serde_json::from_value(plan).unwrap()
}

/// Returns flight -> hotel -> pay (pivot) -> letter (retriable).
pub fn trip() -> Draft {
    definition(vec![
        step("flight", Kind::Compensatable, &[]),
        step("hotel", Kind::Compensatable, &["flight"]),
        step("pay", Kind::Pivot, &["hotel"]),
        step("letter", Kind::Retriable, &["pay"]),
    ])
}

/// Returns plan -> (flight, hotel, car) -> pay -> (letter, points) -> survey, with parallel steps
/// in parentheses.
pub fn wide_trip() -> Draft {
    definition(vec![
        step("plan", Kind::Compensatable, &[]),
        step("flight", Kind::Compensatable, &["plan"]),
        step("hotel", Kind::Compensatable, &["plan"]),
        step("car", Kind::Compensatable, &["plan"]),
        step("pay", Kind::Pivot, &["flight", "hotel", "car"]),
        step("letter", Kind::Retriable, &["pay"]),
        step("points", Kind::Retriable, &["pay"]),
        step("survey", Kind::Retriable, &["letter", "points"]),
    ])
}

pub fn begin(draft: Draft) -> Saga {
    let definition = Definition::try_from(draft).unwrap();
    let id = SagaId::new(&definition.name, "7").unwrap();
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 3 };
    Saga::begin(
        id,
        Arc::new(definition),
        reply_to,
        json(r#"{"traveller":"ada"}"#),
        Timestamp(1_000_000),
    )
}

impl Play {
    pub fn of(draft: Draft) -> Play {
        let saga = begin(draft);
        let now = saga.started_at;
        let rng = fastrand::Rng::with_seed(7);
        Play { saga, journal: Vec::new(), commands: Vec::new(), now, rng, brokers_are_gone: false }
    }

    /// Starts a saga and completes these steps.
    pub fn with_done(draft: Draft, steps: &[&str]) -> Play {
        let mut play = Play::of(draft);
        play.start();
        steps.iter().for_each(|step| drop(play.done(step)));
        play
    }

    pub fn input(&mut self, input: &Input) -> Result<Vec<String>, IgnoreReason> {
        let before = self.saga.clone();
        match decide(self.saga.clone(), input, self.now, &mut self.rng) {
            Ok(decision) => {
                assert!(!decision.changes.is_empty(), "a decision changes something");
                self.commands.extend(decision.commands());
                let words = decision.changes.iter().map(words).collect();
                let (saga, entry) = decision.into_parts();
                self.saga = saga;
                self.acknowledge();
                if let Some(entry) = entry {
                    let stored = serde_json::to_string(&entry).unwrap();
                    self.journal.push(serde_json::from_str(&stored).unwrap());
                }
                assert_eq!(
                    journalled(&self.folded()),
                    journalled(&self.saga),
                    "the journal folds to the same saga"
                );
                Ok(words)
            }
            Err((saga, ignored)) => {
                assert_eq!(saga, before, "an ignored input changes nothing");
                Err(ignored)
            }
        }
    }

    /// Acknowledges every command in flight, unless the brokers are gone.
    pub fn acknowledge(&mut self) {
        if !self.brokers_are_gone {
            self.acknowledge_all();
        }
    }

    /// Acknowledges every command in flight.
    pub fn acknowledge_all(&mut self) {
        let saga = &self.saga;
        let sent: Vec<_> = saga
            .outstanding()
            .into_iter()
            .map(|(step, direction)| saga.command(step, direction))
            .collect();
        for command in sent {
            self.saga.acknowledge(&command.key, command.attempt, self.now);
        }
    }

    pub fn folded(&self) -> Saga {
        let Saga { id, definition, reply_to, started_at, .. } = self.saga.clone();
        let mut saga =
            Saga::fold(id, definition, reply_to, started_at, self.journal.clone()).unwrap();
        if !matches!(
            self.journal.first().and_then(|entry| entry.changes.first()),
            Some(Change::Saga(SagaChange::Started { .. }))
        ) {
            // a saga cancelled before its start has none in its journal
            saga.input = self.saga.input.clone();
        }
        saga
    }

    pub fn start(&mut self) -> Vec<String> {
        self.input(&Input::Start).unwrap()
    }

    pub fn reply(
        &mut self,
        step: &str,
        direction: Direction,
        outcome: impl Into<ReplyOutcome>,
    ) -> Result<Vec<String>, IgnoreReason> {
        let generation =
            self.saga.definition.index_of(&name(step)).map_or(1, |index| match direction {
                Direction::Action | Direction::Query => self.saga.steps[index].generation,
                Direction::Compensation => self.saga.steps[index].undo_generation,
            });
        self.reply_of(step, direction, generation, outcome)
    }

    pub fn reply_of(
        &mut self,
        step: &str,
        direction: Direction,
        generation: u32,
        outcome: impl Into<ReplyOutcome>,
    ) -> Result<Vec<String>, IgnoreReason> {
        let key = StepKey { saga: self.saga.id.clone(), step: name(step), direction, generation };
        self.input(&Input::Reply(Reply { key, outcome: outcome.into(), trace: None }))
    }

    pub fn action(
        &mut self,
        step: &str,
        outcome: impl Into<ReplyOutcome>,
    ) -> Result<Vec<String>, IgnoreReason> {
        self.reply(step, Direction::Action, outcome)
    }

    pub fn undo(&mut self, step: &str, outcome: Outcome) -> Result<Vec<String>, IgnoreReason> {
        self.reply(step, Direction::Compensation, outcome)
    }

    pub fn done(&mut self, step: &str) -> Vec<String> {
        self.action(step, ticket(step)).unwrap()
    }

    pub fn refused(&mut self, step: &str) -> Vec<String> {
        self.action(step, no()).unwrap()
    }

    pub fn undone(&mut self, step: &str) -> Vec<String> {
        self.undo(step, Outcome::Done(Body::empty())).unwrap()
    }

    pub fn undo_refused(&mut self, step: &str) -> Vec<String> {
        self.undo(step, no()).unwrap()
    }

    pub fn cancel(&mut self) -> Result<Vec<String>, IgnoreReason> {
        self.input(&Input::Cancel { reason: None })
    }

    pub fn rescue(&mut self, step: &str, verb: Verb) -> Result<Vec<String>, IgnoreReason> {
        self.input(&Input::Rescue(Rescue::new(name(step), verb, "ada: by telephone")))
    }

    pub fn set_aside(
        &mut self,
        step: &str,
        direction: Direction,
    ) -> Result<Vec<String>, IgnoreReason> {
        self.input(&Input::SetAside {
            step: name(step),
            direction,
            reason: "a NUL in a text".into(),
        })
    }

    /// Advances the clock to the next due time.
    pub fn tick(&mut self) -> Vec<String> {
        self.now = self.now.max(self.saga.next_due().expect("something is due some time"));
        self.input(&Input::Tick).unwrap()
    }

    pub fn state(&self, step: &str) -> &StepState {
        &self.saga.steps[self.saga.definition.index_of(&name(step)).unwrap()]
    }

    #[track_caller]
    pub fn stands(&self, status: Status) {
        assert_eq!(self.saga.status, status);
    }
}

/// Returns the part of a saga that its journal holds. It lacks acknowledgements and the repeats of
/// an unanswered command.
///
/// Of a repeated command the journal holds only that it was sent, and when first.
pub fn journalled(saga: &Saga) -> Saga {
    let mut journalled = saga.clone();
    for step in &mut journalled.steps {
        let is_repeated = step.attempts >= 8;
        if is_repeated {
            (step.attempts, step.fault) = (8, None);
        }
        let Some(due) = step.wait.due().map(|due| if is_repeated { Timestamp(0) } else { due })
        else {
            continue;
        };
        if is_repeated && step.status != StepStatus::Undoing {
            step.status = StepStatus::Asked;
        }
        if is_repeated || step.wait.is_outstanding() {
            step.wait = awaiting(step.wait, due);
        }
    }
    journalled
}

/// Returns the wait for a reply that is due at `due`, with the other times of `wait`.
pub fn awaiting(wait: Wait, due: Timestamp) -> Wait {
    let since = wait.asked_since().expect("a command is awaited");
    Wait::Reply { due, since, faulty_since: wait.faulty_since() }
}

pub fn ticket(of: &str) -> Outcome {
    Outcome::Done(json(&format!(r#"{{"ticket":"{of}-1"}}"#)))
}

pub fn no() -> Outcome {
    Outcome::Refused(Refusal::new("no", "not today"))
}

pub fn fault() -> Outcome {
    Outcome::Fault("the disk is full".into())
}

/// Returns a change in words: `send hotel`, `undo hotel`, `hotel done`, `turned back: cancelled`.
pub fn words(change: &Change) -> String {
    match change {
        Change::Step { step, change: StepChange::Rescued { verb, .. } } => {
            format!("{} {step}", verb.as_str())
        }
        other => match (other.command(), other.step()) {
            (Some((step, Direction::Action)), _) => format!("send {step}"),
            (Some((step, Direction::Compensation)), _) => format!("undo {step}"),
            (Some((step, Direction::Query)), _) => format!("query {step}"),
            (None, Some(step)) => format!("{step} {}", other.as_str()),
            (None, None) => other.as_str().to_owned(),
        },
    }
}
