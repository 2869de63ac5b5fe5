//! The kinds of faults of a campaign: how each strikes, and how it heals.

mod disk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::{CLIENTS_OVERLOADED, Ledger, Load};
use crate::proxy::Passage;
use crate::random::Random;
use crate::site::{JOINER, ORCHESTRATORS, SECOND, SERVICES, Site};
pub use disk::Volume;

/// Lists the kinds once: the enum, all of them, and their names.
macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)+) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $fault,)+
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Fault] = &[$(Fault::$fault),+];

            /// As printed.
            pub fn name(self) -> &'static str {
                match self {
                    $(Fault::$fault => $name,)+
                }
            }
        }
    };
}

faults! {
    /// SIGKILL to one process, which starts again.
    Kill = "kill one process",
    /// SIGKILL to every process at once.
    KillAll = "kill all processes",
    /// SIGSTOP to one process, for longer or shorter than a lease.
    Pause = "pause a process",
    /// One process loses Kafka, and nothing else.
    CutFromKafka = "cut from Kafka",
    /// One process loses PostgreSQL, and nothing else.
    CutFromPostgres = "cut from PostgreSQL",
    /// Every byte of every process is late.
    SlowNetwork = "slow network",
    /// Every connection is reset at once.
    Severed = "connections reset",
    /// PostgreSQL's volume is full.
    FullDisk = "full disk",
    /// PostgreSQL takes no writes.
    ReadOnly = "read-only server",
    /// The wall clock of one process jumps by 60 days, forward or back.
    ClockJump = "clock jump",
    /// The same, and the process is killed while its clock is wrong.
    ClockJumpRestart = "clock jump and restart",
    /// SIGKILL to Kafka.
    BrokerRestart = "broker restart",
    /// SIGKILL to PostgreSQL, which recovers from its log.
    DatabaseRestart = "database restart",
    /// Kafka loses topics, records, offsets and groups.
    TopicWipe = "topic wipe",
    /// A second process of a service joins and leaves its group again and again.
    RebalanceStorm = "rebalance storm",
    /// A third orchestrator joins, and leaves.
    JoinAndLeave = "orchestrator joins and leaves",
    /// Records that nobody can read, in a command topic and in the reply topic.
    Poison = "poison records",
    /// Ten times the usual number of clients, without pauses.
    Overload = "overload tenfold",
    /// Two operators cancel and retry the same sagas at once.
    TwoOperators = "two operators",
    /// A table of a service is missing: every command of it is a fault.
    BrokenService = "broken service",
    /// A table of a service is locked for longer than any statement may take.
    LockedTable = "locked table",
}

/// Everything that a fault can reach.
pub struct Scene {
    /// The processes.
    pub site: Arc<Site>,
    /// What clients know.
    pub ledger: Arc<Ledger>,
    /// PostgreSQL's volume, if the campaign could mount one.
    pub volume: Option<Volume>,
}

/// The longest pause of a process: four leases.
const PAUSE_MAX_S: u64 = 12;
/// How long a cut lasts.
const CUT_S: u64 = 10;
/// Longer than any statement and any lock may take.
const LOCKED_S: u64 = 6;
/// How long a graceful stop may take.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long an unreadable record may take until its dead letter is published.
const DEAD_LETTER_MAX: Duration = Duration::from_secs(30);
/// How long an overload lasts.
const OVERLOAD: Duration = Duration::from_secs(10);

impl Fault {
    /// Why this campaign cannot have it, if so.
    pub fn obstacle(self, scene: &Scene) -> Option<&'static str> {
        match self {
            Fault::ClockJump | Fault::ClockJumpRestart if !Site::has_clocks() => {
                Some("the package faketime is not installed")
            }
            Fault::FullDisk if scene.volume.is_none() => {
                Some("only root can mount a volume of its own")
            }
            _ => None,
        }
    }

    /// Strikes, lasts and heals. Afterwards every process runs or is starting.
    pub fn strike(self, scene: &Scene, random: &mut Random) -> Result<()> {
        let Scene { site, .. } = scene;
        let one = random.choose(&[ORCHESTRATORS.as_slice(), &SERVICES].concat());
        match self {
            Fault::Kill => site.kill(one).and_then(|()| site.spawn(one)),
            Fault::KillAll => kill_all(site),
            Fault::Pause => {
                site.signal(one, "STOP")?;
                seconds(1 + random.below(PAUSE_MAX_S));
                site.signal(one, "CONT")
            }
            Fault::CutFromKafka => {
                let passage = random.choose(&[Passage::Cut, Passage::Refused]);
                during(passage, CUT_S, |passage| site.kafka_of(one).map(|proxy| proxy.set(passage)))
            }
            Fault::CutFromPostgres => {
                let passage = random.choose(&[Passage::Cut, Passage::Refused]);
                during(passage, CUT_S, |passage| {
                    site.postgres_of(one).map(|proxy| proxy.set(passage))
                })
            }
            Fault::SlowNetwork => during(Passage::Slow, CUT_S, |passage| {
                site.proxies().for_each(|proxy| proxy.set(passage));
                Ok(())
            }),
            Fault::Severed => {
                site.proxies().for_each(|proxy| proxy.sever());
                Ok(())
            }
            Fault::FullDisk => full_disk(scene),
            Fault::ReadOnly => read_only(site, 3 + random.below(5)),
            Fault::ClockJump => clock_jump(site, one, random, false),
            Fault::ClockJumpRestart => clock_jump(site, one, random, true),
            Fault::BrokerRestart => site.services.kill_and_start("kafka"),
            Fault::DatabaseRestart => site.services.kill_and_start("postgres"),
            Fault::TopicWipe => topic_wipe(site),
            Fault::RebalanceStorm => (0..4).try_for_each(|_| {
                site.spawn(SECOND)?;
                seconds(2);
                if random.below(2) == 0 { site.kill(SECOND) } else { site.stop(SECOND, STOP_MAX) }
            }),
            Fault::JoinAndLeave => {
                site.spawn(JOINER)?;
                site.wait_until_ready(JOINER)?;
                seconds(6);
                if random.below(2) == 0 { site.kill(JOINER) } else { site.stop(JOINER, STOP_MAX) }
            }
            Fault::Poison => poison(site, &scene.ledger),
            Fault::Overload => {
                let load = Load::start(
                    site,
                    &scene.ledger,
                    random.below(u64::MAX),
                    CLIENTS_OVERLOADED,
                    Duration::ZERO,
                );
                std::thread::sleep(OVERLOAD);
                load.stop();
                Ok(())
            }
            Fault::TwoOperators => two_operators(scene, random),
            Fault::BrokenService => broken_service(site, random),
            Fault::LockedTable => locked_table(site, random),
        }
    }
}

fn seconds(count: u64) {
    std::thread::sleep(Duration::from_secs(count));
}

fn during(passage: Passage, count: u64, set: impl Fn(Passage) -> Result<()>) -> Result<()> {
    set(passage)?;
    seconds(count);
    set(Passage::Open)
}

fn kill_all(site: &Site) -> Result<()> {
    let all = || ORCHESTRATORS.into_iter().chain(SERVICES);
    all().try_for_each(|name| site.kill(name))?;
    all().try_for_each(|name| site.spawn(name))
}

/// The broker restarts first: its partitions' leader epochs rise above those of the topics that are created afterwards.
fn topic_wipe(site: &Site) -> Result<()> {
    site.services.kill_and_start("kafka")?;
    seconds(5); // every client knows the epochs
    site.services.kill_and_start_empty("kafka")?;
    site.apply_topics()
}

/// PostgreSQL may end when its log finds no room: it is started again once there is room.
fn full_disk(scene: &Scene) -> Result<()> {
    let volume = scene.volume.as_ref().context("there is no volume")?;
    let filled = volume.fill();
    seconds(6);
    volume.empty()?;
    filled?;
    scene.site.services.up()
}

fn read_only(site: &Site, count: u64) -> Result<()> {
    let set = |setting: &str| {
        site.sql(&format!("ALTER SYSTEM {setting}"))
            .and_then(|_| site.sql("SELECT pg_reload_conf()"))
            .map(drop)
    };
    set("SET default_transaction_read_only = on")?;
    seconds(count);
    set("RESET default_transaction_read_only") // which a session that is itself read-only may do
}

fn clock_jump(site: &Site, name: &'static str, random: &mut Random, restarts: bool) -> Result<()> {
    site.set_clock(name, random.choose(&["+60d", "-60d", "+1h", "-1h"]))?;
    if restarts {
        site.kill(name)?;
        site.spawn(name)?;
    }
    seconds(8);
    site.set_clock(name, "+0")?;
    if restarts {
        site.kill(name)?;
        site.spawn(name)?;
    }
    Ok(())
}

/// Each record must become a dead letter.
fn poison(site: &Site, ledger: &Ledger) -> Result<()> {
    let topics =
        ["payment.commands", "sagamore.replies"].map(|topic| format!("{}.{topic}", site.namespace));
    let dead_letters = |topic: &String| site.services.published(&format!("{topic}-dlt"));
    let before = [dead_letters(&topics[0])?, dead_letters(&topics[1])?];
    for topic in &topics {
        site.services.produce(topic, "not a message of ours")?;
    }
    for (topic, before) in topics.iter().zip(before) {
        let begun = Instant::now();
        while dead_letters(topic)? <= before {
            if begun.elapsed() > DEAD_LETTER_MAX {
                ledger.violate(format!(
                    "vanished-message: an unreadable record of {topic} is no dead letter"
                ));
                break;
            }
        }
        ledger.count("dead letters of unreadable records");
    }
    Ok(())
}

/// Each cancels and retries what it believes to be open; most of it has moved on meanwhile.
fn two_operators(scene: &Scene, random: &mut Random) -> Result<()> {
    let mut targets: Vec<String> = (0..10).filter_map(|_| scene.ledger.some_open(random)).collect();
    targets.extend(
        (0..10).map(|_| format!("o-{}", scene.ledger.placed().saturating_sub(random.below(20)))),
    );
    let known = scene.ledger.promises();
    targets.retain(|id| known.get(id).is_some_and(|promise| promise.accepted)); // a key that never started would be reserved
    std::thread::scope(|scope| {
        for at in ORCHESTRATORS {
            let targets = &targets;
            scope.spawn(move || {
                for id in targets {
                    let path = format!("/api/v1/sagas/checkout:{id}");
                    let _ = scene.site.http(at, "POST", &format!("{path}/cancel"), "", None);
                    let retry =
                        r#"{"step":"confirm-order","reason":"an operator of the campaign"}"#;
                    let _ = scene.site.http(at, "POST", &format!("{path}/retry"), retry, None);
                    scene.ledger.count("operators' verbs");
                }
            });
        }
    });
    Ok(())
}

/// A table of each service, one of them chosen.
fn some_table(site: &Site, random: &mut Random) -> (String, &'static str) {
    let (owner, table) = random.choose(&[
        ("payment", "charge"),
        ("inventory", "reservation"),
        ("shipping", "shipment"),
        ("order", "orders"),
    ]);
    (site.table(owner, table), table)
}

fn broken_service(site: &Site, random: &mut Random) -> Result<()> {
    let (path, name) = some_table(site, random);
    let away = format!("{name}_away");
    site.sql(&format!("SET lock_timeout = '20s'; ALTER TABLE {path} RENAME TO {away}"))?;
    seconds(8);
    let path_away = path.replace(&format!(".{name}"), &format!(".{away}"));
    site.sql(&format!("SET lock_timeout = '20s'; ALTER TABLE {path_away} RENAME TO {name}"))
        .map(drop)
}

fn locked_table(site: &Site, random: &mut Random) -> Result<()> {
    let (path, _) = some_table(site, random);
    site.sql(&format!(
        "BEGIN; LOCK TABLE {path} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({LOCKED_S}); COMMIT"
    ))
    .map(drop)
}
