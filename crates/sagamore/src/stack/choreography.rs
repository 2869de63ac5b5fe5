//! The embedded stack in choreographed form: one log, the shop's four databases and services, and an observer. No orchestrator.

use std::path::Path;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_engine::{Chains, Observer, ObserverOptions};
use sagamore_sdk::{Outbox, Participant};
use sagamore_shop::Databases;
use sagamore_shop::order::choreographed::Placing;

use super::{Error, Ground, database};
use crate::http::ChoreographyApp;

/// Where it lies in the data directory, apart from what is orchestrated there.
pub const FOLDER: &str = "choreography";

/// Everything, at work.
pub struct Choreography {
    /// What is known of chains.
    pub chains: Chains,
    /// Where orders come in.
    pub placing: Placing,
    /// The shop's databases.
    pub shop: Databases,
    ground: Ground,
}

impl Choreography {
    /// Opens the directory, made when it is absent, and sets everything to work: chains that were under way go on.
    pub async fn open(data: &Path) -> Result<Choreography, Error> {
        let data = data.join(FOLDER);
        let (mut ground, shop) = Ground::open(&data).await?;
        let transport = ground.transport();
        let plan = sagamore_shop::choreography::plan().map_err(|error| Error::Definition(error.to_string()))?;
        let (observer, chains) =
            Observer::open(ObserverOptions::default(), database(&data, "observer")?, transport.clone(), vec![plan])
                .await?;
        let crew = &mut ground.crew;
        crew.spawn("the observer", |stopped| async { observer.run(stopped).await.map_err(Error::Engine) });
        let mut outbox = Outbox::default();
        for (service, (name, database)) in sagamore_shop::choreographed().into_iter().zip(shop.all()) {
            let options = sagamore_sdk::Options::default();
            let mut participant = Participant::new(service, database.clone(), transport.clone(), options);
            participant.prepare().await.map_err(|source| Error::Service { name, source })?;
            if name == sagamore_shop::order::SERVICE {
                outbox = participant.outbox();
            }
            ground.employ(name, participant);
        }
        let placing = Placing::begin(shop.order.clone(), outbox);
        Ok(Choreography { chains, placing, shop, ground })
    }

    /// What the HTTP side works with.
    pub fn app(&self, metrics: Option<PrometheusHandle>) -> ChoreographyApp {
        let Choreography { chains, placing, shop, .. } = self;
        let log = self.ground.log.clone();
        ChoreographyApp { chains: chains.clone(), placing: placing.clone(), shop: shop.clone(), log, metrics }
    }

    /// Waits until some part of it stops although nobody asked it to.
    pub async fn broken(&mut self) -> Error {
        self.ground.crew.broken().await
    }

    /// Finishes the turns that have begun, syncs the log, lets go of the directory.
    pub async fn stop(self, limit: Duration) -> Result<(), Error> {
        self.ground.leave(limit).await
    }
}
