//! `cargo xtask outages`: orchestrators lose Kafka, one alone and all together. Checks the moves of
//! their partitions.
//!
//! Limits are multiples of the lease, the time that a takeover waits. The actual times are printed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::chaos::load_goods;
use crate::load::{Ledger, Load};
use crate::proxy::Passage;
use crate::site::{JOINER, ORCHESTRATORS, SERVICES, Site};
use crate::workspace::Workspace;

const FOLDER: &str = "target/outages";
/// The default lease of a partition.
const LEASE: Duration = Duration::from_secs(3);
/// The time limit for a takeover of the sagas of an orchestrator without Kafka.
const MOVED_MAX: Duration = Duration::from_secs(10);
/// The length of an outage of the brokers for all.
const GONE: Duration = Duration::from_secs(15);
/// The time that an orchestrator without Kafka is watched.
const WATCHED: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(200);

/// Runs all outages. Returns the violations, one per line.
pub fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bin", "shop"])?;
    ensure!(built.is_empty(), "build: {}", built.join("; "));
    let site = Arc::new(Site::start(workspace, FOLDER)?);
    let ledger = Arc::new(Ledger::default());
    load_goods(&site)?;
    let load = Load::usual(&site, &ledger, 1);
    let outcome = outages(&site, &ledger);
    load.stop();
    println!("   logs of the processes: {}", site.folder().display());
    for name in ORCHESTRATORS.into_iter().chain([JOINER]).chain(SERVICES) {
        site.kill(name)?;
    }
    site.services.down()?;
    outcome.map(|()| ledger.violations())
}

fn outages(site: &Site, ledger: &Ledger) -> Result<()> {
    std::thread::sleep(LEASE * 2); // until every orchestrator has running sagas
    one_alone(site, ledger)?;
    a_joiner(site, ledger)?;
    all_together(site, ledger)
}

/// Cuts one orchestrator off Kafka only. The other one must take over all its partitions and sagas.
fn one_alone(site: &Site, ledger: &Ledger) -> Result<()> {
    let (cut, paused) = (ORCHESTRATORS[0], SERVICES[3]);
    site.signal(paused, "STOP")?;
    std::thread::sleep(LEASE); // sagas accumulate that wait for this service
    site.kafka_of(cut)?.set(Passage::Cut);
    site.signal(paused, "CONT")?;
    let (before, waiting) = (owned_by(site, cut)?, sagas_of(site, cut)?);
    ensure!(
        before > 0 && !waiting.is_empty(),
        "{cut} owns only {before} partitions and {} sagas",
        waiting.len()
    );
    let begun = Instant::now();
    let mut moved = None;
    while begun.elapsed() < MOVED_MAX && moved.is_none() {
        std::thread::sleep(POLL);
        let still = sagas_of(site, cut)?
            .into_iter()
            .filter(|(id, revision)| waiting.get(id) == Some(revision))
            .count();
        moved = (owned_by(site, cut)? == 0 && still == 0).then(|| begun.elapsed());
    }
    let is_ready =
        site.http(cut, "GET", "/readyz", "", None).is_ok_and(|answer| answer.code == 200);
    site.kafka_of(cut)?.set(Passage::Open);
    match moved {
        Some(after) => println!(
            "   {cut} cut from Kafka: {before} partitions and {} sagas moved after {:.1} s",
            waiting.len(),
            after.as_secs_f64()
        ),
        None => ledger.violate(format!(
            "stuck-saga: {cut} is cut from Kafka, but still has its sagas after {MOVED_MAX:?}"
        )),
    }
    if is_ready {
        ledger.violate(format!("false-ready: {cut} reports that it is ready without Kafka"));
    }
    wait_until(LEASE * 10, || Ok(owned_by(site, cut)? > 0))
        .context("wait until the orchestrator owns partitions again")
}

/// Starts an orchestrator without Kafka. It may hold partitions for at most two leases.
fn a_joiner(site: &Site, ledger: &Ledger) -> Result<()> {
    site.spawn(JOINER)?;
    site.wait_until_ready(JOINER)?;
    site.kill(JOINER)?;
    std::thread::sleep(LEASE * 2);
    site.kafka_of(JOINER)?.set(Passage::Refused);
    site.spawn(JOINER)?;
    let (begun, mut held) = (Instant::now(), Duration::ZERO);
    let mut last = Instant::now();
    while begun.elapsed() < WATCHED {
        std::thread::sleep(POLL);
        held += if owned_by(site, JOINER)? > 0 { last.elapsed() } else { Duration::ZERO };
        last = Instant::now();
    }
    site.kill(JOINER)?;
    site.kafka_of(JOINER)?.set(Passage::Open);
    println!(
        "   a joining orchestrator without Kafka held partitions for {:.1} s of {WATCHED:?}",
        held.as_secs_f64()
    );
    if held > LEASE * 2 {
        ledger.violate(format!(
            "stuck-saga: a joining orchestrator without Kafka held partitions for {held:?}"
        ));
    }
    Ok(())
}

/// Cuts all orchestrators off Kafka. No partition may move.
fn all_together(site: &Site, ledger: &Ledger) -> Result<()> {
    std::thread::sleep(LEASE * 2); // until the membership of the joiner has expired
    let before = epochs(site)?;
    for name in ORCHESTRATORS {
        site.kafka_of(name)?.set(Passage::Refused);
    }
    std::thread::sleep(GONE);
    let after = epochs(site)?;
    for name in ORCHESTRATORS {
        site.kafka_of(name)?.set(Passage::Open);
    }
    println!(
        "   no orchestrator had Kafka for {GONE:?}: epochs {before:?} before, {after:?} after"
    );
    if before != after {
        ledger.violate(
            "needless-takeover: partitions moved while no orchestrator had Kafka".to_owned(),
        );
    }
    let ended = || -> Result<u64> {
        let open = site.sql(&format!(
            "SELECT count(*) FROM {} WHERE ended_at IS NOT NULL",
            site.table("engine", "saga")
        ))?;
        Ok(open.parse::<u64>().unwrap_or(0))
    };
    let had: u64 = ended()?;
    wait_until(LEASE * 20, || Ok(ended()? > had)).context("wait until sagas end again")
}

fn owned_by(site: &Site, name: &str) -> Result<u64> {
    let (ownership, port) = (site.table("engine", "ownership"), site.port_of(name)?);
    let count = site.sql(&format!(
        "SELECT count(*) FROM {ownership} WHERE owner LIKE '%/127.0.0.1:{port}/%'"
    ))?;
    count.parse().with_context(|| format!("'{count}' is not a count"))
}

/// Returns the unfinished sagas of an orchestrator with their revisions.
fn sagas_of(site: &Site, name: &str) -> Result<BTreeMap<String, String>> {
    let (ownership, saga, port) =
        (site.table("engine", "ownership"), site.table("engine", "saga"), site.port_of(name)?);
    let rows = site.sql(&format!(
        "SELECT s.id || ' ' || s.revision FROM {saga} s JOIN {ownership} o USING (reply_partition)
         WHERE o.owner LIKE '%/127.0.0.1:{port}/%' AND s.ended_at IS NULL"
    ))?;
    Ok(rows
        .lines()
        .filter_map(|row| row.split_once(' '))
        .map(|(id, at)| (id.to_owned(), at.to_owned()))
        .collect())
}

fn epochs(site: &Site) -> Result<String> {
    let ownership = site.table("engine", "ownership");
    site.sql(&format!(
        "SELECT string_agg(epoch::text, ' ' ORDER BY reply_partition) FROM {ownership}"
    ))
}

fn wait_until(limit: Duration, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < limit, "timed out after {limit:?}");
        std::thread::sleep(POLL);
    }
    Ok(())
}
