//! `serve`: an orchestrator with the HTTP API, on Kafka and PostgreSQL or on the embedded stack.

use std::collections::BTreeMap;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use sagamore_core::{Definition, Name, Plan};
use sagamore_engine::{Handle, Options, Orchestrator};
use sagamore_kafka::Kafka;
use sagamore_server::http::routes::Routes;
use sagamore_server::http::{self, App};
use sagamore_server::{Server, StartupWait};
use sagamore_transport::Transport;

use super::process::{self, HttpProcess, ListenAddress, PAUSE, host};
use super::{gateway, observe, topics};
use crate::brokers::KafkaHealth;
use crate::config::Settings;
use crate::crew::Crew;
use crate::error::Error;
use crate::http_participants::{EngineContracts, ReplyDoor};
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::saga_files::SagaFiles;
use crate::stack::{self, Stack};

/// The partitions of a service's command topic, if the configuration does not name the service.
const COMMAND_PARTITIONS: u32 = 12;

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on instead of the configured one, for a second orchestrator on one host
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Directory for all data: everything runs in this process, without Kafka and PostgreSQL
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(invocation: &Invocation, args: ServeArgs) -> Result<Exit> {
    let settings = invocation.settings()?;
    let invocation = &with_files(invocation, &settings)?;
    if let Some(data) = &args.data {
        return embedded(invocation, &settings, &args, data).await;
    }
    let program = &invocation.program;
    let (own, command) = (&settings.orchestrator.listen, format!("{} serve", program.name));
    let place = ListenAddress::of(&settings, &command, "orchestrator", args.listen.as_deref(), own);
    let listener = process::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("read the listener's address")?;
    let metrics = process::record_metrics()?;
    let definitions = sagas(invocation, &settings);
    let participants = settings.http_participants()?;
    let (reply_keys, bound) = (participants.reply_keys.clone(), participants.names());
    let first_saga = definitions.first().map(|definition| definition.name.clone());
    let owner = owner(&address.to_string());
    let waiting = StartupWait::default();
    let timeout = Duration::from_millis(settings.orchestrator.lease_ms) * 5 / 6;
    let kafka = settings.kafka_within("orchestrator", timeout)?;
    let plans = plans(invocation, &settings);
    let opening = async {
        let opened = open(&settings, &owner, definitions, &kafka, &waiting).await?;
        let chains = observe::chains(settings.database("observer")?, &plans, &waiting).await?;
        let chains = chains.with_retention(settings.barrier_retention());
        let chains = chains.with_transport(Arc::new(kafka.clone()), settings.observer.partitions);
        Ok((opened, chains))
    };
    let problems = program.all_problems();
    let (listener, opened) =
        process::while_opening(listener, ("orchestrator", &waiting), &problems, opening).await?;
    let ((orchestrator, handle), chains) = opened;
    if settings.choreography && program.choreography.is_some() {
        warn_of_choreography();
    }
    let mut crew = Crew::new();
    let contracts = Arc::new(EngineContracts(handle.clone()));
    gateway::spawn(&settings, participants, contracts, &mut crew)?;
    gateway::spawn_reactors(&settings, ready(Ok(chains.clone())), &mut crew)?;
    let server =
        Server { handle: Some(handle.clone()), chains: Some(chains.clone()), ..Server::default() };
    let own =
        program.story.routes.iter().fold(Routes::new(), |routes, own| routes.merge(own(&server)));
    let app = App {
        handle,
        chains: Some(chains),
        services: settings.service_clients()?,
        definition: first_saga,
        plan: plans.first().map(|plan| plan.name.clone()),
        sample_input: None,
        brokers: Some(Arc::new(KafkaHealth::of(&kafka))),
        log: None,
        replies: reply_keys.map(|keys| ReplyDoor::of(keys, Arc::new(kafka.clone()))),
        stand_ins: sagamore_server::StandIns::default(),
        reactions: Some(settings.reactions()?),
        bound: Arc::new(bound),
        metrics: Some(metrics),
    };
    let router = http::router("Sagamore", own.merge(http::orchestrator_routes(app)), &problems);
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    crew.spawn("the orchestrator", |stopped| async {
        orchestrator.run(stopped).await.map_err(Error::Engine)
    });
    outln!("Sagamore's orchestrator {owner} is ready: http://{address}");
    process.until_stopped(crew).await
}

fn warn_of_choreography() {
    errln!(
        "choreography is set: services that are started with it consume no commands, and sagas \
         that are started here wait for services that are started without it"
    );
}

/// Runs everything in this process, with the data in a directory.
async fn embedded(
    invocation: &Invocation,
    settings: &Settings,
    args: &ServeArgs,
    data: &Path,
) -> Result<Exit> {
    let (program, choreography) = (&invocation.program, settings.choreography);
    let (own, command) = (&settings.orchestrator.listen, format!("{} serve", program.name));
    let place = ListenAddress::of(settings, &command, "orchestrator", args.listen.as_deref(), own);
    let listener = process::listen(&place, settings.allow_unauthenticated).await?;
    let address = listener.local_addr().context("read the listener's address")?;
    let metrics = process::record_metrics()?;
    let participants = settings.http_participants()?;
    let mut stack =
        Stack::open(program, choreography, data, settings.orchestrator.sagas_max).await?;
    let folder = stack::directory(program, choreography, data);
    stack.call(program.story(choreography), &folder, participants).await?;
    let router = stack.router(program, choreography, Some(metrics));
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    outln!(
        "Sagamore is ready on the embedded stack: http://{address}\n  data  {}\n  \
         One process and one machine, without Kafka and PostgreSQL.",
        folder.display()
    );
    process.until_stopped(stack).await
}

/// Returns the run with the definitions and plans of the configured files, without sample data.
fn with_files(invocation: &Invocation, settings: &Settings) -> Result<Invocation> {
    let files = SagaFiles::load(&settings.definitions);
    if let Some(mistakes) = files.all_mistakes() {
        bail!("{}: {mistakes}", settings.named("definitions"));
    }
    let mut program = (*invocation.program).clone();
    let story = program.story_mut(settings.choreography);
    story.without_samples();
    story.is_open |= !files.definitions.is_empty() || story.services.is_empty();
    story.sagas.extend(files.definitions.into_iter().map(|(_, definition)| definition));
    story.add_plans(files.plans).map_err(anyhow::Error::msg)?;
    Ok(invocation.with_program(program))
}

/// Returns the definitions: those of the main story, and those of the choreography if it is
/// configured.
fn sagas(invocation: &Invocation, settings: &Settings) -> Vec<Definition> {
    let program = &invocation.program;
    let second = program
        .choreography
        .iter()
        .filter(|_| settings.choreography)
        .flat_map(|story| &story.sagas);
    program.story.sagas.iter().chain(second).cloned().collect()
}

/// Returns the partitions of each service's command topic.
fn partitions_of(settings: &Settings) -> BTreeMap<Name, u32> {
    let services = settings.services();
    services
        .iter()
        .filter_map(|(name, service)| Some((Name::new(name).ok()?, service.partitions)))
        .collect()
}

/// Returns the plans whose chains the API shows: those of the main story, and those of the
/// choreography if it is configured.
fn plans(invocation: &Invocation, settings: &Settings) -> Vec<Plan> {
    let program = &invocation.program;
    let second = program
        .choreography
        .iter()
        .filter(|_| settings.choreography)
        .flat_map(|story| &story.plans);
    program.story.plans.iter().chain(second).cloned().collect()
}

/// Retries until the servers are available, so that processes can start in any order.
async fn open(
    settings: &Settings,
    owner: &str,
    definitions: Vec<Definition>,
    kafka: &Kafka,
    waiting: &StartupWait,
) -> Result<(Orchestrator, Handle)> {
    let options = Options {
        reply_topic: topics::REPLIES.to_owned(), // the transport adds the namespace
        reply_partitions: settings.orchestrator.partitions,
        owner: owner.to_owned(),
        lease: Some(Duration::from_millis(settings.orchestrator.lease_ms)),
        in_flight_max: settings.orchestrator.sagas_max,
        retention: settings.journal_retention(),
        barrier_retention: settings.barrier_retention(),
        command_partitions: COMMAND_PARTITIONS,
        partitions_of: partitions_of(settings),
        ..Options::default()
    };
    let transport: Arc<dyn Transport> = Arc::new(kafka.clone());
    let database = settings.database("engine")?;
    loop {
        let key = "orchestrator.partitions";
        let opened =
            match topics::disagreement(kafka, topics::REPLIES, key, options.reply_partitions).await
            {
                Err(error) => Err(error.into()),
                Ok(Some(disagreement)) => return Err(disagreement.into()),
                Ok(None) => {
                    Orchestrator::open(
                        options.clone(),
                        database.clone(),
                        transport.clone(),
                        definitions.clone(),
                    )
                    .await
                }
            };
        match opened {
            Err(error) if error.is_transient() => {
                waiting.set_reason(&error);
                tokio::time::sleep(PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Returns a name that is unique among all processes.
fn owner(address: &str) -> String {
    format!("{}/{address}/{}-{:08x}", host(), std::process::id(), fastrand::u32(..))
}
