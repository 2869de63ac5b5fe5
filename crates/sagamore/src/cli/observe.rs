//! `sagamore observe`: an observer as a process of its own.

use std::sync::Arc;

use anyhow::{Context, Result};
use sagamore_engine::{Chains, Observer, ObserverOptions};
use sagamore_kafka::Kafka;
use sagamore_shop::choreography;

use super::attend::{self, Attended, Place};
use super::output::Exit;
use super::serve::{PAUSE, host};
use super::{ConfigArgs, ObserveArgs, topics};
use crate::config::Settings;
use crate::crew::Crew;
use crate::http::{ObserverApp, Services, observer_router};
use crate::stack::Error;
use crate::waiting::Waiting;

/// Runs until SIGTERM or Ctrl-C. While a server is missing it goes on trying.
pub async fn run(config: &ConfigArgs, args: ObserveArgs) -> Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    let own = &settings.observer.listen;
    let place = Place::of(&settings, "sagamore observe", "observer", args.listen.as_deref(), own);
    let listener = attend::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let waiting = Waiting::default();
    // the same name after a restart: the group need not wait until it has given the former process up
    let instance = settings.topic(&format!("observer-{}-{address}", host()));
    let kafka = settings.kafka("observer", Some(instance))?;
    let opening = open(&settings, args.group, &kafka, &waiting);
    let (listener, (observer, chains)) = attend::meanwhile(listener, ("observer", &waiting), opening).await?;
    let services = Services::at(&settings)?;
    let app = ObserverApp { chains, services, kafka: Some(kafka), metrics: Some(metrics) };
    let attended = Attended::begin(listener, observer_router(app))?;
    let mut crew = Crew::new();
    crew.spawn("the observer", |stopped| async { observer.run(stopped).await.map_err(Error::Engine) });
    outln!("Sagamore's observer is ready: http://{address}");
    attended.until_stopped(crew).await
}

/// What an observer of this configuration keeps, wherever it runs.
pub async fn chains(settings: &Settings, waiting: &Waiting) -> Result<Chains> {
    let plan = sagamore_shop::choreography::plan().context("the shop's plan")?;
    let database = settings.database("observer")?;
    loop {
        match Chains::open(database.clone(), vec![plan.clone()]).await {
            Err(error) if error.is_transient() => {
                waiting.because(&error);
                tokio::time::sleep(PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Tries until the servers are there: a start order is nobody's worry.
async fn open(
    settings: &Settings,
    group: Option<String>,
    kafka: &Kafka,
    waiting: &Waiting,
) -> Result<(Observer, Chains)> {
    let plan = sagamore_shop::choreography::plan().context("the shop's plan")?;
    let transport = Arc::new(kafka.clone());
    let database = settings.database("observer")?;
    let (partitions, tells_overdue) = (settings.observer.partitions, settings.observer.tells_overdue);
    let retention = settings.barrier_retention();
    let usual = ObserverOptions::default();
    let group = group.unwrap_or(usual.group.clone());
    let options = ObserverOptions { group, partitions, retention, tells_overdue, ..usual };
    loop {
        let key = "observer.partitions";
        let opened = match topics::disagreement(kafka, choreography::BEGINS, key, partitions).await {
            Err(error) => Err(error.into()),
            Ok(Some(disagreement)) => return Err(disagreement.into()),
            Ok(None) => Observer::open(options.clone(), database.clone(), transport.clone(), vec![plan.clone()]).await,
        };
        match opened {
            Err(error) if error.is_transient() => {
                waiting.because(&error);
                tokio::time::sleep(PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}
