//! The chunks of a turn: the split of its work, and the order of execution.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::work::WorkItem;

/// The chunks of a turn that are not executed yet.
#[derive(Debug)]
pub(crate) struct Queue {
    chunks: VecDeque<Vec<WorkItem>>,
    size: usize,
    size_max: usize,
}

impl Queue {
    /// Splits commands into chunks of at most `size_max` commands.
    pub(crate) fn of(work: Vec<WorkItem>, size_max: usize) -> Queue {
        Queue { chunks: chunks(work).into(), size: size_max, size_max }
    }

    /// Removes and returns the next chunk.
    pub(crate) fn next(&mut self) -> Option<Vec<WorkItem>> {
        let mut chunk = self.chunks.pop_front()?;
        if chunk.len() > self.size {
            let rest = chunk.split_off(self.size);
            self.chunks.push_front(rest);
        }
        Some(chunk)
    }

    /// Returns the commands of a chunk that ended after `executed` others to the front. Later
    /// chunks are about as large as the executed part, so that few steps are claimed in vain.
    pub(crate) fn put_back(&mut self, left: Vec<WorkItem>, executed: usize) {
        if left.is_empty() {
            self.size = self.size.saturating_mul(2).min(self.size_max);
        } else {
            self.size = executed.max(1);
            self.chunks.push_front(left);
        }
    }
}

/// Splits commands into chunks with at most one command per step. A repeat moves to a later chunk
/// alone, because it usually has no effect.
///
/// Any other second command of a step, such as its undo, starts the next chunk with all commands
/// after it. Commands that share a row thus take effect in order of arrival.
fn chunks(work: Vec<WorkItem>) -> Vec<Vec<WorkItem>> {
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
    for (item, number) in work.into_iter().zip(numbers) {
        if number == chunks.len() {
            chunks.push(Vec::new());
        }
        chunks[number].push(item);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use sagamore_core::{Direction, ReplyTo, StepKey};

    use super::*;
    use crate::work::{CommandWork, Work};

    fn item(saga: &str, step: &str, direction: Direction) -> WorkItem {
        let key = StepKey {
            saga: format!("toy:{saga}").parse().expect("a saga"),
            step: step.parse().expect("a name"),
            direction,
            generation: 1,
        };
        let reply_to = ReplyTo { topic: "replies".into(), partition: 0 };
        let message = Err("never read".into());
        WorkItem {
            place: 0,
            key,
            work: Work::Command(CommandWork { reply_to, trace: None, message }),
        }
    }

    #[test]
    fn a_chunk_has_one_command_per_step_in_order() {
        let check = |steps: &[(&str, &str, Direction)], wanted: &[&[usize]]| {
            let one = |(place, (saga, step, direction)): (usize, &(&str, &str, Direction))| {
                WorkItem { place, ..item(saga, step, *direction) }
            };
            let chunks = chunks(steps.iter().enumerate().map(one).collect());
            let places =
                |chunk: &Vec<WorkItem>| chunk.iter().map(|item| item.place).collect::<Vec<_>>();
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
        let chunks = chunks(steps.map(|(saga, direction)| item(saga, "x", direction)).to_vec());
        let sagas = |chunk: &Vec<WorkItem>| {
            chunk.iter().map(|item| item.key.saga.to_string()).collect::<Vec<_>>()
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
            chunks(pairs.map(|saga| item(&saga.to_string(), "x", Direction::Action)).collect());
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50]);
    }
}
