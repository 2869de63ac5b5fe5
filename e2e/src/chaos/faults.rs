//! The kinds of faults of a campaign: injection and repair.

mod disk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::{CLIENTS_OVERLOADED, Ledger, Load};
use crate::proxy::Passage;
use crate::random::Random;
use crate::site::{JOINER, ORCHESTRATORS, SECOND, SERVICES, Site};
pub use disk::Volume;

/// Declares the enum of faults, its list and the names.
macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $fault,)+
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Fault] = &[$(Fault::$fault),+];

            /// Returns the printed name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Fault::$fault => $name,)+
                }
            }
        }
    };
}

faults! {
    /// Kills one process and restarts it.
    Kill = "kill one process",
    /// Kills every process at once and restarts all.
    KillAll = "kill all processes",
    /// Stops one process with SIGSTOP, for shorter or longer than a lease.
    Pause = "pause a process",
    /// Cuts one process off Kafka only.
    CutFromKafka = "cut from Kafka",
    /// Cuts one process off PostgreSQL only.
    CutFromPostgres = "cut from PostgreSQL",
    /// Delays all traffic of every process.
    SlowNetwork = "slow network",
    /// Resets every connection at once.
    Severed = "connections reset",
    /// Fills PostgreSQL's volume.
    FullDisk = "full disk",
    /// Makes PostgreSQL read-only.
    ReadOnly = "read-only server",
    /// Moves the wall clock of one process, by at most 60 days forward or back.
    ClockJump = "clock jump",
    /// Moves the wall clock of one process and kills it while the clock is wrong.
    ClockJumpRestart = "clock jump and restart",
    /// Kills Kafka and restarts it.
    BrokerRestart = "broker restart",
    /// Kills PostgreSQL, which recovers from its log.
    DatabaseRestart = "database restart",
    /// Deletes Kafka's topics, records, offsets and groups.
    TopicWipe = "topic wipe",
    /// Starts and stops a second process of a service repeatedly, so that its group rebalances.
    RebalanceStorm = "rebalance storm",
    /// Starts a third orchestrator and stops it.
    JoinAndLeave = "orchestrator joins and leaves",
    /// Publishes unreadable records to a command topic and to the reply topic.
    Poison = "poison records",
    /// Runs ten times the usual number of clients, without pauses.
    Overload = "overload tenfold",
    /// Cancels and retries the same sagas concurrently.
    TwoOperators = "two operators",
    /// Renames a table of a service, so that every command of it is a fault.
    BrokenService = "broken service",
    /// Locks a table of a service for longer than any statement may take.
    LockedTable = "locked table",
}

/// The targets of faults.
pub struct Scene {
    /// The processes.
    pub site: Arc<Site>,
    /// The clients' responses.
    pub ledger: Arc<Ledger>,
    /// PostgreSQL's volume, if the campaign could mount one.
    pub volume: Option<Volume>,
}

/// The longest pause of a process, in seconds: four leases.
const PAUSE_MAX_S: u64 = 12;
/// The length of a cut, in seconds.
const CUT_S: u64 = 10;
/// The time of a lock in seconds, longer than the limits of statements and locks.
const LOCKED_S: u64 = 6;
/// The time limit of a graceful stop.
const STOP_MAX: Duration = Duration::from_secs(15);
/// The time limit for the dead letter of an unreadable record.
const DEAD_LETTER_MAX: Duration = Duration::from_secs(30);
/// The length of an overload.
const OVERLOAD: Duration = Duration::from_secs(10);

impl Fault {
    /// Returns the reason why this campaign cannot inject the fault, if there is one.
    pub fn obstacle(self, scene: &Scene) -> Option<&'static str> {
        match self {
            Fault::ClockJump | Fault::ClockJumpRestart if !Site::has_clocks() => {
                Some("the package faketime is not installed")
            }
            Fault::FullDisk if scene.volume.is_none() => Some("mounting a volume requires root"),
            _ => None,
        }
    }

    /// Injects the fault and repairs it. Afterwards every process runs or is starting.
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

/// Wipes Kafka's topics. Restarts the broker first, so that its leader epochs exceed those of
/// topics that are created later.
fn topic_wipe(site: &Site) -> Result<()> {
    site.services.kill_and_start("kafka")?;
    seconds(5); // until every client knows the epochs
    site.services.kill_and_start_empty("kafka")?;
    site.apply_topics()
}

/// Fills the volume. PostgreSQL may exit when its log cannot grow, so it is restarted once there is
/// space.
fn full_disk(scene: &Scene) -> Result<()> {
    let volume = scene.volume.as_ref().context("no volume is mounted")?;
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
    set("RESET default_transaction_read_only") // allowed in a read-only session
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

/// Checks that each unreadable record becomes a dead letter.
fn poison(site: &Site, ledger: &Ledger) -> Result<()> {
    let topics =
        ["payment.commands", "sagamore.replies"].map(|topic| format!("{}.{topic}", site.namespace));
    let dead_letters = |topic: &String| site.services.published(&format!("{topic}-dlt"));
    let before = [dead_letters(&topics[0])?, dead_letters(&topics[1])?];
    for topic in &topics {
        site.services.produce(topic, "not a message")?;
    }
    for (topic, before) in topics.iter().zip(before) {
        let begun = Instant::now();
        while dead_letters(topic)? <= before {
            if begun.elapsed() > DEAD_LETTER_MAX {
                ledger.violate(format!(
                    "vanished-message: no dead letter for an unreadable record of {topic}"
                ));
                break;
            }
        }
        ledger.count("dead letters of unreadable records");
    }
    Ok(())
}

/// Two clients cancel and retry the same orders. Most of the orders have progressed meanwhile.
fn two_operators(scene: &Scene, random: &mut Random) -> Result<()> {
    let mut targets: Vec<String> = (0..10).filter_map(|_| scene.ledger.some_open(random)).collect();
    targets.extend(
        (0..10).map(|_| format!("o-{}", scene.ledger.placed().saturating_sub(random.below(20)))),
    );
    let known = scene.ledger.promises();
    // a cancel would reserve a key that never started
    targets.retain(|id| known.get(id).is_some_and(|promise| promise.accepted));
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

/// Chooses a table of one of the services.
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
