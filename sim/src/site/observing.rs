//! The parts of a choreographed site: the outbox for customers, and the observer.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt;
use sagamore_engine::{Error, Observer, ObserverOptions};
use sagamore_sdk::{Database, Options, Outbox, Participant};
use sagamore_shop::choreography;
use sagamore_transport::wire::event_topic;

use super::Site;
use crate::checker::TRIGGERS;
use crate::clocks::ProcessClock;
use crate::rows::Owner;
use crate::store::Store;
use crate::style::Style;

impl Site {
    /// Creates the services' tables before the first order, and the triggers that report the
    /// barriers' rows.
    pub(super) fn prepare_services(&self) {
        for (service, store) in &self.services {
            let transport =
                self.hub.for_process(&"setup".into(), &ProcessClock::right(&self.world));
            let mut participant = Participant::new(
                service.clone(),
                store.inner.clone(),
                transport,
                Options::default(),
            );
            let prepared = participant.prepare().now_or_never();
            prepared
                .expect("databases in memory never block")
                .expect("create the services' tables");
            store.prepare(TRIGGERS);
        }
        if self.style == Style::Choreographed {
            for (service, _) in &self.services {
                // the program, too, subscribes every service before any of them runs
                let topics = service.reacts_to().map(Arc::from).collect();
                self.hub.introduce(service.name().as_str(), topics);
            }
            self.restart_observer_empty();
        }
    }

    /// Deletes the observer's database and changes its group. No observer may run.
    ///
    /// The log registers the group at once, because the program opens the observer before any
    /// service runs. Otherwise the log could remove records that all registered groups have read.
    pub fn restart_observer_empty(&self) {
        let mut desk = self.desk();
        let count = desk.observer.as_ref().map_or(0, |(_, count)| count + 1);
        desk.observer = Some((Store::new(&self.world, Owner::Observer), count));
        let plan = choreography::plan().expect("the plan is valid");
        let reactions = plan.parts().flat_map(|part| part.events()).map(|(event, _)| event);
        let topics = reactions.chain(&plan.overdue).map(event_topic).collect();
        self.hub.introduce(&group(count), topics);
    }

    fn observer(&self) -> Option<(Store, u32)> {
        self.desk().observer.clone()
    }

    /// Returns the observer's database, or the engine's if there is none.
    pub fn observed(&self) -> Database {
        self.observer().map_or_else(|| self.engine.inner.clone(), |(store, _)| store.inner)
    }

    /// Returns the outbox that starts chains.
    pub fn outbox(&self) -> Outbox {
        self.desk().outbox.clone()
    }

    /// Runs one incarnation of the observer.
    pub async fn observe(self: Arc<Site>, born_in_ms: i64) {
        let world = &self.world;
        world.sleep(born_in_ms).await;
        let Some((store, count)) = self.observer() else { return };
        let clock = ProcessClock::draw(world, self.skew_ms_max);
        loop {
            let who = self.incarnation("observer");
            let options = ObserverOptions {
                group: group(count),
                partitions: 2,
                batch_max: [1, 3, 1_000][world.below(3) as usize],
                tells_overdue: world.percent(50),
                ..ObserverOptions::default()
            };
            let plan = choreography::plan().expect("the plan is valid");
            let (database, transport) =
                (store.for_process(&who), self.hub.for_process(&who, &clock));
            let ended = match Observer::open(options, database, transport, vec![plan]).await {
                Ok((mut observer, _)) => self.turns_of(&mut observer, &clock).await,
                Err(error) => Err(error),
            };
            match ended {
                Err(error) if error.is_transient() => world.sleep(world.between(5, 2_000)).await,
                Err(error) => return world.violate("turn-failed", format!("{who}: {error}")),
                Ok(never) => match never {},
            }
        }
    }

    /// Runs turns until one fails and is not retried.
    async fn turns_of(
        &self,
        observer: &mut Observer,
        clock: &ProcessClock,
    ) -> Result<Infallible, Error> {
        let world = &self.world;
        let mut idle = 1;
        loop {
            match observer.turn(clock.now()).await {
                Ok(taken) => {
                    idle = if taken > 0 { 1 } else { (idle * 2).min(1_000) };
                    world.rest(idle).await;
                }
                Err(error) if error.is_transient() && world.percent(50) => {
                    world.log(|| format!("observer: {error}"));
                    world.sleep(world.between(5, 500)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the observer's group for this reset.
fn group(count: u32) -> String {
    format!("sagamore.observer.{count}")
}
