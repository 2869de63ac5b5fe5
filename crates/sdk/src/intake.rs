//! From records to what is asked: decoded, the expired left out, the unreadable set aside, cut into chunks.

use std::collections::HashSet;

use sagamore_core::{Body, Command, Direction, Name, ReplyTo, StepKey, Timestamp};
use sagamore_transport::Delivered;
use sagamore_transport::wire::{Undecodable, decode_command};

/// One command to be answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which of the turn's records it came in.
    pub place: usize,
    /// The barrier's key.
    pub key: StepKey,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// Carried on.
    pub traceparent: Option<String>,
    /// The message's name and body, or why they cannot be read.
    pub message: Result<(Name, Body), String>,
}

/// What one turn has taken.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// In the order in which it came.
    pub asked: Vec<Asked>,
    /// Places of the records that say not even who asks, and why.
    pub unreadable: Vec<(usize, String)>,
    /// How many actions came too late: their owners ask again, or compensate.
    pub expired: usize,
}

impl Intake {
    /// Reads the records.
    pub(crate) fn of(records: &[Delivered], now: Timestamp) -> Intake {
        let mut intake = Intake::default();
        for (place, delivered) in records.iter().enumerate() {
            match decode_command(&delivered.record).map_err(Box::new) {
                Ok(command) if command.key.generation == 0 => {
                    intake.unreadable.push((place, "the generation is 0: the first is 1".to_owned()));
                }
                Ok(command) if is_expired(&command, now) => intake.expired += 1,
                Ok(Command { key, reply_to, traceparent, name, body, .. }) => {
                    intake.asked.push(Asked { place, key, reply_to, traceparent, message: Ok((name, body)) });
                }
                Err(undecodable) => match *undecodable {
                    Undecodable { key: Some(key), reply_to: Some(reply_to), reason } if key.generation > 0 => {
                        intake.asked.push(Asked { place, key, reply_to, traceparent: None, message: Err(reason) });
                    }
                    Undecodable { reason, .. } => intake.unreadable.push((place, reason)),
                },
            }
        }
        intake
    }

    /// The same in pieces, each with at most one command of a step, order kept.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[Asked]> {
        let mut rest = self.asked.as_slice();
        std::iter::from_fn(move || {
            let mut steps = HashSet::with_capacity(rest.len());
            let end = rest.iter().position(|asked| !steps.insert((&asked.key.saga, &asked.key.step)));
            let (chunk, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}

/// Compensations never expire, whatever they say: nobody would undo the step.
fn is_expired(command: &Command, now: Timestamp) -> bool {
    command.key.direction == Direction::Action && command.expires_at.is_some_and(|expires_at| expires_at < now)
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
        let reply_to = ReplyTo { topic: "replies".into(), partition: 0 };
        Asked { place: 0, key, reply_to, traceparent: None, message: Err("nobody reads it".into()) }
    }

    #[test]
    fn a_chunk_holds_at_most_one_command_of_a_step_and_keeps_the_order() {
        let check = |steps: &[(&str, &str, Direction)], sizes: &[usize]| {
            let asked = steps.iter().map(|(saga, step, direction)| asked(saga, step, *direction)).collect();
            let intake = Intake { asked, ..Intake::default() };
            assert_eq!(intake.chunks().map(<[Asked]>::len).collect::<Vec<_>>(), sizes);
            let (kept, all) = (intake.chunks().flatten().map(|asked| &asked.key), intake.asked.iter().map(|a| &a.key));
            assert!(kept.eq(all));
        };
        let (action, compensation) = (Direction::Action, Direction::Compensation);
        check(&[], &[]);
        check(&[("a", "x", action), ("b", "x", action), ("a", "y", action)], &[3]);
        check(&[("a", "x", action), ("a", "x", compensation)], &[1, 1]);
        check(&[("a", "x", action), ("b", "x", action), ("a", "x", action), ("b", "x", compensation)], &[2, 2]);
        check(&[("a", "x", action); 3], &[1, 1, 1]);
    }
}
