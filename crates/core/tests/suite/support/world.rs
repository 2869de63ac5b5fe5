//! Random definitions, and participants with a correct barrier, over messages that are lost,
//! repeated, late and out of order. One seed is one run.

mod services;

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::apply::apply;
use sagamore_core::decide::{Bound, decide_within};
use sagamore_core::definition::{Kind, Repeat};
use sagamore_core::journal::{Change, Entry, StepChange};
use sagamore_core::saga::{IgnoreReason, Input, Rescue, Status, StepStatus, Verb, Wait};
use sagamore_core::transitions::{Cell, used};
use sagamore_core::{
    Allowed, Command, Direction, Name, Outcome, Reply, ReplyOutcome, Saga, StepSet, Timestamp,
};

use super::{awaiting, begin, journalled, random_plan};

/// A participant's state of one step, and its random behaviour.
#[derive(Default)]
struct Barrier {
    action: Option<(u32, Stored)>,
    undo: Option<(u32, Stored)>,
    /// Generations up to this one are refused.
    action_refused_up_to: u32,
    undo_refused_up_to: u32,
    /// The participant's outputs lack the promised fields.
    mute: bool,
    /// The results of a participant without a barrier, by command id.
    results: BTreeMap<String, Outcome>,
    /// The ids of commands that a gateway will not send again.
    sent: BTreeSet<String>,
}

#[derive(Clone)]
enum Stored {
    Done,
    Refused,
    Tombstone,
}

/// One run.
pub struct World {
    pub saga: Saga,
    pub cells: BTreeSet<Cell>,
    /// In the order in which they took place.
    pub effects: Vec<(usize, Direction)>,
    journal: Vec<Entry>,
    /// The journal so far.
    journalled: Saga,
    barriers: Vec<Barrier>,
    /// Decided commands that the transport has not acknowledged.
    unsent: Vec<Command>,
    /// The time of the first acknowledgement of each attempt.
    sent_at: BTreeMap<(String, u32), Timestamp>,
    /// The ids of commands that are too large to send.
    too_large: BTreeSet<String>,
    commands: Vec<Command>,
    replies: Vec<Reply>,
    now: Timestamp,
    rng: fastrand::Rng,
    healed: bool,
    by_hand: BTreeSet<usize>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let saga = begin(random_plan(&mut rng));
        let grumpy = rng.u8(0..4);
        let barriers = saga.steps.iter().map(|_| Barrier {
            action_refused_up_to: if rng.u8(0..8) < grumpy { rng.u32(1..3) } else { 0 },
            undo_refused_up_to: if rng.u8(0..8) < grumpy { rng.u32(1..3) } else { 0 },
            mute: rng.u8(0..12) == 0,
            ..Barrier::default()
        });
        World {
            barriers: barriers.collect(),
            cells: BTreeSet::new(),
            effects: Vec::new(),
            journal: Vec::new(),
            journalled: saga.clone(),
            unsent: Vec::new(),
            sent_at: BTreeMap::new(),
            too_large: BTreeSet::new(),
            commands: Vec::new(),
            replies: Vec::new(),
            now: saga.started_at,
            healed: false,
            by_hand: BTreeSet::new(),
            saga,
            rng,
        }
    }

    /// Runs a faulty phase, then a fault-free one, until the saga is at rest.
    pub fn run(mut self) -> World {
        if self.rng.u8(0..40) > 0 {
            self.input(&Input::Start).unwrap();
        }
        for _ in 0..self.rng.usize(0..80) {
            self.anything();
        }
        if self.saga.revision == 0 {
            self.input(&Input::Start).unwrap();
        }
        self.healed = true;
        let patient = self.rng.bool();
        for _ in 0..2_000 {
            if self.saga.status.has_ended() || (self.saga.status == Status::Stuck && !patient) {
                return self;
            }
            self.peace();
        }
        panic!("the saga never came to rest: {:?}", self.saga);
    }

    fn anything(&mut self) {
        match self.rng.u8(0..30) {
            0..6 => self.serve_one(),
            6..12 => self.receive_one(),
            12 => drop(take(&mut self.commands, &mut self.rng, false)),
            13 => drop(take(&mut self.replies, &mut self.rng, false)),
            14..17 => self.pass_time(),
            17 => {
                if self.rng.u8(0..6) == 0 {
                    let _ = self.input(&Input::Cancel { reason: None });
                }
            }
            18 => self.decide_by_hand(),
            19 => self.set_aside(),
            20 => self.long_silence(),
            21..27 => self.publish(),
            27 => self.reject(),
            28 => self.long_fault(),
            _ => self.take_over(),
        }
    }

    fn peace(&mut self) {
        if !self.unsent.is_empty() {
            self.publish();
        } else if !self.commands.is_empty() {
            self.serve_one();
        } else if !self.replies.is_empty() {
            self.receive_one();
        } else if self.saga.status == Status::Stuck {
            self.decide_by_hand();
        } else {
            self.now = self
                .now
                .max(self.saga.next_due().expect("a saga that is not at rest waits for something"));
            self.input(&Input::Tick).unwrap();
        }
    }

    /// Delivers decided commands, and acknowledges each now or later.
    fn publish(&mut self) {
        for command in std::mem::take(&mut self.unsent) {
            self.saga.acknowledge(&command.key, command.attempt, self.now);
            self.sent_at.entry((command.id(), command.attempt)).or_insert(self.now);
            self.commands.push(command);
        }
    }

    /// Rejects a command, permanently or temporarily.
    fn reject(&mut self) {
        if let Some(command) = take(&mut self.unsent, &mut self.rng, false) {
            let (key, attempt, lasts) = (command.key.clone(), command.attempt, self.rng.bool());
            let sent = self.saga.clone().acknowledge(&key, attempt, self.now);
            let taken =
                self.input(&Input::Rejected { key, attempt, reason: "denied".into(), lasts });
            assert_eq!(taken.is_ok(), sent, "a rejection counts while its attempt is being sent");
        }
    }

    /// Lets a step meet faults, often for so long that verbs are offered.
    fn long_fault(&mut self) {
        for _ in 0..self.rng.usize(0..200) {
            let Some(due) = self.saga.next_due().filter(|_| self.unsent.is_empty()) else {
                return self.publish();
            };
            self.now = self.now.max(due);
            let _ = self.input(&Input::Tick);
            self.publish();
            self.commands.truncate(8);
            if !self.saga.allowed_actions(self.now).is_empty() && self.rng.u8(0..8) == 0 {
                return self.decide_by_hand();
            }
        }
    }

    fn serve_one(&mut self) {
        let twice = !self.healed && self.rng.u8(0..4) == 0;
        if let Some(command) = take(&mut self.commands, &mut self.rng, twice) {
            self.execute(&command);
        }
    }

    /// Executes a command at its participant, which replies at most twice.
    fn execute(&mut self, command: &Command) {
        let outcomes: Vec<ReplyOutcome> = match self.repeat_of(command) {
            Repeat::Barrier => self.serve(command).into_iter().collect(),
            Repeat::ByKey => self.serve_by_key(command).into_iter().collect(),
            Repeat::Never => self.serve_once(command),
        };
        let reply = |outcome| Reply { key: command.key.clone(), outcome, trace: None };
        self.replies.extend(outcomes.into_iter().map(reply));
    }

    fn repeat_of(&self, command: &Command) -> Repeat {
        self.saga.definition.contract(&command.participant).repeat
    }

    fn receive_one(&mut self) {
        let twice = !self.healed && self.rng.u8(0..4) == 0;
        if let Some(reply) = take(&mut self.replies, &mut self.rng, twice) {
            let _ = self.input(&Input::Reply(reply));
        }
    }

    fn pass_time(&mut self) {
        if self.rng.bool() {
            self.now = Timestamp(self.now.0 + self.rng.i64(1..3_000));
        } else if let Some(due) = self.saga.next_due() {
            self.now = self.now.max(due);
        }
        let _ = self.input(&Input::Tick);
    }

    /// Uses a verb that the saga offers, and sometimes one that it does not.
    fn decide_by_hand(&mut self) {
        let allowed = self.saga.allowed_actions(self.now);
        let rescues = allowed.iter().filter_map(|allowed| match allowed {
            Allowed::Rescue { step, verb } => Some((step.clone(), *verb)),
            Allowed::Cancel => None,
        });
        let rescues: Vec<(Name, Verb)> = rescues.collect();
        let any = &self.saga.definition.steps[self.rng.usize(0..self.saga.steps.len())].name;
        let any = (any.clone(), [Verb::Retry, Verb::Skip, Verb::Resolve][self.rng.usize(0..3)]);
        let (step, verb) = self.rng.choice(&rescues).cloned().unwrap_or(any);
        if verb == Verb::Retry && self.would_repeat(&step) {
            return;
        }
        let index = self.saga.definition.index_of(&step).unwrap();
        let offered = rescues.contains(&(step.clone(), verb));
        let taken = self.input(&Input::Rescue(Rescue::new(step, verb, "ada"))).is_ok();
        assert_eq!(taken, offered, "exactly the offered verbs are accepted");
        if taken && !matches!(verb, Verb::Retry | Verb::Compensate) {
            self.by_hand.insert(index);
        }
    }

    /// Returns whether a retry might repeat an effect, because the participant never deduplicates.
    /// A real operator knows this risk.
    fn would_repeat(&self, step: &Name) -> bool {
        let index = self.saga.definition.index_of(step).unwrap();
        let action = &self.saga.definition.steps[index].action;
        let never = self.saga.definition.contract(&action.participant).repeat == Repeat::Never;
        let of_step = |command: &Command| command.key.step == *step;
        let in_flight = self.commands.iter().chain(&self.unsent).any(of_step);
        let has_effect = self.effects.iter().any(|(other, _)| *other == index);
        never && (in_flight || has_effect)
    }

    /// Sets a random step aside.
    fn set_aside(&mut self) {
        if self.rng.bool() {
            return;
        }
        let index = self.rng.usize(0..self.saga.steps.len());
        let awaited = self.saga.steps[index].wait.due().is_some();
        let undoing = self.saga.steps[index].status == StepStatus::Undoing;
        let plan = &self.saga.definition.steps[index];
        let contract = self.saga.definition.contract(&plan.action.participant);
        let unknown = self.saga.steps[index].status == StepStatus::Unknown;
        let right = match (undoing, unknown && contract.is_queried()) {
            (true, _) => Direction::Compensation,
            (false, true) => Direction::Query,
            (false, false) => Direction::Action,
        };
        let wrong = if undoing { Direction::Action } else { Direction::Compensation };
        let direction = if self.rng.u8(0..4) == 0 { wrong } else { right };
        let step = self.saga.definition.steps[index].name.clone();
        let taken =
            self.input(&Input::SetAside { step, direction, reason: "a NUL in a text".into() });
        let ended = self.saga.status.has_ended();
        let fits = awaited && direction == right;
        assert_eq!(
            taken,
            if ended {
                Err(IgnoreReason::Ended)
            } else {
                fits.then_some(()).ok_or(IgnoreReason::Stale)
            }
        );
    }

    /// Withholds replies until repeats are no longer written, with an occasional fault.
    fn long_silence(&mut self) {
        for _ in 0..self.rng.usize(0..60) {
            self.publish();
            let Some(due) = self.saga.next_due() else { return };
            self.now = self.now.max(due);
            let _ = self.input(&Input::Tick);
            if self.rng.u8(0..4) == 0
                && let Some(command) = take(&mut self.commands, &mut self.rng, false)
            {
                let reply = Reply {
                    key: command.key,
                    outcome: Outcome::Fault("broken".into()).into(),
                    trace: None,
                };
                let _ = self.input(&Input::Reply(reply));
            }
            self.commands.truncate(8);
        }
    }

    /// Reloads the saga from its journal and resends its outstanding commands, as another
    /// orchestrator does.
    fn take_over(&mut self) {
        if self.rng.u8(0..3) > 0 || self.journal.is_empty() {
            return;
        }
        let saga = self.folded();
        assert_eq!(saga, self.journalled);
        self.unsent = saga
            .outstanding()
            .into_iter()
            .map(|(step, direction)| saga.command(step, direction))
            .collect();
        self.saga = saga;
    }

    /// Decides, and asserts the invariants of every moment.
    pub fn input(&mut self, input: &Input) -> Result<(), IgnoreReason> {
        let before = self.saga.clone();
        if !self.healed && self.rng.u8(0..16) == 0 {
            let step = self.rng.usize(0..self.saga.steps.len());
            let direction =
                if self.rng.bool() { Direction::Action } else { Direction::Compensation };
            let name = &self.saga.definition.steps[step].name;
            self.too_large.insert(format!("{name}/{direction}"));
        } else if self.healed {
            self.too_large.clear();
        }
        let too_large = self.too_large.clone();
        let rejects = |command: &Command| {
            let is_large =
                too_large.contains(&format!("{}/{}", command.key.step, command.key.direction));
            is_large.then(|| "too large".to_owned())
        };
        let decision = match decide_within(
            self.saga.clone(),
            input,
            self.now,
            &mut self.rng,
            Bound { always: 0, rejects: &rejects },
        ) {
            Ok(decision) => decision,
            Err((saga, ignored)) => {
                assert_eq!(saga, before, "an ignored input changes nothing");
                return Err(ignored);
            }
        };
        assert!(!before.status.has_ended(), "a final status ignores inputs");
        let mut folded = before;
        for change in &decision.changes {
            self.cells.extend(used(&folded, change));
            self.check_order(&folded, change);
            self.check_patience(&folded, change, input);
            check_resolved(&folded, change, input);
            apply(&mut folded, change, self.now).unwrap();
        }
        (folded.revision, folded.changed_at) = (decision.saga.revision, decision.saga.changed_at);
        assert_eq!(folded, decision.saga, "the changes reproduce the decision");
        self.unsent.extend(decision.commands());
        let before = std::mem::replace(&mut self.saga, decision.saga.clone());
        match decision.into_parts().1 {
            Some(entry) => {
                assert_eq!((entry.revision, entry.at), (before.revision + 1, self.now));
                self.journalled.advance(&entry).unwrap();
                self.journalled.input = self.saga.input.clone();
                self.journal.push(entry);
            }
            None => assert_eq!(
                (before.revision, before.changed_at),
                (self.saga.revision, self.saga.changed_at)
            ),
        }
        self.check_journal();
        Ok(())
    }

    /// Asserts the order: no undo after the pivot or before its dependents, and no action before
    /// its predecessors.
    fn check_order(&self, saga: &Saga, change: &Change) {
        let Some((step, direction)) = change.command() else { return };
        let index = saga.definition.index_of(step).unwrap();
        let graph = saga.definition.graph();
        let all = |set: StepSet, fine: &[StepStatus]| {
            set.iter().all(|other| fine.contains(&saga.steps[other].status))
        };
        match direction {
            Direction::Action => {
                assert!(
                    all(graph.ancestors[index], &[StepStatus::Done, StepStatus::Skipped]),
                    "sent before its turn"
                );
            }
            Direction::Query => {
                assert_eq!(saga.steps[index].status, StepStatus::Unknown, "queried although known");
            }
            Direction::Compensation => {
                let rest = [
                    StepStatus::Waiting,
                    StepStatus::Refused,
                    StepStatus::Undone,
                    StepStatus::Skipped,
                ];
                assert!(all(graph.descendants[index], &rest), "undone before its turn");
                let pivot = saga.definition.steps.iter().position(|step| step.kind == Kind::Pivot);
                let pivot = pivot.map(|pivot| saga.steps[pivot].status);
                let back = matches!(pivot, None | Some(StepStatus::Waiting | StepStatus::Refused));
                assert!(back, "undone after the pivot was sent");
            }
        }
    }

    /// Asserts that a reply is missed only after the command was sent and its timeout has passed.
    fn check_patience(&self, saga: &Saga, change: &Change, input: &Input) {
        let Change::Step { step, change: StepChange::Silent { .. } } = change else { return };
        let index = saga.definition.index_of(step).unwrap();
        let state = &saga.steps[index];
        if !state.wait.is_outstanding() || *input != Input::Tick {
            return; // the saga turns back and no longer awaits the step
        }
        let direction = match state.status {
            StepStatus::Undoing => Direction::Compensation,
            StepStatus::Unknown => Direction::Query,
            _ => Direction::Action,
        };
        let attempt = (saga.command(index, direction).id(), state.attempts);
        let sent_at = self.sent_at.get(&attempt).expect("a missed reply requires a sent command");
        let timeout = saga.definition.steps[index].patience.timeout();
        assert!(self.now >= sent_at.plus(timeout), "a reply is missed before its deadline");
    }

    fn check_journal(&self) {
        let (mut folded, saga) = (journalled(&self.journalled), journalled(&self.saga));
        for (folded, step) in folded.steps.iter_mut().zip(&saga.steps) {
            // deadlines run from the acknowledgement
            if let (Wait::Reply { .. }, Wait::Reply { due, .. }) = (folded.wait, step.wait) {
                folded.wait = awaiting(folded.wait, due);
            }
        }
        assert_eq!(folded.steps, saga.steps, "the journal folds to the same steps");
        assert_eq!(folded, saga, "the journal folds to the same saga");
    }

    fn folded(&self) -> Saga {
        let Saga { id, definition, reply_to, started_at, input, .. } = self.saga.clone();
        let mut folded =
            Saga::fold(id, definition, reply_to, started_at, self.journal.clone()).unwrap();
        folded.input = input;
        folded
    }

    /// Delivers every message that is still in flight, and asserts that none has an effect.
    pub fn check_rest(&mut self) {
        self.check_effects();
        self.publish();
        let commands = std::mem::take(&mut self.commands);
        let effects = self.effects_not_by_hand();
        for command in commands.iter().chain(&commands) {
            self.execute(command);
        }
        if self.saga.status.has_ended() {
            assert_eq!(self.effects_not_by_hand(), effects, "an effect after the end");
            for reply in std::mem::take(&mut self.replies) {
                assert_eq!(self.input(&Input::Reply(reply)), Err(IgnoreReason::Ended));
            }
            self.now = Timestamp(self.now.0 + 1_000_000_000);
            assert_eq!(self.input(&Input::Tick), Err(IgnoreReason::Ended));
            assert_eq!(self.input(&Input::Cancel { reason: None }), Err(IgnoreReason::Ended));
            assert_eq!(self.saga.next_due(), None);
            assert!(self.saga.allowed_actions(self.now).is_empty());
        } else {
            assert!(
                self.saga.stuck_steps(self.now).next().is_some(),
                "a stuck saga names the step that waits for a person"
            );
        }
        assert!(self.saga.outstanding().is_empty(), "at rest with an outstanding command");
        assert_eq!(self.input(&Input::Start), Err(IgnoreReason::AlreadyStarted));
    }

    /// Counts the effects. Those of steps that an operator decided while a command was in flight
    /// are left out, because they may still happen.
    fn effects_not_by_hand(&self) -> usize {
        self.effects.iter().filter(|(index, _)| !self.by_hand.contains(index)).count()
    }

    fn check_effects(&self) {
        for index in 0..self.saga.steps.len() {
            let count = |direction| {
                self.effects.iter().filter(|effect| **effect == (index, direction)).count()
            };
            let (actions, undos) = (count(Direction::Action), count(Direction::Compensation));
            // resolved by hand: without a barrier, the undo cannot know whether the action took
            // effect
            let by_hand = self.by_hand.contains(&index);
            assert!(actions <= 1 && undos <= 1, "an effect twice");
            assert!(undos <= actions || by_hand, "an undo of nothing");
            match self.saga.status {
                Status::Completed => {
                    assert!(undos == 0, "completed although a step was undone");
                    assert!(
                        actions == 1 || self.by_hand.contains(&index),
                        "completed although a step did not happen"
                    );
                }
                Status::Compensated => {
                    assert!(
                        actions == undos || self.by_hand.contains(&index),
                        "compensated although an effect remains"
                    );
                }
                Status::Stuck => {}
                Status::Running | Status::Compensating => panic!("not at rest"),
            }
        }
        let place = |index| {
            self.effects.iter().position(|effect| *effect == (index, Direction::Compensation))
        };
        for (later, ancestors) in self.saga.definition.graph().ancestors.iter().enumerate() {
            for earlier in ancestors.iter() {
                let by_hand = self.by_hand.contains(&later);
                if let (Some(later), Some(earlier), false) = (place(later), place(earlier), by_hand)
                {
                    assert!(later < earlier, "undone in the wrong order");
                }
            }
        }
    }
}

/// Asserts that without a barrier only a resolved action is undone, and that a command that may
/// have taken effect is repeated only by an operator.
fn check_resolved(saga: &Saga, change: &Change, input: &Input) {
    let Some((step, direction)) = change.command() else { return };
    let index = saga.definition.index_of(step).unwrap();
    let participant = &saga.definition.steps[index].action.participant;
    let (repeat, status) = (saga.definition.contract(participant).repeat, saga.steps[index].status);
    if repeat != Repeat::Barrier && direction == Direction::Compensation {
        let is_resolved = matches!(status, StepStatus::Done | StepStatus::Undoing);
        assert!(is_resolved, "undone before it is resolved: {status:?}");
    }
    // only a fault leads to a pause
    let is_after_fault = saga.steps[index].wait.is_retry();
    let is_repeat =
        status == StepStatus::Unknown || (status == StepStatus::Undoing && !is_after_fault);
    let by_operator = matches!(input, Input::Rescue(_));
    if repeat == Repeat::Never && direction != Direction::Query && is_repeat {
        assert!(by_operator, "sent again although it may have taken effect");
    }
}

fn take<T: Clone>(from: &mut Vec<T>, rng: &mut fastrand::Rng, keep: bool) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let index = rng.usize(0..from.len());
    Some(if keep { from[index].clone() } else { from.swap_remove(index) })
}
