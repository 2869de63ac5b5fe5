//! The order of calls: one lane per saga and step, in which one call at a time runs. A compensation
//! thus never overtakes its action.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use sagamore_core::{Name, SagaId, StepKey};

/// The commands that wait for a call.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    /// The commands behind the running or ready one of each lane.
    waiting: HashMap<(SagaId, Name), VecDeque<T>>,
    /// The commands that may be called, in order of arrival.
    ready: VecDeque<T>,
    len: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Lanes<T> {
        Lanes { waiting: HashMap::new(), ready: VecDeque::new(), len: 0 }
    }
}

impl<T> Lanes<T> {
    /// Returns the number of commands that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a command behind those of its step.
    pub fn add(&mut self, key: &StepKey, command: T) {
        self.len += 1;
        match self.waiting.entry((key.saga.clone(), key.step.clone())) {
            Entry::Occupied(mut lane) => lane.get_mut().push_back(command),
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                self.ready.push_back(command);
            }
        }
    }

    /// Removes and returns the next command to call.
    pub fn next(&mut self) -> Option<T> {
        let next = self.ready.pop_front()?;
        self.len -= 1;
        Some(next)
    }

    /// Ends the call of a step: its next command may be called.
    pub fn end(&mut self, key: &StepKey) {
        let Entry::Occupied(mut lane) = self.waiting.entry((key.saga.clone(), key.step.clone()))
        else {
            return;
        };
        match lane.get_mut().pop_front() {
            Some(next) => self.ready.push_back(next),
            None => drop(lane.remove()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sagamore_core::Direction;

    use super::*;

    #[test]
    fn one_command_of_a_step_runs_at_a_time() {
        let key = |saga: &str, step: &str| StepKey {
            saga: format!("toy:{saga}").parse().expect("a saga"),
            step: step.parse().expect("a name"),
            direction: Direction::Action,
            generation: 1,
        };
        let mut lanes = Lanes::default();
        lanes.add(&key("a", "x"), 1);
        lanes.add(&key("a", "x"), 2);
        lanes.add(&key("a", "y"), 3);
        lanes.add(&key("b", "x"), 4);
        let next = |lanes: &mut Lanes<i32>| std::iter::from_fn(|| lanes.next()).collect::<Vec<_>>();
        assert_eq!(next(&mut lanes), [1, 3, 4]);
        assert_eq!(lanes.len(), 1);
        lanes.end(&key("b", "x"));
        assert!(next(&mut lanes).is_empty(), "a call of the step runs");
        lanes.end(&key("a", "x"));
        assert_eq!(next(&mut lanes), [2]);
        lanes.end(&key("a", "x"));
        assert!(lanes.waiting.len() == 1 && lanes.len() == 0, "only the lane of a/y is left");
    }
}
