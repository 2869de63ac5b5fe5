//! Measures the memory of an orchestrator with many live sagas and large inputs, on real Kafka and
//! PostgreSQL. Prints a line every ten seconds, and fails when a limit is exceeded.
//!
//! ```sh
//! eval "$(cargo xtask services env)"
//! cargo run --release -p sagamore --example memory -- 20000 60
//! ```
//!
//! The arguments are the number of sagas and the minutes of traffic. Each saga has an input of 250
//! KiB and waits for its participant. The traffic replies to random commands, so that most sagas
//! must be loaded again, and replaces each ended saga.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagamore_core::{Body, Command, Definition, Outcome, Reply, Timestamp};
use sagamore_database::{Clock, Database, postgres};
use sagamore_engine::{Handle, Options, Orchestrator, Start, StartError};
use sagamore_kafka::Kafka;
use sagamore_sdk::Message;
use sagamore_transport::{Consumer, Mark, Subscription, Transport, wire};
use tokio::task::JoinSet;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INPUT_BYTES: usize = 250 << 10;
/// Maximum concurrent starts.
const CLIENTS: usize = 32;
/// Sagas that end and start per second of traffic.
const RATE: usize = 20;
const TICK: Duration = Duration::from_secs(1);
const REPORT_TICKS: u64 = 10;
const RSS_MAX_MIB: u64 = 1_536;
const GROWTH_MAX_PERCENT: u64 = 5;
/// Longer than any measurement, so that no command is resent.
const TIMEOUT: Duration = Duration::from_secs(4 * 3_600);
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Message)]
struct Parcel {
    key: String,
    content: String,
}

#[derive(Message)]
#[message(to = "carrier")]
struct Carry {
    key: String,
}

/// The servers, with a namespace and a schema of this run.
struct Site {
    brokers: String,
    url: String,
    name: String,
}

/// Commands that wait for a reply.
struct Traffic {
    kafka: Kafka,
    consumer: Box<dyn Consumer>,
    waiting: Vec<Command>,
    started: usize,
    answered: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let number =
        |at: usize, usual| std::env::args().nth(at).map_or(Ok(usual), |text| text.parse::<u64>());
    let (sagas, minutes) = (number(1, 20_000)?, number(2, 60)?);
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("set {name}: `cargo xtask services env`"))
    };
    let name = format!("memory-{}-{:04x}", std::process::id(), fastrand::u16(..));
    let site = Site {
        brokers: variable("SAGAMORE_TEST_KAFKA")?,
        url: variable("SAGAMORE_TEST_POSTGRES")?,
        name,
    };
    let measured = measure(&site, usize::try_from(sagas)?, minutes).await;
    site.remove().await?;
    measured
}

async fn measure(site: &Site, sagas: usize, minutes: u64) -> Result<()> {
    let options = Options { in_flight_max: usize::MAX, ..Options::default() };
    let transport: Arc<dyn Transport> = Arc::new(site.kafka()?);
    let (orchestrator, handle) =
        Orchestrator::open(options, site.database()?, transport, vec![definition()?]).await?;
    let mut life = JoinSet::new();
    life.spawn(orchestrator.run(pending()));
    let mut traffic = site.traffic().await?;
    println!("empty: {} MiB resident", resident_mib()?);
    let begun = Instant::now();
    seed(&handle, sagas).await?;
    while traffic.waiting.len() < sagas {
        traffic.take().await?;
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} of {sagas} commands arrived",
            traffic.waiting.len()
        );
    }
    traffic.started = sagas;
    let (before, traffic_begun) = (resident_mib()?, Instant::now());
    println!(
        "{sagas} live sagas after {:.0} s: {before} MiB resident",
        begun.elapsed().as_secs_f64()
    );
    let (mut most, mut ticks) = (before, 0);
    while traffic_begun.elapsed() < Duration::from_secs(60 * minutes) {
        tokio::time::sleep(TICK).await;
        ensure!(life.try_join_next().is_none(), "the orchestrator ended");
        traffic.tick(&handle).await?;
        most = most.max(resident_mib()?);
        ticks += 1;
        if ticks % REPORT_TICKS == 0 {
            report(&handle, &traffic, traffic_begun)?;
        }
    }
    let after = resident_mib()?;
    println!(
        "{before} MiB before the traffic, {after} MiB after it, {most} MiB at most; {} sagas ended",
        traffic.answered
    );
    ensure!(most <= RSS_MAX_MIB, "peak memory exceeds {RSS_MAX_MIB} MiB");
    ensure!(
        after * 100 <= before * (100 + GROWTH_MAX_PERCENT),
        "memory has grown by more than {GROWTH_MAX_PERCENT} %"
    );
    Ok(())
}

fn report(handle: &Handle, traffic: &Traffic, begun: Instant) -> Result<()> {
    println!(
        "{:>6.0} s  {} MiB resident, {} MiB of it sagas; {} live, {} ended",
        begun.elapsed().as_secs_f64(),
        resident_mib()?,
        handle.live_bytes() >> 20,
        handle.in_flight(),
        traffic.answered
    );
    Ok(())
}

async fn seed(handle: &Handle, sagas: usize) -> Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS.min(sagas) {
        let handle = handle.clone();
        clients.spawn(async move {
            for number in (client..sagas).step_by(CLIENTS) {
                start(&handle, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

/// Starts a saga. Retries while the orchestrator is busy.
async fn start(handle: &Handle, number: usize) -> Result<()> {
    loop {
        let (definition, key) = ("parcel".parse()?, number.to_string());
        let content = format!("{number:0>64}").repeat(INPUT_BYTES / 64);
        let input = Body::of(&Parcel { key: key.clone(), content })?;
        match handle.start(Start::new(definition, key, input)).await {
            Ok(_) => return Ok(()),
            Err(StartError::Busy { .. } | StartError::Unavailable(_)) => {
                tokio::time::sleep(TICK).await
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn definition() -> Result<Definition> {
    let mut saga = Definition::named("parcel").version(1);
    let parcel = saga.input::<Parcel>();
    saga.pivot("carry").sends(CarryFrom { key: parcel.key }).timeout(TIMEOUT);
    Ok(saga.build()?)
}

/// Returns the resident memory of this process.
fn resident_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("/proc/self/status has no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}

impl Traffic {
    /// Receives the commands that have arrived.
    async fn take(&mut self) -> Result<()> {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.consumer.ready()).await;
        let delivery = match self.consumer.poll(1_000).await {
            Ok(delivery) => delivery,
            // for example right after the broker's start
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.consumer.commit(Mark::behind(&delivery)).await?;
        for delivery in delivery {
            self.waiting.push(
                wire::decode_command(&delivery.record)
                    .map_err(|why| anyhow::anyhow!(why.reason))?,
            );
        }
        Ok(())
    }

    /// Runs one second of traffic.
    async fn tick(&mut self, handle: &Handle) -> Result<()> {
        self.take().await?;
        for _ in 0..RATE.min(self.waiting.len()) {
            let command = self.waiting.swap_remove(fastrand::usize(..self.waiting.len()));
            let outcome = Outcome::Done(Body::of(&())?);
            let now = Timestamp(Clock::process().now_ms());
            let reply = Reply { key: command.key.clone(), outcome: outcome.into(), trace: None };
            let record = wire::encode_reply(&reply, &command.reply_to, &command.participant, now);
            self.kafka.publish(vec![record]).await?;
            self.answered += 1;
            start(handle, self.started).await?;
            self.started += 1;
        }
        Ok(())
    }
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

    async fn traffic(&self) -> Result<Traffic> {
        let topics = vec![wire::command_topic(&"carrier".parse()?)];
        let kafka = self.kafka()?;
        let subscription =
            Subscription { group: "carrier".into(), topics, partitions: Some(vec![0]) };
        let consumer = loop {
            match kafka.subscribe(subscription.clone()).await {
                // a new broker has no groups yet
                Err(error) if error.is_transient() => tokio::time::sleep(TICK).await,
                subscribed => break subscribed?,
            }
        };
        Ok(Traffic { kafka, consumer, waiting: Vec::new(), started: 0, answered: 0 })
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
