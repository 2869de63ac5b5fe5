//! The adaptive size of a turn: halved by each failure, down to one input, and doubled by each
//! success. A batch that fails for its size then succeeds in smaller parts.

/// The adaptive size of a turn of an orchestrator or an observer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    halvings: u32,
}

impl Pace {
    /// Returns the maximum inputs of a turn, out of `max`.
    pub fn inputs(self, max: usize) -> usize {
        (max >> self.halvings).max(1)
    }

    /// Returns the maximum bytes of a turn, out of `max`. A single larger input is still taken.
    pub fn bytes(self, max: usize) -> usize {
        (max >> self.halvings).max(1)
    }

    /// Records a failed turn of up to `max` inputs.
    pub fn failed(&mut self, max: usize) {
        self.halvings = (self.halvings + 1).min(max.max(1).ilog2() + 1);
    }

    /// Records a successful turn that took inputs.
    pub fn succeeded(&mut self) {
        self.halvings = self.halvings.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_pace_halves_with_each_failure_down_to_one_and_doubles_with_each_success() {
        let mut pace = Pace::default();
        let mut inputs = Vec::new();
        for _ in 0..12 {
            inputs.push(pace.inputs(1_000));
            pace.failed(1_000);
        }
        assert_eq!(inputs, [1_000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1]);
        for _ in 0..9 {
            pace.succeeded();
        }
        assert_eq!((pace.inputs(1_000), pace.bytes(1 << 20)), (500, 1 << 19));
        pace.succeeded();
        pace.succeeded();
        assert_eq!(pace.inputs(1_000), 1_000);
        pace.failed(0);
        assert_eq!(pace.inputs(0), 1);
    }
}
