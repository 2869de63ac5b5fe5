//! `gateway`: the gateways of the configured HTTP participants as their own process, on Kafka.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Result, bail};
use sagamore_engine::Chains;
use sagamore_gateway::{Contracts, Plans};
use sagamore_server::StartupWait;
use sagamore_transport::Transport;

use super::observe;
use crate::config::Settings;
use crate::crew::Crew;
use crate::error::{Error, STOP_MAX};
use crate::http_participants::{self, HttpParticipants, StoredContracts};
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::saga_files::SagaFiles;

/// The partitions of a participant's command topic, if the configuration does not name them.
const COMMAND_PARTITIONS: u32 = 12;

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(invocation: &Invocation) -> Result<Exit> {
    let settings = invocation.settings()?;
    let files = SagaFiles::load(&settings.definitions);
    if let Some(mistakes) = files.all_mistakes() {
        bail!("{}: {mistakes}", settings.named("definitions"));
    }
    let mut definitions = invocation.story(&settings).sagas.clone();
    definitions.extend(files.definitions.into_iter().map(|(_, definition)| definition));
    let contracts = StoredContracts::of(&definitions, settings.database("engine")?);
    let participants = settings.http_participants()?;
    let mut crew = Crew::new();
    let names = spawn(&settings, participants, Arc::new(contracts), &mut crew)?;
    if names.is_empty() {
        bail!(
            "no HTTP participants: add some to the configuration, for example\n  \
             [participants.cards]\n  url = \"http://127.0.0.1:8080/sagas\""
        );
    }
    let (plans, database) =
        (observe::all_plans(invocation, &settings)?, settings.database("observer")?);
    let chains = async move { observe::chains(database, &plans, &StartupWait::default()).await };
    spawn_reactors(&settings, chains, &mut crew)?;
    let mut stop = invocation.stop()?;
    outln!("Sagamore's gateway is ready: {}", names.join(", "));
    let broken = tokio::select! {
        () = &mut stop => None,
        broken = crew.broken() => Some(broken),
    };
    crew.stop(STOP_MAX).await?;
    broken.map_or(Ok(Exit::Completed), |broken| Err(broken.into()))
}

/// Starts the reactors of the configured participants, which react to the events of the plans that
/// the observer's database has, once it can be read.
pub fn spawn_reactors<F>(settings: &Settings, chains: F, crew: &mut Crew) -> Result<()>
where
    F: Future<Output = Result<Chains, Error>> + Send + 'static,
{
    let participants = settings.http_participants()?;
    if participants.is_empty() {
        return Ok(());
    }
    let transport: Arc<dyn Transport> = Arc::new(settings.kafka("gateway", None)?);
    let (plans, database) = (Plans::default(), settings.database("gateway")?);
    let partitions = settings.observer.partitions;
    let reactors = participants.reactors(&transport, &plans, &database, partitions)?;
    http_participants::follow_plans(crew, plans, chains);
    http_participants::spawn_reactors(crew, reactors);
    Ok(())
}

/// Starts the gateways of these participants on Kafka. Returns their names.
pub fn spawn(
    settings: &Settings,
    participants: HttpParticipants,
    contracts: Arc<dyn Contracts>,
    crew: &mut Crew,
) -> Result<Vec<String>> {
    if participants.is_empty() {
        return Ok(Vec::new());
    }
    let transport: Arc<dyn Transport> = Arc::new(settings.kafka("gateway", None)?);
    let database = settings.database("gateway")?;
    let partitions = |name: &sagamore_core::Name| {
        settings.service(name.as_str()).map_or(COMMAND_PARTITIONS, |service| service.partitions)
    };
    let mut names = Vec::new();
    for (name, gateway) in participants.gateways(&transport, &contracts, &database, partitions)? {
        names.push(name.clone());
        crew.spawn(format!("the gateway of {name}"), move |stopped| async move {
            gateway.run(stopped).await.map_err(|source| Error::Gateway { name, source })
        });
    }
    Ok(names)
}
