//! `sagamore serve`: an orchestrator on Kafka and PostgreSQL, with the HTTP API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sagamore_core::Definition;
use sagamore_engine::{Handle, Options, Orchestrator};
use sagamore_kafka::Kafka;
use sagamore_transport::Transport;

use super::attend::{self, Attended, Place, Work};
use super::output::Exit;
use super::{ConfigArgs, ServeArgs, bench, observe, topics};
use crate::config::Settings;
use crate::crew::Crew;
use crate::http::{self, App, Services};
use crate::stack::Error;
use crate::waiting::Waiting;

/// The pause before a start that found a server missing is tried again.
pub const PAUSE: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(config: &ConfigArgs, args: ServeArgs) -> Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    let own = &settings.orchestrator.listen;
    let place = Place::of(&settings, "sagamore serve", "orchestrator", args.listen.as_deref(), own);
    let listener = attend::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let mut definitions = vec![sagamore_shop::checkout().context("the checkout saga")?];
    if args.bench {
        definitions.push(bench::definition()?);
    }
    let owner = owner(&address.to_string());
    let waiting = Waiting::default();
    let patience = Duration::from_millis(settings.orchestrator.lease_ms) * 5 / 6;
    let kafka = settings.kafka_within("orchestrator", patience)?;
    let opening = async {
        let opened = open(&settings, &owner, definitions, &kafka, &waiting).await?;
        let chains = if settings.choreography { Some(observe::chains(&settings, &waiting).await?) } else { None };
        Ok((opened, chains))
    };
    let (listener, opened) = attend::meanwhile(listener, ("orchestrator", &waiting), opening).await?;
    let ((orchestrator, handle), chains) = opened;
    if settings.choreography {
        errln!(
            "choreography is set: services that are started with it hear no commands, and sagas that are started here wait \
             for such as are not"
        );
    }
    let services = Services::at(&settings)?;
    let app =
        App { handle, chains, services, shop: None, kafka: Some(kafka.clone()), log: None, metrics: Some(metrics) };
    let attended = Attended::begin(listener, http::router(app))?;
    let mut crew = Crew::new();
    crew.spawn("the orchestrator", |stopped| async { orchestrator.run(stopped).await.map_err(Error::Engine) });
    outln!("Sagamore's orchestrator {owner} is ready: http://{address}");
    attended.until_stopped(crew).await
}

/// Tries until the servers are there: a start order is nobody's worry.
async fn open(
    settings: &Settings,
    owner: &str,
    definitions: Vec<Definition>,
    kafka: &Kafka,
    waiting: &Waiting,
) -> Result<(Orchestrator, Handle)> {
    let options = Options {
        reply_topic: settings.topic(topics::REPLIES),
        reply_partitions: settings.orchestrator.partitions,
        owner: owner.to_owned(),
        lease: Some(Duration::from_millis(settings.orchestrator.lease_ms)),
        in_flight_max: settings.orchestrator.sagas_max,
        retention: settings.journal_retention(),
        barrier_retention: settings.barrier_retention(),
        command_partitions: settings.order.partitions,
        ..Options::default()
    };
    let transport: Arc<dyn Transport> = Arc::new(kafka.clone());
    let database = settings.database("engine")?;
    loop {
        let key = "orchestrator.partitions";
        let opened = match topics::disagreement(kafka, topics::REPLIES, key, options.reply_partitions).await {
            Err(error) => Err(error.into()),
            Ok(Some(disagreement)) => return Err(disagreement.into()),
            Ok(None) => {
                Orchestrator::open(options.clone(), database.clone(), transport.clone(), definitions.clone()).await
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

/// A name that no other process has, here or elsewhere.
fn owner(address: &str) -> String {
    format!("{}/{address}/{}-{:08x}", host(), std::process::id(), fastrand::u32(..))
}

/// This machine's name.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "host".to_owned() } else { name.trim().to_owned() }
}

impl Work for Crew {
    async fn broken(&mut self) -> Error {
        Crew::broken(self).await
    }

    async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        Crew::stop(&mut self, limit).await
    }
}
