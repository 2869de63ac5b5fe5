//! `observe`: an observer as a process of its own.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sagamore_core::Plan;
use sagamore_engine::{Chains, Error as EngineError, Observer, ObserverOptions};
use sagamore_kafka::Kafka;
use sagamore_server::Waiting;
use sagamore_server::http::{self, ObserverApp};

use super::attend::{self, Attended, Place};
use super::serve::{PAUSE, host};
use super::{ObserveArgs, topics};
use crate::brokers::KafkaHealth;
use crate::config::Settings;
use crate::crew::Crew;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::stack::Error;

/// Runs until SIGTERM or Ctrl-C, and waits while a server is missing.
pub async fn run(invocation: &Invocation, args: ObserveArgs) -> Result<Exit> {
    let settings = invocation.settings()?;
    let program = &invocation.program;
    let (own, command) = (&settings.observer.listen, format!("{} observe", program.name));
    let place = Place::of(&settings, &command, "observer", args.listen.as_deref(), own);
    let listener = attend::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let waiting = Waiting::default();
    // the same name after a restart: the group need not wait until it has given the former process up
    let instance = settings.topic(&format!("observer-{}-{address}", host()));
    let kafka = settings.kafka("observer", Some(instance))?;
    let plans: Vec<Plan> = program.stories().flat_map(|story| story.plans.clone()).collect();
    let Some(first) = plans.first() else { bail!("{} has no plan to observe", program.name) };
    let plan = Some(first.name.clone());
    let opening = open(&settings, args.group, &plans, &kafka, &waiting);
    let problems = program.all_problems();
    let (listener, opened) =
        attend::meanwhile(listener, ("observer", &waiting), &problems, opening).await?;
    let (observer, chains) = opened;
    let (services, brokers) = (settings.service_clients()?, Arc::new(KafkaHealth::of(&kafka)));
    let app =
        ObserverApp { chains, services, plan, brokers: Some(brokers), metrics: Some(metrics) };
    let router = http::router("Sagamore's observer", http::observer_routes(app), &problems);
    let attended = Attended::begin(listener, router, invocation.stop()?);
    let mut crew = Crew::new();
    crew.spawn("the observer", |stopped| async {
        observer.run(stopped).await.map_err(Error::Engine)
    });
    outln!("Sagamore's observer is ready: http://{address}");
    attended.until_stopped(crew).await
}

/// Opens what an observer of this configuration stores, wherever it runs.
pub async fn chains(settings: &Settings, plans: &[Plan], waiting: &Waiting) -> Result<Chains> {
    let database = settings.database("observer")?;
    loop {
        match Chains::open(database.clone(), plans.to_vec()).await {
            Err(error) if error.is_transient() => {
                waiting.because(&error);
                tokio::time::sleep(PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Retries until the servers are there, so that processes may start in any order.
async fn open(
    settings: &Settings,
    group: Option<String>,
    plans: &[Plan],
    kafka: &Kafka,
    waiting: &Waiting,
) -> Result<(Observer, Chains)> {
    let transport = Arc::new(kafka.clone());
    let database = settings.database("observer")?;
    let (partitions, tells_overdue) =
        (settings.observer.partitions, settings.observer.tells_overdue);
    let retention = settings.barrier_retention();
    let usual = ObserverOptions::default();
    let group = group.unwrap_or(usual.group.clone());
    let options = ObserverOptions { group, partitions, retention, tells_overdue, ..usual };
    loop {
        let opened = match disagreement(kafka, plans, partitions).await {
            Err(error) => Err(error),
            Ok(Some(disagreement)) => return Err(disagreement.into()),
            Ok(None) => {
                Observer::open(options.clone(), database.clone(), transport.clone(), plans.to_vec())
                    .await
            }
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

/// Returns the first topic of a beginning that has another number of partitions than the configuration.
async fn disagreement(
    kafka: &Kafka,
    plans: &[Plan],
    partitions: u32,
) -> Result<Option<Error>, EngineError> {
    for plan in plans {
        let topic = plan.begins.event.as_str();
        let found = topics::disagreement(kafka, topic, "observer.partitions", partitions).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
