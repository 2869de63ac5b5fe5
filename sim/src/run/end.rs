//! The end of a run: once all is at rest, every record is delivered again. In a choreographed shop,
//! events that wait for another one then become dead letters.

use sagamore_core::{Body, Direction, Event, Name, StepKey, Timestamp};
use sagamore_transport::{Record, wire};

use super::phase::End;
use super::{Role, Run};
use crate::style::Style;
use crate::world::LATE_MS_MAX;

/// The time after the repeated delivery in which the run is checked.
const ENCORE_MS: i64 = LATE_MS_MAX + 8_000;
/// Longer than the wait of early events, plus the difference of clocks and the last pause.
const PATIENCE_MS: i64 = 900_000;
/// The time limit for the dead letters.
const GIVING_UP_MS: i64 = 120_000;

impl Run {
    /// Delivers every record again, once everything is at rest.
    pub(super) fn encore(&mut self) {
        self.world.log(|| "at rest".to_owned());
        self.site.hub.release(true);
        if self.site.style == Style::Choreographed && self.world.percent(50) {
            self.restart_observer_empty();
        }
        self.site.hub.repeat();
        if self.site.style == Style::Choreographed {
            self.site.hub.foreign(orphan_event());
        }
        self.end = End::Encore { until: self.world.now() + ENCORE_MS };
    }

    /// Whether a run that was at rest is finished.
    pub(super) fn is_finished(&mut self) -> bool {
        let now = self.world.now();
        match (self.end, self.site.style) {
            (End::Ahead, _) => false,
            (End::Encore { until }, Style::Orchestrated) => now >= until,
            (End::Encore { until }, Style::Choreographed) => {
                if now >= until {
                    self.world.advance_to(now + PATIENCE_MS);
                    self.end = End::GivingUp { until: self.world.now() + GIVING_UP_MS };
                }
                false
            }
            // the checker reports events that still wait
            (End::GivingUp { until }, _) => now >= until || !self.world.checker().events_wait(),
        }
    }

    /// Deletes the observer's database, so that it reads the repeated records from the start.
    fn restart_observer_empty(&mut self) {
        self.world.count("observer begun anew");
        let observers =
            (0..self.processes.len()).filter(|index| self.processes[*index].role == Role::Observer);
        let observers: Vec<usize> = observers.collect();
        observers.iter().for_each(|index| self.stop(*index));
        self.site.restart_observer_empty();
        observers.iter().for_each(|index| self.restart(*index));
    }
}

/// Builds an event of a chain that never started, so that it waits for the order until it becomes a
/// dead letter.
fn orphan_event() -> Record {
    let name = |text: &str| Name::new(text).expect("the name is valid");
    let saga = "fulfilment:nobodys".parse().expect("the id is valid");
    let event = Event {
        key: StepKey { saga, step: name("charge"), direction: Direction::Action, generation: 1 },
        version: 1,
        name: name("payment.success"),
        causation: Some("fulfilment:nobodys/create/action/1/order.created".to_owned()),
        hop: 1,
        at: Timestamp(0),
        body: Body::empty(),
        trace: None,
    };
    wire::encode_event(&event, &name("payment"))
}
