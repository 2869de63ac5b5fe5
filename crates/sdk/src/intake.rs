//! From records to what is asked: decoded, the expired left out, the unreadable set aside, cut into chunks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sagamore_core::{Body, Command, Direction, Event, Horizon, Name, ReplyTo, StepKey, Timestamp, TraceContext};
use sagamore_transport::Delivered;
use sagamore_transport::wire::{HORIZON_TOPIC, Undecodable, decode_command, decode_event, decode_horizon};

use crate::inbox::{Due, Over};
use crate::service::Service;

/// One command to be answered, or one event to be reacted to.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which of the turn's records it came in.
    pub place: usize,
    /// The barrier's key.
    pub key: StepKey,
    /// Who asks.
    pub by: By,
    /// Carried on.
    pub trace: Option<TraceContext>,
    /// The message's name and body, or why they cannot be read.
    pub message: Result<(Name, Body), String>,
}

impl Asked {
    fn by_event(place: usize, key: StepKey, event: Event) -> Asked {
        let message = Ok((event.name.clone(), event.body.clone()));
        Asked { place, key, trace: event.trace.clone(), message, by: By::Event(Box::new(event)) }
    }
}

/// Who asks, and so what an answer is.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// A command, which is answered here.
    Command(ReplyTo),
    /// An event: what came of it is told by another one.
    Event(Box<Event>),
}

/// What one turn has taken.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// In the order in which it came.
    pub asked: Vec<Asked>,
    /// Places of the records that say not even who asks, and why.
    pub unreadable: Vec<(usize, String)>,
    /// How many of these are events of a later version of their plan.
    pub later: usize,
    /// How many actions came too late: their owners ask again, or compensate.
    pub expired: usize,
    /// The horizons that were told, and who wants to hear what came of each.
    pub horizons: Vec<(Horizon, Option<ReplyTo>)>,
}

impl Intake {
    /// Reads the records. `plans`: those that this program knows, each with its version.
    pub(crate) fn of(service: &Service, plans: &[(Name, u32)], records: &[Delivered], now: Timestamp) -> Intake {
        let mut intake = Intake::default();
        for (place, delivered) in records.iter().enumerate() {
            if let Some(reason) = &delivered.unreadable {
                intake.unreadable.push((place, reason.to_string()));
                continue;
            }
            if &*delivered.record.topic == HORIZON_TOPIC {
                match decode_horizon(&delivered.record) {
                    Ok(horizon) => intake.horizons.push(horizon),
                    Err(reason) => tracing::warn!(reason, "a horizon cannot be read: there will be another one"),
                }
                continue;
            }
            let led_to = service.led_to(&delivered.record.topic);
            if !led_to.is_empty() {
                intake.take_event(&led_to, plans, place, delivered);
                continue;
            }
            match decode_command(&delivered.record).map_err(Box::new) {
                Ok(command) if command.key.generation == 0 => {
                    intake.unreadable.push((place, "the generation is 0: the first is 1".to_owned()));
                }
                Ok(command) if is_expired(&command, now) => intake.expired += 1,
                Ok(Command { key, reply_to, trace, name, body, .. }) => {
                    let by = By::Command(reply_to);
                    intake.asked.push(Asked { place, key, by, trace, message: Ok((name, body)) });
                }
                Err(undecodable) => match *undecodable {
                    Undecodable { key: Some(key), reply_to: Some(reply_to), reason, .. } if key.generation > 0 => {
                        let by = By::Command(reply_to);
                        intake.asked.push(Asked { place, key, by, trace: None, message: Err(reason) });
                    }
                    Undecodable { reason, .. } => intake.unreadable.push((place, reason)),
                },
            }
        }
        intake
    }

    fn take_event(
        &mut self,
        led_to: &[(&Name, Direction)],
        plans: &[(Name, u32)],
        place: usize,
        delivered: &Delivered,
    ) {
        let event = match decode_event(&delivered.record) {
            Ok(event) => event,
            Err(reason) => return self.unreadable.push((place, reason)),
        };
        if let Some(reason) = of_a_later_version(&event, plans) {
            self.later += 1;
            return self.unreadable.push((place, reason));
        }
        for (reaction, direction) in led_to {
            let (saga, step, direction) = (event.chain().clone(), (*reaction).clone(), *direction);
            let key = StepKey { saga, step, direction, generation: 1 };
            self.asked.push(Asked::by_event(place, key, event.clone()));
        }
    }

    /// Takes what comes out of the inbox, each for the reaction that it waits for alone. Gives what this program has no such
    /// reaction to: another version of it may have one, but what nobody has had one for since before `early` is a dead letter.
    pub(crate) fn take_due(
        &mut self,
        service: &Service,
        due: impl Iterator<Item = (usize, Due)>,
        early: Timestamp,
    ) -> (Vec<Over>, Vec<Due>) {
        let (mut over, mut strange) = (Vec::new(), Vec::new());
        for (place, due) in due {
            let Due { key, event, strange_since, .. } = &due;
            if service.led_to(event.name.as_str()).contains(&(&key.step, key.direction)) {
                self.asked.push(Asked::by_event(place, due.key, due.event));
            } else if strange_since.is_some_and(|since| since < early) {
                self.unreadable.push((place, format!("waited in vain for a reaction '{}' of this service", key.step)));
                over.push(Over { key: due.key, event: Some(due.event.name) });
            } else {
                strange.push(due);
            }
        }
        (over, strange)
    }
}

/// Commands in chunks, each with at most one of a step. A repeat, which as a rule has no effect, waits for a later chunk by
/// itself. Any other command of a step that is in the chunk already, as is its undo, begins the next chunk with all that
/// comes after it: commands of several steps that share a row have their effects in the order in which they came.
pub(crate) fn chunks(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut steps: HashMap<_, (usize, HashSet<_>)> = HashMap::with_capacity(asked.len());
    let (mut numbers, mut first) = (Vec::with_capacity(asked.len()), 0);
    for Asked { key, .. } in &asked {
        let (next, seen) = steps.entry((&key.saga, &key.step)).or_default();
        let is_new = seen.insert((key.direction, key.generation));
        let number = first.max(*next);
        if is_new {
            first = number;
        }
        *next = number + 1;
        numbers.push(number);
    }
    let mut chunks: Vec<Vec<Asked>> = Vec::new();
    for (asked, number) in asked.into_iter().zip(numbers) {
        if number == chunks.len() {
            chunks.push(Vec::new());
        }
        chunks[number].push(asked);
    }
    chunks
}

/// Why this program does not react to an event: its plan is known here, and the event is of a later version of it. An
/// earlier one is still carried out, for its chains go on during an upgrade.
fn of_a_later_version(event: &Event, plans: &[(Name, u32)]) -> Option<String> {
    let (plan, known) = plans.iter().find(|(plan, _)| plan.as_str() == event.chain().definition())?;
    (event.version > *known).then(|| {
        format!(
            "version: the event says version {} of the plan '{plan}', and this program has version {known}: upgrade it, \
             then have the events of the chain emitted again (reconcile --resend)",
            event.version
        )
    })
}

/// By how much the clocks of orchestrators and services may differ before a command is skipped too early, and so its step asked a
/// second time.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Compensations never expire, whatever they say: nobody would undo the step. An action does so late rather than early: this
/// service's clock may be ahead of the orchestrator's.
fn is_expired(command: &Command, now: Timestamp) -> bool {
    command.key.direction == Direction::Action
        && command.expires_at.is_some_and(|expires_at| expires_at.plus(DIFFERENCE_MAX) < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(saga: &str, step: &str, direction: Direction) -> Asked {
        let key = StepKey {
            saga: format!("toy:{saga}").parse().expect("a saga"),
            step: step.parse().expect("a name"),
            direction,
            generation: 1,
        };
        let by = By::Command(ReplyTo { topic: "replies".into(), partition: 0 });
        Asked { place: 0, key, by, trace: None, message: Err("nobody reads it".into()) }
    }

    #[test]
    fn a_chunk_holds_at_most_one_command_of_a_step_and_each_step_keeps_its_order() {
        let check = |steps: &[(&str, &str, Direction)], wanted: &[&[usize]]| {
            let one = |(place, (saga, step, direction)): (usize, &(&str, &str, Direction))| Asked {
                place,
                ..asked(saga, step, *direction)
            };
            let chunks = chunks(steps.iter().enumerate().map(one).collect());
            let places = |chunk: &Vec<Asked>| chunk.iter().map(|asked| asked.place).collect::<Vec<_>>();
            assert_eq!(chunks.iter().map(places).collect::<Vec<_>>(), wanted);
        };
        let (action, compensation) = (Direction::Action, Direction::Compensation);
        check(&[], &[]);
        check(&[("a", "x", action), ("b", "x", action), ("a", "y", action)], &[&[0, 1, 2]]);
        check(&[("a", "x", action), ("a", "x", compensation)], &[&[0], &[1]]);
        check(
            &[("a", "x", action), ("b", "x", action), ("a", "x", action), ("b", "x", compensation)],
            &[&[0, 1], &[2, 3]],
        );
        check(&[("a", "x", action); 3], &[&[0], &[1], &[2]]);
    }

    /// What the undo gives back may be what the next command needs.
    #[test]
    fn a_command_that_comes_after_an_undo_is_not_executed_before_it() {
        let steps = [("a", Direction::Action), ("a", Direction::Compensation), ("b", Direction::Action)];
        let chunks = chunks(steps.map(|(saga, direction)| asked(saga, "x", direction)).to_vec());
        let sagas = |chunk: &Vec<Asked>| chunk.iter().map(|asked| asked.key.saga.to_string()).collect::<Vec<_>>();
        assert_eq!(chunks.iter().map(sagas).collect::<Vec<_>>(), [vec!["toy:a"], vec!["toy:a", "toy:b"]]);
    }

    /// Each command twice, one right behind the other: two commits, and not one for each pair.
    #[test]
    fn repeats_that_come_in_pairs_make_two_chunks() {
        let pairs = (0..50).flat_map(|saga| [saga, saga]);
        let chunks = chunks(pairs.map(|saga| asked(&saga.to_string(), "x", Direction::Action)).collect());
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50]);
    }
}
