//! How a run ends: once all is at rest, everything that was ever sent comes once more; in a choreographed shop whatever waits
//! for another event is then given up.

use sagamore_core::{Body, Direction, Event, Name, StepKey, Timestamp};
use sagamore_transport::{Record, wire};

use super::{Role, Run};
use crate::style::Style;
use crate::world::LATE_MS_MAX;

/// How long it is watched while everything is sent once more.
const ENCORE_MS: i64 = LATE_MS_MAX + 8_000;
/// Longer than events wait for one another, with all that clocks may differ, and the last pause.
const PATIENCE_MS: i64 = 900_000;
/// How long giving up is given.
const GIVING_UP_MS: i64 = 120_000;

/// Where the end of a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not everything is at rest.
    Ahead,
    /// Everything comes once more; until then it is watched.
    Encore { until: i64 },
    /// Nobody waits any more.
    GivingUp { until: i64 },
}

impl Run {
    /// Everything is at rest: has everything repeated.
    pub(super) fn encore(&mut self) {
        self.world.tell(|| "at rest".to_owned());
        self.site.hub.release(true);
        if self.site.style == Style::Choreographed && self.world.percent(50) {
            self.begin_observing_anew();
        }
        self.site.hub.repeat();
        if self.site.style == Style::Choreographed {
            self.site.hub.foreign(in_vain());
        }
        self.end = End::Encore { until: self.world.now() + ENCORE_MS };
    }

    /// Whether there is nothing more to come, of a run that has been at rest.
    pub(super) fn is_at_its_end(&mut self) -> bool {
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
            // the checker tells what waits still
            (End::GivingUp { until }, _) => now >= until || !self.world.checker().events_wait(),
        }
    }

    /// The observer has lost its database, and reads what comes once more.
    fn begin_observing_anew(&mut self) {
        self.world.count("observer begun anew");
        let observers =
            (0..self.processes.len()).filter(|index| self.processes[*index].role == Role::Observer);
        let observers: Vec<usize> = observers.collect();
        observers.iter().for_each(|index| self.stop(*index));
        self.site.begin_observing_anew();
        observers.iter().for_each(|index| self.restart(*index));
    }
}

/// An event of a chain that nobody has begun: it waits in vain for the order.
fn in_vain() -> Record {
    let name = |text: &str| Name::new(text).expect("a name");
    let saga = "fulfilment:nobodys".parse().expect("a chain");
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
