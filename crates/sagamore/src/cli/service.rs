//! `service NAME`: one service as its own process.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use sagamore_kafka::Kafka;
use sagamore_sdk::{Options, Participant};
use sagamore_server::http::routes::Routes;
use sagamore_server::http::{self, ServiceApp};
use sagamore_server::{Client, ServiceHost, StartupWait};

use super::process::{self, HttpProcess, ListenAddress, PAUSE, host};
use super::topics;
use crate::brokers::KafkaHealth;
use crate::config::Settings;
use crate::crew::Crew;
use crate::error::Error;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::story::{ServiceEntry, Story};

/// The arguments of `service`.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Name of the service
    name: String,
    /// Address to listen on instead of the configured one, for a second process of the service on
    /// one host
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// React to the other services' events, like `choreography = true` in the configuration
    #[arg(long)]
    choreography: bool,
}

/// Runs until SIGTERM or Ctrl-C. While a server is unavailable, the listener reports the reason.
pub async fn run(invocation: &Invocation, args: ServiceArgs) -> Result<Exit> {
    let mut settings = invocation.settings()?;
    settings.choreography |= args.choreography;
    let (program, story) = (&invocation.program, invocation.story(&settings));
    let name = args.name.as_str();
    let Some(entry) = story.services.iter().find(|entry| entry.name().as_str() == name) else {
        let names = story
            .services
            .iter()
            .map(|entry| entry.name().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        match names.is_empty() {
            true => bail!("{} has no services: use the program with service {name}", program.name),
            false => bail!("{} has no service {name}: use one of {names}", program.name),
        }
    };
    let own = settings.service(name).with_context(|| format!("{name} has no settings"))?.clone();
    let command = format!("{} service {name}", program.name);
    let place = ListenAddress::of(
        &settings,
        &command,
        &format!("services.{name}"),
        args.listen.as_deref(),
        &own.listen,
    );
    let listener = process::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("read the listener's address")?;
    let metrics = process::record_metrics()?;
    // the instance name survives a restart, so the group need not wait for the eviction of the
    // former process
    let instance = settings.topic(&format!("{name}-{}-{address}", host()));
    let kafka = settings.kafka(name, Some(instance))?;
    let partitions =
        if entry.is_commanded() { own.partitions } else { settings.observer.partitions };
    let (mut participant, host) = participant(&settings, (story, entry), &kafka, partitions)?;
    let waiting = StartupWait::default();
    let routes = entry.routes.as_ref().map_or_else(Routes::new, |own| own(&host));
    let app = ServiceApp {
        host,
        brokers: Arc::new(KafkaHealth::of(&kafka)),
        plan: story.first_plan(),
        waiting: waiting.clone(),
        metrics: Some(metrics),
    };
    let title = format!("Sagamore's service {name}");
    let router = http::router(&title, http::service_routes(app, routes), &program.all_problems());
    let (topic, key) = compared(&settings, story, entry);
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    let mut crew = Crew::new();
    let name = name.to_owned();
    crew.spawn(name.clone(), move |mut stopped| async move {
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            checked = check_partitions(&kafka, &topic, &key, partitions, &waiting) => checked?,
        }
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            prepared = prepare(&mut participant, &name, &waiting) => prepared?,
        }
        waiting.end();
        outln!("Sagamore's service {name} is ready: http://{address}");
        participant.run(stopped).await.map_err(|source| Error::Service { name, source })
    });
    process.until_stopped(crew).await
}

/// Returns the participant, which does not run yet, and its parts for the routes.
fn participant(
    settings: &Settings,
    (story, entry): (&Story, &ServiceEntry),
    kafka: &Kafka,
    partitions: u32,
) -> Result<(Participant, ServiceHost)> {
    let clients = |servers: Vec<String>, key: &str| {
        let clients =
            servers.iter().map(|server| Client::new(server)).collect::<Result<Vec<_>, _>>();
        clients.with_context(|| settings.named(key))
    };
    let (name, database) = (entry.name().clone(), settings.database(entry.name().as_str())?);
    let (transport, barrier_retention) = (Arc::new(kafka.clone()), settings.barrier_retention());
    let options = Options {
        partitions,
        barrier_retention,
        plans: story.plan_versions(),
        ..Options::default()
    };
    let participant =
        Participant::new(entry.service.clone(), database.clone(), transport.clone(), options);
    let host = ServiceHost {
        name,
        database,
        outbox: participant.outbox(),
        transport,
        barrier_retention,
        reacts: entry.reacts(),
        is_embedded: false,
        orchestrators: clients(settings.servers(), "orchestrator.servers")?,
        observers: clients(settings.observers(), "observer.servers")?,
    };
    Ok((participant, host))
}

/// Returns the topic whose partitions must match the configuration, with the configuration key.
fn compared(settings: &Settings, story: &Story, entry: &ServiceEntry) -> (String, String) {
    let name = entry.name();
    let event = story.plans.first().map(|plan| plan.begins.event.to_string());
    match event.filter(|_| !entry.is_commanded()) {
        Some(event) => (event, "observer.partitions".to_owned()),
        None => (format!("{name}.commands"), settings.key(&format!("services.{name}.partitions"))),
    }
}

/// Fails if the topic exists with another number of partitions than the configuration. Waits for
/// the brokers.
async fn check_partitions(
    kafka: &Kafka,
    topic: &str,
    key: &str,
    partitions: u32,
    waiting: &StartupWait,
) -> Result<(), Error> {
    loop {
        match topics::disagreement(kafka, topic, key, partitions).await {
            Ok(None) => return Ok(()),
            Ok(Some(disagreement)) => return Err(disagreement),
            Err(error) if error.is_transient() => waiting.set_reason(&error),
            Err(error) => return Err(Error::Log(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Migrates the service's tables. Waits for the database.
async fn prepare(
    participant: &mut Participant,
    name: &str,
    waiting: &StartupWait,
) -> Result<(), Error> {
    loop {
        match participant.prepare().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => {
                waiting.set_reason(&format!("database of {name}: {error}"))
            }
            Err(source) => return Err(Error::Service { name: name.to_owned(), source }),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
