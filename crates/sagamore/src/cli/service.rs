//! `sagamore shop order|payment|inventory|shipping`: one service as a process of its own.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sagamore_kafka::Kafka;
use sagamore_sdk::{Options, Participant};
use sagamore_shop::order::choreographed::Placing;

use super::attend::{self, Attended, Place};
use super::output::Exit;
use super::serve::{PAUSE, host};
use super::{ConfigArgs, ServiceArgs, topics};
use crate::client::Client;
use crate::config::Settings;
use crate::crew::Crew;
use crate::http::{ServiceApp, service_router};
use crate::stack::Error;
use crate::waiting::Waiting;

/// Runs until SIGTERM or Ctrl-C. While a server is missing it goes on trying, and its listener says what it waits for.
pub async fn run(config: &ConfigArgs, name: &'static str, args: ServiceArgs) -> Result<Exit> {
    let mut settings = Settings::load(config.config.as_deref())?;
    settings.choreography |= args.choreography;
    let Some((_, own)) = settings.services().into_iter().find(|(service, _)| *service == name) else {
        bail!("there is no service {name}");
    };
    let command = format!("sagamore shop {name}");
    let place = Place::of(&settings, &command, name, args.listen.as_deref(), &own.listen);
    let listener = attend::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let choreographed = settings.choreography;
    let all = if choreographed { sagamore_shop::choreographed() } else { sagamore_shop::services() };
    let service = all.into_iter().find(|service| service.name().as_str() == name);
    let service = service.with_context(|| format!("the shop has no service {name}"))?;
    // the same name after a restart: the group need not wait until it has given the former process up
    let instance = settings.topic(&format!("{name}-{}-{address}", host()));
    let kafka = settings.kafka(name, Some(instance))?;
    let database = settings.database(name)?;
    let partitions = if choreographed { settings.observer.partitions } else { own.partitions };
    let barrier_retention = settings.barrier_retention();
    let options = Options { partitions, barrier_retention, ..Options::default() };
    let mut participant = Participant::new(service, database.clone(), Arc::new(kafka.clone()), options);
    let clients = |servers: Vec<String>, key: &str| {
        let clients = servers.iter().map(|server| Client::new(server)).collect::<Result<Vec<_>, _>>();
        clients.with_context(|| settings.named(key))
    };
    let orchestrators = clients(settings.servers(), "orchestrator.servers")?;
    let observers = clients(settings.observers(), "observer.servers")?;
    let begins = choreographed && name == sagamore_shop::order::SERVICE;
    let placing = begins.then(|| Placing::begin(database.clone(), participant.outbox()));
    let (kept, waiting) = (kafka.clone(), Waiting::default());
    let metrics = Some(metrics);
    let app = ServiceApp {
        name,
        database,
        barrier_retention,
        kafka: kept,
        choreographed,
        placing,
        orchestrators,
        observers,
        waiting: waiting.clone(),
        metrics,
    };
    let (topic, key) = match choreographed {
        true => (sagamore_shop::choreography::BEGINS.to_owned(), "observer.partitions".to_owned()),
        false => (format!("{name}.commands"), format!("{name}.partitions")),
    };
    let attended = Attended::begin(listener, service_router(app))?;
    let mut crew = Crew::new();
    crew.spawn(name, move |mut stopped| async move {
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            agreed = agreed(&kafka, &topic, &key, partitions, &waiting) => agreed?,
        }
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            prepared = prepared(&mut participant, name, &waiting) => prepared?,
        }
        waiting.is_over();
        outln!("Sagamore's service {name} is ready: http://{address}");
        participant.run(stopped).await.map_err(|source| Error::Service { name, source })
    });
    attended.until_stopped(crew).await
}

/// Fails unless the topic, if it is there, has as many partitions as are configured. Waits for the brokers.
async fn agreed(kafka: &Kafka, topic: &str, key: &str, partitions: u32, waiting: &Waiting) -> Result<(), Error> {
    loop {
        match topics::disagreement(kafka, topic, key, partitions).await {
            Ok(None) => return Ok(()),
            Ok(Some(disagreement)) => return Err(disagreement),
            Err(error) if error.is_transient() => waiting.because(&error),
            Err(error) => return Err(Error::Log(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Brings the service's tables up to date. Waits for the database.
async fn prepared(participant: &mut Participant, name: &'static str, waiting: &Waiting) -> Result<(), Error> {
    loop {
        match participant.prepare().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => waiting.because(&format!("database of {name}: {error}")),
            Err(source) => return Err(Error::Service { name, source }),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
