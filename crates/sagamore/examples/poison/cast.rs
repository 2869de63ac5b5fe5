//! Two orchestrators and three services in one process, each with its own producer and database
//! pool.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagamore_core::{Definition, SagaId};
use sagamore_database::{Database, postgres};
use sagamore_engine::{Handle, Options, Orchestrator};
use sagamore_kafka::Kafka;
use sagamore_sdk::{Decided, Message, Migration, Never, Participant, Service, Tx, done};
use sagamore_transport::{Subscription, Transport};
use tokio::task::JoinHandle;

const ORCHESTRATORS: usize = 2;
const PARTITIONS: u32 = 6;
const LEASE: Duration = Duration::from_secs(3);
/// Time until an unanswered command is resent.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Below the time limit of handlers, so that the database aborts a slow statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Below the limit of a reply. Three of these exceed the limit of a record.
const LARGE_BYTES: usize = 400 << 10;
const HUGE_BYTES: usize = 600 << 10;
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The input of every saga. The mode names the poison, or is `plain`.
#[derive(Message)]
pub struct Errand {
    pub key: String,
    pub mode: String,
}

#[derive(Message)]
#[message(to = "notes", yields = Written)]
struct Write {
    key: String,
    mode: String,
}

#[derive(Message)]
struct Written {
    text: String,
}

#[derive(Message)]
#[message(to = "notes", yields = Held)]
struct Hold {
    key: String,
}

#[derive(Message)]
struct Held {
    key: String,
}

#[derive(Message)]
#[message(to = "notes", undoes = Hold)]
struct Release;

#[derive(Message)]
#[message(to = "pages", yields = Page)]
struct Fill {
    key: String,
}

#[derive(Message)]
struct Page {
    text: String,
}

#[derive(Message)]
#[message(to = "pages", undoes = Fill)]
struct Clear;

#[derive(Message)]
#[message(to = "pages")]
struct Bind {
    first: String,
    second: String,
    third: String,
}

#[derive(Message)]
#[message(to = "scribe")]
struct Copy {
    key: String,
}

const NOTES: &[Migration] = &[Migration::new(
    "0001-note",
    "CREATE TABLE note (id TEXT PRIMARY KEY);
     INSERT INTO note (id) VALUES ('taken')",
)];

async fn hold(tx: Tx, Hold { key }: Hold) -> Decided<Held, Never> {
    tx.execute("INSERT INTO note (id) VALUES ($1)", (format!("held-{key}"),)).await?;
    done(Held { key })
}

async fn release(tx: Tx, Held { key }: Held) -> Decided<(), Never> {
    tx.execute("DELETE FROM note WHERE id = $1", (format!("held-{key}"),)).await?;
    done(())
}

async fn write(tx: Tx, Write { key, mode }: Write) -> Decided<Written, Never> {
    match mode.as_str() {
        // the measured bug
        "swallow" => drop(tx.execute("INSERT INTO note (id) VALUES ('taken')", ()).await),
        "slow" => drop(tx.query("SELECT pg_sleep(30)::text", ()).await?),
        "huge" => return done(Written { text: "x".repeat(HUGE_BYTES) }),
        _ => drop(tx.execute("INSERT INTO note (id) VALUES ($1)", (key,)).await?),
    }
    done(Written { text: String::new() })
}

async fn fill(_: Tx, _: Fill) -> Decided<Page, Never> {
    done(Page { text: "x".repeat(LARGE_BYTES) })
}

async fn clear(_: Tx, _: Page) -> Decided<(), Never> {
    done(())
}

async fn bind(_: Tx, _: Bind) -> Decided<(), Never> {
    done(())
}

async fn copy(_: Tx, _: Copy) -> Decided<(), Never> {
    done(())
}

fn definitions() -> Result<Vec<Definition>> {
    let mut errand = Definition::named("errand").version(1);
    let input = errand.input::<Errand>();
    errand.step("hold").sends(HoldFrom { key: input.key }).undone_by::<Release>().timeout(TIMEOUT);
    errand.pivot("write").sends(WriteFrom { key: input.key, mode: input.mode }).timeout(TIMEOUT);

    let mut bundle = Definition::named("bundle").version(1);
    let input = bundle.input::<Errand>();
    let mut page = |name: &str| {
        bundle
            .step(name)
            .sends(FillFrom { key: input.key })
            .undone_by::<Clear>()
            .timeout(TIMEOUT)
            .yields()
    };
    let (first, second, third) = (page("first"), page("second"), page("third"));
    bundle
        .pivot("bind")
        .sends(BindFrom { first: first.text, second: second.text, third: third.text })
        .timeout(TIMEOUT);

    let mut letter = Definition::named("letter").version(1);
    let input = letter.input::<Errand>();
    letter.pivot("copy").sends(CopyFrom { key: input.key }).timeout(TIMEOUT);
    Ok(vec![errand.build()?, bundle.build()?, letter.build()?])
}

/// The processes of a measurement, with their own namespace and schemas.
pub struct Site {
    brokers: String,
    url: String,
    name: String,
    data: PathBuf,
    tasks: BTreeMap<String, JoinHandle<()>>,
    pub handles: Vec<Handle>,
}

impl Site {
    /// Starts the orchestrators and all services except the scribe.
    pub async fn start(brokers: String, url: String, data: PathBuf) -> Result<Site> {
        let name = format!("poison-{}-{:04x}", std::process::id(), fastrand::u16(..));
        let mut site =
            Site { brokers, url, name, data, tasks: BTreeMap::new(), handles: Vec::new() };
        for number in 0..ORCHESTRATORS {
            let owner = format!("orchestrator-{number}");
            let options = Options {
                owner: owner.clone(),
                lease: Some(LEASE),
                reply_partitions: PARTITIONS,
                ..Options::default()
            };
            let transport: Arc<dyn Transport> = Arc::new(site.kafka()?);
            let (orchestrator, handle) =
                Orchestrator::open(options, site.database("engine")?, transport, definitions()?)
                    .await?;
            site.spawn(&owner, async move { Ok(orchestrator.run(pending()).await?) });
            site.handles.push(handle);
        }
        let notes = Service::named("notes")
            .migrations(NOTES)
            .action(hold)
            .compensation::<Release>(release)
            .action(write);
        site.serve("notes", notes)?;
        site.serve(
            "pages",
            Service::named("pages").action(fill).compensation::<Clear>(clear).action(bind),
        )?;
        let begun = Instant::now();
        let are_shared = |handles: &[Handle]| {
            let owned: Vec<usize> = handles.iter().map(Handle::partitions_owned).collect();
            owned.iter().sum::<usize>() == PARTITIONS as usize && !owned.contains(&0)
        };
        while !are_shared(&site.handles) {
            ensure!(begun.elapsed() < PATIENCE, "the partitions are not shared yet");
            tokio::time::sleep(POLL).await;
        }
        Ok(site)
    }

    pub fn start_scribe(&mut self) -> Result<()> {
        self.serve("scribe", Service::named("scribe").action(copy))
    }

    pub async fn stop_scribe(&mut self) {
        if let Some(task) = self.tasks.remove("scribe") {
            task.abort();
            let _ = task.await; // then its consumer has left
        }
    }

    /// Fails if an orchestrator or a service has ended.
    pub fn all_up(&self) -> Result<()> {
        let ended: Vec<&String> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.is_finished())
            .map(|(name, _)| name)
            .collect();
        ensure!(ended.is_empty(), "ended: {ended:?}");
        Ok(())
    }

    /// Waits until the broker has stored the command of a letter.
    pub async fn wait_for_command(&self, id: &SagaId) -> Result<()> {
        let begun = Instant::now();
        while self.place_of(id)?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "the broker has not stored the command of {id}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Changes one byte of a letter's command in the broker's file.
    pub fn damage_stored_command(&self, id: &SagaId) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let place = self.place_of(id)?.context("the command is stored")?;
        let segment = std::fs::File::options().write(true).open(self.segment())?;
        segment.write_all_at(b"#", place).context("damage the record")
    }

    /// Returns the offsets of the scribe's commands that became dead letters. A set, because
    /// delivery is at least once.
    pub async fn dead_letters(&self) -> Result<BTreeSet<i64>> {
        let topics = vec!["scribe.commands-dlt".into()];
        let subscription =
            Subscription { group: "counter".into(), topics, partitions: Some(vec![0]) };
        let mut consumer = self.kafka()?.subscribe(subscription).await?;
        tokio::time::timeout(PATIENCE, consumer.ready()).await.context("wait for a dead letter")?;
        let dead = consumer.poll(100).await?;
        let headers = dead.iter().flat_map(|dead| &dead.record.headers);
        let offsets = headers.filter(|(name, _)| name == "kafka_dlt-original-offset");
        Ok(offsets
            .filter_map(|(_, bytes)| Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)))
            .collect())
    }

    pub async fn sql(&self, sql: &str) -> Result<()> {
        let open = self.database("engine")?.begin().await?;
        open.tx().batch(sql).await?;
        Ok(open.commit().await?)
    }

    pub async fn remove(&mut self) -> Result<()> {
        for task in std::mem::take(&mut self.tasks).into_values() {
            task.abort();
            let _ = task.await;
        }
        let kafka = self.kafka()?;
        let topics = kafka.topics().await?;
        kafka
            .delete_topics(&topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>())
            .await?;
        for schema in ["engine", "notes", "pages", "scribe"] {
            self.sql(&format!("DROP SCHEMA IF EXISTS \"{}_{schema}\" CASCADE", self.name)).await?;
        }
        Ok(())
    }

    fn segment(&self) -> PathBuf {
        self.data.join(format!("{}.scribe.commands-0", self.name)).join("00000000000000000000.log")
    }

    /// Returns the position of a letter's key in its last command.
    fn place_of(&self, id: &SagaId) -> Result<Option<u64>> {
        let Ok(bytes) = std::fs::read(self.segment()) else { return Ok(None) };
        let wanted = format!("\"key\":\"{}", id.key());
        let place = bytes.windows(wanted.len()).rposition(|window| window == wanted.as_bytes());
        Ok(place.map(|at| (at + wanted.len() - 1) as u64))
    }

    fn serve(&mut self, name: &str, service: Service) -> Result<()> {
        let options = sagamore_sdk::Options { partitions: 1, ..sagamore_sdk::Options::default() };
        let participant =
            Participant::new(service, self.database(name)?, Arc::new(self.kafka()?), options);
        self.spawn(name, async move { Ok(participant.run(pending()).await?) });
        Ok(())
    }

    fn spawn(&mut self, name: &str, life: impl Future<Output = Result<()>> + Send + 'static) {
        let ended = name.to_owned();
        let task = tokio::spawn(async move {
            if let Err(error) = life.await {
                eprintln!("{ended} ended: {error:#}");
            }
        });
        self.tasks.insert(name.to_owned(), task);
    }

    fn kafka(&self) -> Result<Kafka> {
        let namespace = Some(self.name.clone());
        Ok(Kafka::connect(sagamore_kafka::Options {
            namespace,
            ..sagamore_kafka::Options::new(&self.brokers)
        })?)
    }

    fn database(&self, schema: &str) -> Result<Database> {
        let mut options =
            postgres::Options::new(&self.url).in_schema(format!("{}_{schema}", self.name));
        if schema == "notes" {
            options.statement_timeout = STATEMENT_TIMEOUT;
        }
        Ok(Database::postgres(options)?)
    }
}
