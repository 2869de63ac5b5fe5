//! Participants with and without a barrier, which execute the commands of the world.

use std::time::Duration;

use sagamore_core::message::code;
use sagamore_core::{Body, Command, Direction, Outcome, Refusal, ReplyOutcome, StepKey};

use super::super::json;
use super::{Stored, World};

impl World {
    /// Executes a command with a barrier: claim, stored reply, tombstone, generations.
    pub(super) fn serve(&mut self, command: &Command) -> Option<ReplyOutcome> {
        if !self.healed && self.rng.u8(0..12) == 0 {
            return Some(self.pending());
        }
        self.serve_at_barrier(command).map(Into::into)
    }

    fn pending(&mut self) -> ReplyOutcome {
        ReplyOutcome::Pending(Duration::from_millis(self.rng.u64(0..5_000)))
    }

    /// Executes a command at a participant that deduplicates by command id, without tombstones.
    pub(super) fn serve_by_key(&mut self, command: &Command) -> Option<ReplyOutcome> {
        let index = self.saga.definition.index_of(&command.key.step).unwrap();
        if let Some(result) = self.barriers[index].results.get(&command.id()) {
            return Some(result.clone().into());
        }
        if command.expires_at.is_some_and(|expiry| expiry < self.now) && self.rng.bool() {
            return None;
        }
        match self.rng.u8(0..12) {
            0 if !self.healed => Some(self.pending()),
            1 if !self.healed => Some(Outcome::Fault("broken".into()).into()),
            2 if !self.healed => {
                self.call(index, command);
                Some(ReplyOutcome::Unknown("the connection broke".into()))
            }
            _ => Some(self.call(index, command).into()),
        }
    }

    /// Executes a command at a participant that never deduplicates, behind a gateway that calls it
    /// at most once for each command id.
    pub(super) fn serve_once(&mut self, command: &Command) -> Vec<ReplyOutcome> {
        let unknown = || ReplyOutcome::Unknown("sent before".into());
        let index = self.saga.definition.index_of(&command.key.step).unwrap();
        let chance = if self.healed { u8::MAX } else { self.rng.u8(0..12) };
        if command.key.direction == Direction::Query {
            let key = StepKey { direction: Direction::Action, ..command.key.clone() };
            let barrier = &mut self.barriers[index];
            barrier.sent.insert(key.command_id());
            let result = barrier.results.get(&key.command_id());
            return match chance {
                0 => vec![self.pending()],
                1 => vec![Outcome::Fault("broken".into()).into()],
                2 => vec![ReplyOutcome::Unknown("the service does not say".into())],
                _ => vec![result.map_or(ReplyOutcome::Absent, |result| result.clone().into())],
            };
        }
        if !self.barriers[index].sent.insert(command.id()) {
            return vec![unknown()];
        }
        if chance == 0 {
            self.barriers[index].sent.remove(&command.id());
            return vec![Outcome::Fault("cannot connect".into()).into()];
        }
        let result = self.call(index, command).into();
        match chance {
            1 => vec![ReplyOutcome::Unknown("the connection broke".into())],
            2 => vec![self.pending(), result],
            3 => vec![],
            _ => vec![result],
        }
    }

    /// Lets a participant without a barrier execute a command: it has an effect, or is refused.
    fn call(&mut self, index: usize, command: &Command) -> Outcome {
        assert!(!command.body.as_str().contains("null"), "a field is missing: {:?}", command.body);
        let StepKey { direction, generation, .. } = &command.key;
        let barrier = &mut self.barriers[index];
        let refused_up_to = match direction {
            Direction::Action | Direction::Query => barrier.action_refused_up_to,
            Direction::Compensation => barrier.undo_refused_up_to,
        };
        let refuses = *generation <= refused_up_to;
        let result = if refuses { refused("no") } else { done(barrier.mute) };
        barrier.results.insert(command.id(), result.clone());
        if !refuses {
            self.effects.push((index, *direction));
        }
        result
    }

    fn serve_at_barrier(&mut self, command: &Command) -> Option<Outcome> {
        assert!(!command.body.as_str().contains("null"), "a field is missing: {:?}", command.body);
        let StepKey { step, direction, generation, .. } = &command.key;
        let index = self.saga.definition.index_of(step).unwrap();
        if command.expires_at.is_some_and(|expiry| expiry < self.now) && self.rng.bool() {
            return None;
        }
        let broken = !self.healed && self.rng.u8(0..5) == 0;
        let barrier = &mut self.barriers[index];
        let (row, refused_up_to) = match direction {
            Direction::Query => panic!("a participant with a barrier is queried"),
            Direction::Action => (&barrier.action, barrier.action_refused_up_to),
            Direction::Compensation => (&barrier.undo, barrier.undo_refused_up_to),
        };
        match row {
            Some((_, Stored::Done)) => return Some(done(barrier.mute)),
            Some((_, Stored::Tombstone)) => return Some(refused(code::ALREADY_COMPENSATED)),
            Some((stored, Stored::Refused)) if stored == generation => return Some(refused("no")),
            Some((stored, Stored::Refused)) if stored > generation => {
                return Some(refused(code::SUPERSEDED));
            }
            Some((_, Stored::Refused)) | None => {}
        }
        if broken {
            return Some(Outcome::Fault("broken".into()));
        }
        let nothing_to_undo = *direction == Direction::Compensation
            && matches!(barrier.action, None | Some((_, Stored::Refused | Stored::Tombstone)));
        if nothing_to_undo {
            barrier.action.get_or_insert((1, Stored::Tombstone));
        }
        let refuses = !nothing_to_undo && *generation <= refused_up_to;
        let stored = if refuses { Stored::Refused } else { Stored::Done };
        match direction {
            Direction::Query => {}
            Direction::Action => barrier.action = Some((*generation, stored)),
            Direction::Compensation => barrier.undo = Some((*generation, stored)),
        }
        if refuses {
            return Some(refused("no"));
        }
        if !nothing_to_undo {
            self.effects.push((index, *direction));
        }
        Some(done(barrier.mute))
    }
}

fn done(mute: bool) -> Outcome {
    Outcome::Done(if mute { Body::empty() } else { json(r#"{"ticket":"t-1"}"#) })
}

fn refused(code: &str) -> Outcome {
    Outcome::Refused(Refusal::new(code, "not today"))
}
