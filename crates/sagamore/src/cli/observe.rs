//! `observe`: the observer as its own process.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use sagamore_core::Plan;
use sagamore_database::Database;
use sagamore_engine::{Chains, Error as EngineError, Observer, ObserverOptions};
use sagamore_kafka::Kafka;
use sagamore_server::StartupWait;
use sagamore_server::http::{self, ObserverApp};

use super::process::{self, HttpProcess, ListenAddress, PAUSE, host};
use super::topics;
use crate::brokers::KafkaHealth;
use crate::config::Settings;
use crate::crew::Crew;
use crate::error::Error;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::saga_files::SagaFiles;
use crate::story::Story;

/// The arguments of `observe`.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// Consumer group instead of sagamore.observer; a new group reads the topics from their
    /// beginning
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Address to listen on instead of the configured one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// Runs until SIGTERM or Ctrl-C, and waits while a server is unavailable.
pub async fn run(invocation: &Invocation, args: ObserveArgs) -> Result<Exit> {
    let settings = invocation.settings()?;
    let program = &invocation.program;
    let (own, command) = (&settings.observer.listen, format!("{} observe", program.name));
    let place = ListenAddress::of(&settings, &command, "observer", args.listen.as_deref(), own);
    let listener = process::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("read the listener's address")?;
    let metrics = process::record_metrics()?;
    let waiting = StartupWait::default();
    // the instance name survives a restart, so the group need not wait for the eviction of the
    // former process
    let instance = settings.topic(&format!("observer-{}-{address}", host()));
    let kafka = settings.kafka("observer", Some(instance))?;
    let plans = all_plans(invocation, &settings)?;
    let plan = plans.first().map(|plan| plan.name.clone());
    let opening = open(&settings, args.group, &plans, &kafka, &waiting);
    let problems = program.all_problems();
    let (listener, opened) =
        process::while_opening(listener, ("observer", &waiting), &problems, opening).await?;
    let (observer, chains) = opened;
    let (services, brokers) = (settings.service_clients()?, Arc::new(KafkaHealth::of(&kafka)));
    let app = ObserverApp {
        brokers: Some(brokers),
        metrics: Some(metrics),
        reactions: Some(settings.reactions()?),
        bound: Arc::new(settings.http_participants()?.names()),
        ..ObserverApp::of(chains, services, plan)
    };
    let router = http::router("Sagamore's observer", http::observer_routes(app), &problems);
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    let mut crew = Crew::new();
    crew.spawn("the observer", |stopped| async {
        observer.run(stopped).await.map_err(observer_error)
    });
    outln!("Sagamore's observer is ready: http://{address}");
    process.until_stopped(crew).await
}

/// Returns the plans of both stories, and those of the configured files.
pub fn all_plans(invocation: &Invocation, settings: &Settings) -> Result<Vec<Plan>> {
    let files = SagaFiles::load(&settings.definitions);
    if let Some(mistakes) = files.all_mistakes() {
        bail!("{}: {mistakes}", settings.named("definitions"));
    }
    let mut story = Story::default();
    story.plans.extend(invocation.program.stories().flat_map(|story| story.plans.clone()));
    story.add_plans(files.plans).map_err(anyhow::Error::msg)?;
    Ok(story.plans)
}

/// Opens the observer's view of chains, for any process with this configuration.
pub async fn chains(
    database: Database,
    plans: &[Plan],
    waiting: &StartupWait,
) -> Result<Chains, Error> {
    loop {
        match Chains::open(database.clone(), plans.to_vec()).await {
            Err(error) if error.is_transient() => {
                waiting.set_reason(&observer_error(error));
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened.map_err(observer_error),
        }
    }
}

/// Retries until the servers are available, so that processes can start in any order.
async fn open(
    settings: &Settings,
    group: Option<String>,
    plans: &[Plan],
    kafka: &Kafka,
    waiting: &StartupWait,
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
                waiting.set_reason(&observer_error(error));
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened.map_err(|error| observer_error(error).into()),
        }
    }
}

/// Names the observer in errors that the engine's library attributes to an orchestrator.
fn observer_error(error: EngineError) -> Error {
    match error {
        EngineError::Database(source) => Error::Database { name: "observer".to_owned(), source },
        EngineError::Transport(source) => Error::Log(source),
        other => Error::Engine(other),
    }
}

/// Returns the first topic of a plan's first event whose partitions differ from the configuration.
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
