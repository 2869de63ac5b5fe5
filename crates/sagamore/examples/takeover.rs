//! Measures a full restart on real Kafka and PostgreSQL: with many unfinished sagas, all
//! orchestrators are killed and restarted. Prints the figures, and fails when a limit is exceeded.
//!
//! ```sh
//! eval "$(cargo xtask services env)"
//! cargo run --release -p sagamore --example takeover -- 100000
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagamore_core::{Body, Definition};
use sagamore_database::Database;
use sagamore_database::postgres;
use sagamore_engine::{Handle, Options, Orchestrator, Start};
use sagamore_kafka::Kafka;
use sagamore_sdk::Message;
use sagamore_transport::{Consumer, Subscription, Transport, wire};
use tokio::task::JoinSet;

const ORCHESTRATORS: usize = 3;
const PARTITIONS: u32 = 12;
const LEASE: Duration = Duration::from_secs(3);
/// Maximum concurrent starts.
const CLIENTS: usize = 2_000;
const OWNED_WITHIN: Duration = Duration::from_secs(15);
const RESENDS_MAX: u32 = 2;
const RAISES_MAX: i64 = 2;
/// Time limit of each part of the measurement.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Message)]
struct Errand {
    place: String,
}

#[derive(Message)]
#[message(to = "runner")]
struct Run {
    place: String,
}

/// The servers, with a namespace and a schema of this run.
struct Site {
    brokers: String,
    url: String,
    name: String,
}

/// The number of publications of each command, by id.
struct Tally {
    consumer: Box<dyn Consumer>,
    sent: BTreeMap<String, u32>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let sagas = std::env::args()
        .nth(1)
        .map_or(Ok(100_000), |count| count.parse())
        .context("the number of sagas")?;
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("set {name}: `cargo xtask services env`"))
    };
    let name = format!("takeover-{}-{:04x}", std::process::id(), fastrand::u16(..));
    let (brokers, url) = (variable("SAGAMORE_TEST_KAFKA")?, variable("SAGAMORE_TEST_POSTGRES")?);
    let site = Site { brokers, url, name };
    let measured = measure(&site, sagas).await;
    site.remove().await?;
    measured
}

async fn measure(site: &Site, sagas: usize) -> Result<()> {
    let begun = Instant::now();
    let (lives, handles) = site.start("seeder").await?;
    wait_until(|| owned(&handles) == PARTITIONS as usize).await?;
    seed(&handles, sagas).await?;
    let mut tally = site.tally().await?;
    while tally.sent.len() < sagas {
        tally.count().await?;
        ensure!(begun.elapsed() < PATIENCE, "{} of {sagas} commands are sent", tally.sent.len());
    }
    println!("{sagas} unfinished sagas after {:.1} s", begun.elapsed().as_secs_f64());
    drop((lives, handles)); // a kill releases no lease
    tally.sent.clear();
    let (before, restarted) = (site.epochs().await?, Instant::now());
    let (_lives, handles) = site.start("successor").await?;
    wait_until(|| owned(&handles) == PARTITIONS as usize).await?;
    let owned_after = restarted.elapsed();
    while tally.sent.len() < sagas {
        tally.count().await?;
        ensure!(
            restarted.elapsed() < PATIENCE,
            "{} of {sagas} commands are sent again",
            tally.sent.len()
        );
    }
    let resent_after = restarted.elapsed();
    tokio::time::sleep(LEASE).await; // time for redundant resends
    tally.count().await?;
    let raises: Vec<i64> =
        site.epochs().await?.iter().zip(before).map(|(after, before)| after - before).collect();
    let (most, total) =
        (tally.sent.values().max().copied().unwrap_or(0), tally.sent.values().sum::<u32>());
    println!("every partition owned after {:.1} s", owned_after.as_secs_f64());
    println!(
        "every command sent again after {:.1} s: {total} in all, one at most {most} times",
        resent_after.as_secs_f64()
    );
    println!(
        "epochs raised {raises:?}; partitions {:?}",
        handles.iter().map(Handle::partitions_owned).collect::<Vec<_>>()
    );
    ensure!(owned_after <= OWNED_WITHIN, "not all partitions are owned within {OWNED_WITHIN:?}");
    ensure!(most <= RESENDS_MAX, "a command was sent again more than {RESENDS_MAX} times");
    ensure!(
        raises.iter().all(|raises| *raises <= RAISES_MAX),
        "an epoch was raised more than {RAISES_MAX} times"
    );
    Ok(())
}

/// Starts `sagas` sagas, which wait for a participant that does not exist.
async fn seed(handles: &[Handle], sagas: usize) -> Result<()> {
    let definition = definition()?.name.clone();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS.min(sagas) {
        let (handle, definition) = (handles[client % handles.len()].clone(), definition.clone());
        clients.spawn(async move {
            for number in (client..sagas).step_by(CLIENTS) {
                let input = Body::of(&Errand { place: number.to_string() })?;
                handle.start(Start::new(definition.clone(), number.to_string(), input)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

fn definition() -> Result<Definition> {
    let mut saga = Definition::named("errand").version(1);
    let errand = saga.input::<Errand>();
    saga.pivot("run").sends(RunFrom { place: errand.place }).timeout(PATIENCE);
    Ok(saga.build()?)
}

fn owned(handles: &[Handle]) -> usize {
    handles.iter().map(Handle::partitions_owned).sum()
}

async fn wait_until(is_met: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_met() {
        ensure!(begun.elapsed() < PATIENCE, "a partition has no owner");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Site {
    fn kafka(&self) -> Result<Kafka> {
        let namespace = Some(self.name.clone());
        Ok(Kafka::connect(sagamore_kafka::Options {
            namespace,
            ..sagamore_kafka::Options::new(&self.brokers)
        })?)
    }

    fn database(&self) -> Result<Database> {
        Ok(Database::postgres(postgres::Options::new(&self.url).in_schema(&self.name))?)
    }

    /// Starts the orchestrators, each with its own producer and database pool. Dropping the set
    /// kills them.
    async fn start(&self, role: &str) -> Result<(JoinSet<()>, Vec<Handle>)> {
        let (mut lives, mut handles) = (JoinSet::new(), Vec::new());
        for number in 0..ORCHESTRATORS {
            let options = Options {
                owner: format!("{role}-{number}"),
                lease: Some(LEASE),
                reply_partitions: PARTITIONS,
                command_partitions: PARTITIONS,
                in_flight_max: usize::MAX,
                ..Options::default()
            };
            let transport: Arc<dyn Transport> = Arc::new(self.kafka()?);
            let (orchestrator, handle) =
                Orchestrator::open(options, self.database()?, transport, vec![definition()?])
                    .await?;
            lives.spawn(async move {
                if let Err(error) = orchestrator.run(pending()).await {
                    eprintln!("an orchestrator ended: {error}");
                }
            });
            handles.push(handle);
        }
        Ok((lives, handles))
    }

    async fn tally(&self) -> Result<Tally> {
        let topics = vec![wire::command_topic(&"runner".parse()?)];
        let subscription = Subscription {
            group: "tally".into(),
            topics,
            partitions: Some((0..PARTITIONS).collect()),
        };
        Ok(Tally { consumer: self.kafka()?.subscribe(subscription).await?, sent: BTreeMap::new() })
    }

    async fn epochs(&self) -> Result<Vec<i64>> {
        let rows = self
            .database()?
            .query("SELECT epoch FROM ownership ORDER BY reply_partition", ())
            .await?;
        rows.iter().map(|row| Ok(row.get(0)?)).collect()
    }

    async fn remove(&self) -> Result<()> {
        let kafka = self.kafka()?;
        let topics = kafka.topics().await?;
        kafka
            .delete_topics(&topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>())
            .await?;
        let open = self.database()?.begin().await?;
        open.tx().batch(&format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.name)).await?;
        Ok(open.commit().await?)
    }
}

impl Tally {
    /// Counts the commands that were published since the last call.
    async fn count(&mut self) -> Result<()> {
        loop {
            let delivery = self.consumer.poll(10_000).await?;
            if delivery.is_empty() {
                let _ =
                    tokio::time::timeout(Duration::from_millis(500), self.consumer.ready()).await;
                return Ok(());
            }
            for delivery in delivery {
                let command = wire::decode_command(&delivery.record)
                    .map_err(|why| anyhow::anyhow!(why.reason))?;
                *self.sent.entry(command.id()).or_default() += 1;
            }
        }
    }
}
