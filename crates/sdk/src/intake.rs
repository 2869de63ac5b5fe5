//! The intake of records: decoding, skipping expired commands, rejecting unreadable ones, and
//! forming chunks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sagamore_core::{
    Body, Command, Direction, Event, Horizon, Name, ReplyTo, StepKey, Timestamp, TraceContext,
};
use sagamore_transport::Delivered;
use sagamore_transport::wire::{
    HORIZON_TOPIC, Undecodable, decode_command, decode_event, decode_horizon,
};

use crate::inbox::{Due, InboxRemoval};
use crate::service::Service;

/// One command to answer, or one event to react to.
#[derive(Clone, Debug)]
pub(crate) struct WorkItem {
    /// The index of the record in the turn.
    pub place: usize,
    /// The barrier's key.
    pub key: StepKey,
    /// The command or event behind it.
    pub by: By,
    /// The trace to continue.
    pub trace: Option<TraceContext>,
    /// The message's name and body, or the reason why they are unreadable.
    pub message: Result<(Name, Body), String>,
}

impl WorkItem {
    fn by_event(place: usize, key: StepKey, event: Event) -> WorkItem {
        let message = Ok((event.name.clone(), event.body.clone()));
        WorkItem { place, key, trace: event.trace.clone(), message, by: By::Event(Box::new(event)) }
    }
}

/// The origin of a request, which determines the form of its answer.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// A command, which is answered by a reply.
    Command(ReplyTo),
    /// An event, which is answered by another event.
    Event(Box<Event>),
}

/// The decoded records of one turn.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// The requests in order of arrival.
    pub work: Vec<WorkItem>,
    /// The indexes of records without a readable key or reply address, and the reasons.
    pub unreadable: Vec<(usize, String)>,
    /// The number of events of a later version of their plan.
    pub later: usize,
    /// The number of expired actions. Their orchestrators resend or compensate.
    pub expired: usize,
    /// The received horizons, each with the address for its answer.
    pub horizons: Vec<(Horizon, Option<ReplyTo>)>,
}

impl Intake {
    /// Decodes the records. `plans` holds the name and the version of each plan of this program.
    pub(crate) fn of(
        service: &Service,
        plans: &[(Name, u32)],
        records: &[Delivered],
        now: Timestamp,
    ) -> Intake {
        let mut intake = Intake::default();
        for (place, delivered) in records.iter().enumerate() {
            if let Some(reason) = &delivered.unreadable {
                intake.unreadable.push((place, reason.to_string()));
                continue;
            }
            if &*delivered.record.topic == HORIZON_TOPIC {
                match decode_horizon(&delivered.record) {
                    Ok(horizon) => intake.horizons.push(horizon),
                    Err(reason) => {
                        tracing::warn!(reason, "cannot read a horizon, waiting for the next one")
                    }
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
                    intake
                        .unreadable
                        .push((place, "the generation is 0: the first is 1".to_owned()));
                }
                Ok(command) if is_expired(&command, now) => intake.expired += 1,
                Ok(Command { key, reply_to, trace, name, body, .. }) => {
                    let by = By::Command(reply_to);
                    intake.work.push(WorkItem { place, key, by, trace, message: Ok((name, body)) });
                }
                Err(undecodable) => match *undecodable {
                    Undecodable { key: Some(key), reply_to: Some(reply_to), reason, .. }
                        if key.generation > 0 =>
                    {
                        let by = By::Command(reply_to);
                        intake.work.push(WorkItem {
                            place,
                            key,
                            by,
                            trace: None,
                            message: Err(reason),
                        });
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
            self.work.push(WorkItem::by_event(place, key, event.clone()));
        }
    }

    /// Takes due events from the inbox, each for the reaction that it waits for. Returns removals,
    /// and events without a reaction here.
    ///
    /// Another version of the program may have that reaction. An event without one since before
    /// `early` becomes a dead letter.
    pub(crate) fn take_due(
        &mut self,
        service: &Service,
        due: impl Iterator<Item = (usize, Due)>,
        early: Timestamp,
    ) -> (Vec<InboxRemoval>, Vec<Due>) {
        let (mut removals, mut strange) = (Vec::new(), Vec::new());
        for (place, due) in due {
            let Due { key, event, strange_since, .. } = &due;
            if service.led_to(event.name.as_str()).contains(&(&key.step, key.direction)) {
                self.work.push(WorkItem::by_event(place, due.key, due.event));
            } else if strange_since.is_some_and(|since| since < early) {
                self.unreadable.push((
                    place,
                    format!(
                        "no version of this service has the reaction '{}' that it waited for",
                        key.step
                    ),
                ));
                removals.push(InboxRemoval { key: due.key, event: Some(due.event.name) });
            } else {
                strange.push(due);
            }
        }
        (removals, strange)
    }
}

/// Splits commands into chunks with at most one command per step. A repeat moves to a later chunk
/// alone, because it usually has no effect.
///
/// Any other second command of a step, such as its undo, starts the next chunk with all commands
/// after it. Commands that share a row thus take effect in order of arrival.
pub(crate) fn chunks(work: Vec<WorkItem>) -> Vec<Vec<WorkItem>> {
    let mut steps: HashMap<_, (usize, HashSet<_>)> = HashMap::with_capacity(work.len());
    let (mut numbers, mut first) = (Vec::with_capacity(work.len()), 0);
    for WorkItem { key, .. } in &work {
        let (next, seen) = steps.entry((&key.saga, &key.step)).or_default();
        let is_new = seen.insert((key.direction, key.generation));
        let number = first.max(*next);
        if is_new {
            first = number;
        }
        *next = number + 1;
        numbers.push(number);
    }
    let mut chunks: Vec<Vec<WorkItem>> = Vec::new();
    for (work, number) in work.into_iter().zip(numbers) {
        if number == chunks.len() {
            chunks.push(Vec::new());
        }
        chunks[number].push(work);
    }
    chunks
}

/// Returns the reason to reject an event of a later version of a known plan. Events of earlier
/// versions pass, because their chains continue during an upgrade.
fn of_a_later_version(event: &Event, plans: &[(Name, u32)]) -> Option<String> {
    let (plan, known) =
        plans.iter().find(|(plan, _)| plan.as_str() == event.chain().definition())?;
    (event.version > *known).then(|| {
        format!(
            "version: the event says version {} of the plan '{plan}', and this program has version {known}: upgrade it, \
             then have the events of the chain emitted again (reconcile --resend)",
            event.version
        )
    })
}

/// Maximum clock difference between orchestrators and services at which no command is skipped too
/// early.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Returns whether the command has expired. Compensations never expire, because the step would stay
/// done. Actions expire late, because this service's clock may be ahead of the orchestrator's.
fn is_expired(command: &Command, now: Timestamp) -> bool {
    command.key.direction == Direction::Action
        && command.expires_at.is_some_and(|expires_at| expires_at.plus(DIFFERENCE_MAX) < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(saga: &str, step: &str, direction: Direction) -> WorkItem {
        let key = StepKey {
            saga: format!("toy:{saga}").parse().expect("a saga"),
            step: step.parse().expect("a name"),
            direction,
            generation: 1,
        };
        let by = By::Command(ReplyTo { topic: "replies".into(), partition: 0 });
        WorkItem { place: 0, key, by, trace: None, message: Err("never read".into()) }
    }

    #[test]
    fn a_chunk_has_one_command_per_step_in_order() {
        let check = |steps: &[(&str, &str, Direction)], wanted: &[&[usize]]| {
            let one = |(place, (saga, step, direction)): (usize, &(&str, &str, Direction))| {
                WorkItem { place, ..work(saga, step, *direction) }
            };
            let chunks = chunks(steps.iter().enumerate().map(one).collect());
            let places =
                |chunk: &Vec<WorkItem>| chunk.iter().map(|work| work.place).collect::<Vec<_>>();
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

    /// The next command may need what the undo releases.
    #[test]
    fn a_command_after_an_undo_is_not_executed_before_it() {
        let steps =
            [("a", Direction::Action), ("a", Direction::Compensation), ("b", Direction::Action)];
        let chunks = chunks(steps.map(|(saga, direction)| work(saga, "x", direction)).to_vec());
        let sagas = |chunk: &Vec<WorkItem>| {
            chunk.iter().map(|work| work.key.saga.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            chunks.iter().map(sagas).collect::<Vec<_>>(),
            [vec!["toy:a"], vec!["toy:a", "toy:b"]]
        );
    }

    /// Each command arrives twice in succession: two commits suffice.
    #[test]
    fn paired_repeats_form_two_chunks() {
        let pairs = (0..50).flat_map(|saga| [saga, saga]);
        let chunks =
            chunks(pairs.map(|saga| work(&saga.to_string(), "x", Direction::Action)).collect());
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50]);
    }
}
