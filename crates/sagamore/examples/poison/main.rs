//! Measures the effect of one poisoned saga on the others, on real Kafka and PostgreSQL. 64 clients
//! run sagas while each kind of poison strikes one saga. Prints a line per kind, and fails when a
//! limit is exceeded.
//!
//! `cargo xtask poison` starts the servers. Damaging a stored record needs Kafka's data folder.

mod cast;
mod clients;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagamore_core::saga::{Rescue, Status, Verb};
use sagamore_core::{Allowed, Body, SagaId};
use sagamore_engine::{Filter, Start};

use cast::{Errand, Site};
use clients::{Clients, Figures};

/// Concurrent sagas besides the poisoned one.
const CLIENTS: usize = 64;
const P99_MAX: Duration = Duration::from_secs(5);
/// Time limit until a verb is offered, or the saga is listed as set aside.
const OFFERED_WITHIN: Duration = Duration::from_secs(60);
/// Minimum time for which the other sagas are measured after the poison strikes.
const MEASURED: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(250);

/// One kind of poison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// A handler ignores the error of a statement and replies with success.
    SwallowedError,
    /// A statement takes longer than the database allows.
    StatementTimeout,
    /// A handler's output exceeds the limit of a reply.
    HugeOutput,
    /// A newer program has written the saga's row.
    UnreadableRow,
    /// Small outputs that are together too large for a command.
    OversizedCommand,
    /// A stored command has a wrong checksum.
    UnreadableRecord,
}

const ALL: [(Poison, &str); 6] = [
    (Poison::SwallowedError, "swallowed error"),
    (Poison::StatementTimeout, "statement timeout"),
    (Poison::HugeOutput, "huge output"),
    (Poison::UnreadableRow, "unreadable row"),
    (Poison::OversizedCommand, "oversized command"),
    (Poison::UnreadableRecord, "unreadable record"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("set {name}, or run `cargo xtask poison`"))
    };
    let (brokers, url) = (variable("SAGAMORE_TEST_KAFKA")?, variable("SAGAMORE_TEST_POSTGRES")?);
    let data = PathBuf::from(variable("SAGAMORE_TEST_KAFKA_DATA")?);
    let mut site = Site::start(brokers, url, data).await?;
    let measured = measure(&mut site).await;
    site.remove().await?;
    measured
}

async fn measure(site: &mut Site) -> Result<()> {
    println!("{CLIENTS} clients; one saga is poisoned, the others complete");
    println!(
        "{:<20} {:>7} {:>9} {:>9} {:>9}  the poisoned saga",
        "poison", "others", "p50", "p99", "longest"
    );
    let mut offences = Vec::new();
    for (poison, name) in ALL {
        let (figures, what) = strike(site, poison).await.with_context(|| name.to_owned())?;
        let Figures { others, p50, p99, longest, incomplete } = figures;
        println!("{name:<20} {others:>7} {p50:>9.1?} {p99:>9.1?} {longest:>9.1?}  {what}");
        if p99 > P99_MAX {
            offences.push(format!("{name}: p99 of the others {p99:?}"));
        }
        if !incomplete.is_empty() {
            offences.push(format!("{name}: affected others: {incomplete:?}"));
        }
    }
    ensure!(offences.is_empty(), "{}", offences.join("; "));
    Ok(())
}

/// Poisons one saga while the clients run. Returns the figures of the other sagas, and the outcome
/// of the poisoned one.
async fn strike(site: &mut Site, poison: Poison) -> Result<(Figures, String)> {
    let clients = Clients::start(&site.handles, CLIENTS);
    tokio::time::sleep(Duration::from_secs(2)).await; // warm up
    let begun = Instant::now();
    clients.measure();
    let what = match poison {
        Poison::SwallowedError => faulty(site, "errand", "write", "swallow").await?,
        Poison::StatementTimeout => faulty(site, "errand", "write", "slow").await?,
        Poison::HugeOutput => faulty(site, "errand", "write", "huge").await?,
        Poison::OversizedCommand => faulty(site, "bundle", "bind", "large").await?,
        Poison::UnreadableRow => unreadable_row(site).await?,
        Poison::UnreadableRecord => unreadable_record(site).await?,
    };
    tokio::time::sleep(MEASURED.saturating_sub(begun.elapsed())).await;
    let figures = clients.stop().await?;
    site.all_up()?;
    Ok((figures, what))
}

async fn start(site: &Site, definition: &str, mode: &str) -> Result<SagaId> {
    let (definition, key) = (definition.parse()?, format!("poisoned-{mode}"));
    let input = Body::of(&Errand { key: key.clone(), mode: mode.to_owned() })?;
    Ok(site.handles[0].start(Start::new(definition, key, input)).await?.id)
}

/// Runs a saga with a step that always fails. It offers verbs, and one of them ends it.
async fn faulty(site: &Site, definition: &str, step: &str, mode: &str) -> Result<String> {
    let id = start(site, definition, mode).await?;
    let begun = Instant::now();
    let offered = |verb| Allowed::Rescue { step: step.parse().expect("a step's name"), verb };
    loop {
        let detail = site.handles[0].show(&id).await?.context("the saga exists")?;
        let allowed = detail.saga.allowed_actions(site.handles[0].now());
        if [Verb::Retry, Verb::Skip, Verb::Resolve]
            .into_iter()
            .all(|verb| allowed.contains(&offered(verb)))
        {
            break;
        }
        ensure!(
            begun.elapsed() < OFFERED_WITHIN,
            "{id} is {:?}, and offers {allowed:?}",
            detail.header.status
        );
        tokio::time::sleep(POLL).await;
    }
    let offered_after = begun.elapsed();
    let reason = "by the measurement".to_owned();
    site.handles[0].rescue(id.clone(), Rescue::new(step.parse()?, Verb::Skip, reason)).await?;
    let rest = site.handles[0]
        .wait(id.clone(), OFFERED_WITHIN)
        .await?
        .context("a skipped step ends the saga")?;
    Ok(format!(
        "retry, skip, resolve offered after {offered_after:.1?}; skipped: {:?}",
        rest.status
    ))
}

/// Runs a saga whose row a newer program has written. It is set aside and listed as unreadable.
/// After the repair of the row, a verb reads it again, and it ends.
async fn unreadable_row(site: &mut Site) -> Result<String> {
    let id = start(site, "letter", "row").await?;
    site.wait_for_command(&id).await?;
    let of_it = format!("(SELECT seq FROM saga WHERE id = '{id}')");
    let newer = format!(
        "INSERT INTO journal SELECT seq, revision + 1, replace(entry, 'started', 'adjourned') FROM \
         journal
             WHERE seq = {of_it} AND revision = 1;
         UPDATE saga SET status = 'adjourned', revision = revision + 1 WHERE id = '{id}'"
    );
    site.sql(&newer).await?;
    let begun = Instant::now();
    site.start_scribe()?; // its reply makes the orchestrator read the saga again
    let only = Filter { unreadable: true, ..Filter::default() };
    loop {
        let aside = site.handles[0].list(&only).await?.unreadable;
        if aside.iter().any(|saga| saga.id == id.to_string()) {
            ensure!(aside.len() == 1, "not exactly one saga is set aside: {aside:?}");
            break;
        }
        ensure!(begun.elapsed() < OFFERED_WITHIN, "{id} is not set aside");
        tokio::time::sleep(POLL).await;
    }
    let listed_after = begun.elapsed();
    let handle = &site.handles[0];
    ensure!(handle.reread(id.clone()).await.is_err(), "a damaged saga was read again");
    let repaired = format!(
        "DELETE FROM journal WHERE seq = {of_it} AND revision = (SELECT revision FROM saga WHERE \
         id = '{id}');
         UPDATE saga SET status = 'running', revision = revision - 1 WHERE id = '{id}'"
    );
    site.sql(&repaired).await?;
    handle.reread(id.clone()).await.context("the saga is repaired")?;
    let rest = handle.wait(id.clone(), OFFERED_WITHIN).await?.context("a repaired saga ends")?;
    Ok(format!(
        "set aside, listed as unreadable after {listed_after:.1?}; repaired and read again: {:?}",
        rest.status
    ))
}

/// Damages a stored command before its service reads it. A dead letter replaces it, and the saga
/// resends the command.
async fn unreadable_record(site: &mut Site) -> Result<String> {
    site.stop_scribe().await;
    let id = start(site, "letter", "record").await?;
    site.wait_for_command(&id).await?;
    site.damage_stored_command(&id)?;
    let begun = Instant::now();
    site.start_scribe()?;
    let rest = site.handles[0].wait(id.clone(), OFFERED_WITHIN).await?;
    let rest = rest.with_context(|| format!("{id} is not at rest"))?;
    ensure!(rest.status == Status::Completed, "{id} is {:?}", rest.status);
    let dead = site.dead_letters().await?;
    ensure!(dead.len() == 1, "dead letters of the offsets {dead:?}");
    Ok(format!("1 dead letter; sent again, completed after {:.1?}", begun.elapsed()))
}
