//! A recorder of the program's metrics: the world counts the cases of the barrier, and the checker
//! receives sagas that are set aside.

use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::points;
use crate::watched::Shared;

/// The recorder of one world.
pub struct Counts(pub Shared);

struct Tally {
    world: Shared,
    name: &'static str,
}

/// Counts sagas that cannot be stored, whose replies wait in memory.
struct SetAsideCounter(Shared);

impl CounterFn for SetAsideCounter {
    fn increment(&self, _: u64) {
        self.0.count("saga set aside that cannot be stored");
        self.0.checker().set_aside(&self.0);
    }

    fn absolute(&self, _: u64) {}
}

impl CounterFn for Tally {
    fn increment(&self, value: u64) {
        (0..value).for_each(|_| self.world.count(self.name));
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == "sagamore_unstored_total" {
            return Counter::from_arc(Arc::new(SetAsideCounter(self.0.clone())));
        }
        if key.name() != "sagamore_barrier_total" {
            return Counter::noop();
        }
        let label = key.labels().find(|label| label.key() == "case");
        match label.and_then(|label| points::of_label(label.value())) {
            Some(name) => Counter::from_arc(Arc::new(Tally { world: self.0.clone(), name })),
            None => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
