//! `cargo xtask kills`: the shop in production form, every process of it killed again and again in the middle of a replay.
//!
//! Real processes, real Kafka and PostgreSQL, `kill -9` and SIGSTOP. Whatever dies, the figures come out right.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cast::Cast;
use crate::services::Services;
use crate::workspace::Workspace;

/// How many kills at least, of everybody together.
const KILLS_MIN: usize = 40;
/// Between two kills.
const PAUSE: Duration = Duration::from_millis(700);
/// A killed server needs longer until it is worth killing again.
const SERVER_PAUSE: Duration = Duration::from_secs(3);
/// Longer than any lease and session.
const FROZEN: Duration = Duration::from_secs(12);
/// When a dead orchestrator's sagas should have gone on, at the 99th percentile.
const PROGRESS_MAX: Duration = Duration::from_secs(5);
/// No replay takes longer.
const REPLAY_MAX: Duration = Duration::from_secs(420);
/// Where the orders are.
const ORDERS: &str = "SAGAMORE_NORTHWIND";

/// What becomes of the real orders one after another; concurrently more or fewer of them find the shelves empty.
const ACCOUNTS_CENTS: i64 = 17_975_404;

/// Returns why the replays cannot run on this machine, if so.
pub fn obstacle() -> Option<String> {
    let is_missing = std::env::var_os(ORDERS).is_none();
    is_missing.then(|| format!("the real orders are missing: set {ORDERS} to their folder"))
}

/// The orchestrated shop; what offends, a line each.
pub fn orchestrated(workspace: &Workspace) -> Result<Vec<String>> {
    check(workspace, play_orchestrated)
}

/// The choreographed shop, likewise.
pub fn choreographed(workspace: &Workspace) -> Result<Vec<String>> {
    check(workspace, play_choreographed)
}

/// Starts the servers, builds the program and has it played.
fn check(
    workspace: &Workspace,
    play: fn(&Workspace, &Services, &Path) -> Result<()>,
) -> Result<Vec<String>> {
    let orders = std::env::var_os(ORDERS)
        .map(PathBuf::from)
        .with_context(|| format!("{ORDERS} is not set"))?;
    let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bin", "shop"])?;
    ensure!(built.is_empty(), "build: {}", built.join("; "));
    let services = Services::of(workspace);
    let ran_before = services.any_runs()?;
    services.up()?;
    let outcome = play(workspace, &services, &orders);
    let stopped = if ran_before { services.up() } else { services.down() };
    outcome.and(stopped)?;
    Ok(Vec::new())
}

fn play_orchestrated(workspace: &Workspace, services: &Services, orders: &Path) -> Result<()> {
    let cast = Cast::start(workspace, services)?;
    let sequential = cast.outcome(cast.replay(orders, &["--sequential"])?, REPLAY_MAX)?;
    println!("   one after another: {sequential}");
    let expected =
        serde_json::json!({ "charge-payment": 113, "reserve-stock": 29, "schedule-shipment": 59 });
    ensure!(
        sequential["completed"] == 629 && sequential["failedAt"] == expected,
        "wrong outcome: {sequential}"
    );
    ensure!(
        sequential["balanceCents"] == ACCOUNTS_CENTS && sequential["stockPieces"] == 6_255,
        "wrong sums: {sequential}"
    );

    let mut cast = cast.again()?;
    killed(&mut cast, orders)?;
    frozen(&mut cast, orders)?;
    let mut cast = cast.again()?;
    wiped(&mut cast, orders)?;
    rewound(&mut cast, orders)
}

fn play_choreographed(workspace: &Workspace, services: &Services, orders: &Path) -> Result<()> {
    let cast = Cast::start_choreographed(workspace, services)?;
    let report = cast.outcome(cast.replay(orders, &["--sequential"])?, REPLAY_MAX)?;
    println!("   nobody directs: {report}");
    let expected = serde_json::json!({ "payment": 113, "inventory": 29, "shipping": 59 });
    ensure!(
        report["completed"] == 629 && report["failedAt"] == expected,
        "wrong outcome: {report}"
    );
    ensure!(
        report["balanceCents"] == ACCOUNTS_CENTS && report["stockPieces"] == 6_255,
        "wrong sums: {report}"
    );
    drop(cast);
    killed_choreographed(&mut Cast::start_choreographed(workspace, services)?, orders)?;
    frozen_choreographed(&Cast::start_choreographed(workspace, services)?, orders)
}

/// A concurrent replay under kills of everything, in turn and at random.
fn killed(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let (mut kills, mut rounds, mut under_way) = (0, 0, 0);
    let mut progress = Vec::new();
    let mut replay = cast.replay(orders, &["--concurrency", "4"])?;
    while kills < KILLS_MIN {
        for name in Cast::NAMES {
            let server = Cast::is_server(name);
            if server && rounds % 3 != 0 {
                continue; // servers come back slowly: every third round
            }
            if name == "orchestrator" {
                // by itself: else what is measured is how long the others take to come back
                if cast.goes_on(&mut replay)? {
                    progress.extend(cast.kill_orchestrator()?);
                } else {
                    cast.kill(name)?;
                }
            } else {
                cast.kill(name)?;
            }
            kills += 1;
            under_way += usize::from(!replay.is_over()?);
            std::thread::sleep(if server { SERVER_PAUSE } else { PAUSE });
        }
        rounds += 1;
        if replay.is_over()? && kills < KILLS_MIN {
            // everything is known already, and is asked once more: nothing may change
            replay = cast.replay(orders, &["--concurrency", "32"])?;
        }
        ensure!(
            begun.elapsed() < REPLAY_MAX,
            "{kills} kills have taken {} s",
            begun.elapsed().as_secs()
        );
    }
    let report = cast.outcome(replay, REPLAY_MAX)?;
    println!(
        "   {kills} kills in {:.0} s, {under_way} of them while orders were under way: {report}",
        begun.elapsed().as_secs_f64()
    );
    ensure!(
        under_way >= Cast::NAMES.len(),
        "the orders had all ended before everybody was killed once"
    );
    cast.balanced(orders, &report)?;
    progress.sort_unstable();
    if let (Some(longest), Some(median)) = (progress.last(), progress.get(progress.len() / 2)) {
        let rank = (progress.len() * 99).div_ceil(100).saturating_sub(1);
        println!(
            "   first progress of a dead orchestrator's sagas: median {median:?}, 99 % {:?}, longest {longest:?}, of {}",
            progress[rank],
            progress.len()
        );
        if progress[rank] > PROGRESS_MAX {
            // told, and no failure: how long it takes is the machine's affair as well
            println!("   warning: that is more than the {PROGRESS_MAX:?} that it should be");
        }
    }
    Ok(())
}

/// Kafka loses all that it has in the middle of a replay: topics, offsets and groups. Every saga ends all the same.
fn wiped(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let mut replay = cast.replay(orders, &["--concurrency", "16"])?;
    ensure!(cast.goes_on(&mut replay)?, "the replay was over before Kafka's data could be wiped");
    let begun = Instant::now();
    let open = cast.wipe_kafka()?;
    ensure!(open > 0, "no saga was open when Kafka's data was wiped");
    let report = cast.outcome(replay, REPLAY_MAX)?;
    println!(
        "   Kafka wiped with {open} sagas open; after {:.0} s: {report}",
        begun.elapsed().as_secs_f64()
    );
    cast.balanced(orders, &report)
}

/// Every service is given all commands once more, as by an offset reset of its group: nothing happens twice.
fn rewound(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let before = cast.totals()?;
    let commands = cast.rewind_services()?;
    let report = cast.outcome(cast.replay(orders, &["--concurrency", "16"])?, REPLAY_MAX)?;
    println!("   {commands} commands once more: {report}");
    ensure!(commands > 0, "the services were given nothing once more");
    ensure!(
        report["balanceCents"] == before["balanceCents"],
        "before the offsets were reset: {before}"
    );
    cast.balanced(orders, &report)
}

/// The services of a choreography, its two observers and the servers are killed one after another during a replay.
fn killed_choreographed(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut replay = cast.replay(orders, &["--concurrency", "8"])?;
    let (mut kills, mut under_way) = (0, 0);
    for name in
        Cast::CHOREOGRAPHED.iter().chain(&["payment", "inventory", "shipping", "order", "observer"])
    {
        std::thread::sleep(PAUSE);
        under_way += usize::from(!replay.is_over()?);
        cast.kill(name)?;
        kills += 1;
    }
    let report = cast.outcome(replay, REPLAY_MAX)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "   nobody directs: {kills} kills in {seconds:.0} s, {under_way} of them while orders were under way: {report}"
    );
    ensure!(
        under_way >= Cast::CHOREOGRAPHED.len(),
        "the orders had all ended before everybody was killed once"
    );
    cast.balanced(orders, &report)
}

/// A service of a choreography and its observer are paused for longer than their sessions, and then the database takes no writes
/// for a while, as one that was demoted, or whose disk is full. All go on.
fn frozen_choreographed(cast: &Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut replay = cast.replay(orders, &["--concurrency", "8"])?;
    for name in ["payment", "observer"] {
        std::thread::sleep(PAUSE);
        let process = cast.signal(name, "STOP")?;
        std::thread::sleep(FROZEN);
        process.signal("CONT")?;
    }
    ensure!(!replay.is_over()?, "the orders had all ended before the database was read-only");
    cast.read_only_for(SERVER_PAUSE)?;
    ensure!(
        cast.was_refused("[25006]")?,
        "nobody was refused a write while the database was read-only"
    );
    let report = cast.outcome(replay, REPLAY_MAX)?;
    println!("   frozen, and read-only, in {:.0} s: {report}", begun.elapsed().as_secs_f64());
    cast.balanced(orders, &report)
}

/// An orchestrator and a service are paused for longer than their leases and sessions, and go on.
fn frozen(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    for name in ["orchestrator", "payment"] {
        let prefix = format!("frozen-{name}");
        let (both, other) = (["standby", "orchestrator"], ["standby"]);
        cast.place(&format!("{prefix}-before"), &both)?;
        let process = cast.signal(name, "STOP")?;
        let begun = Instant::now();
        if name == "orchestrator" {
            // the other orchestrator takes everything over, and whoever asks it is served
            cast.place(&format!("{prefix}-during"), &other)?;
            println!(
                "   an order while the {name} is frozen: {:.1} s",
                begun.elapsed().as_secs_f64()
            );
        }
        std::thread::sleep(FROZEN.saturating_sub(begun.elapsed()));
        process.signal("CONT")?;
        cast.place(&format!("{prefix}-after"), &both)?;
    }
    let report = cast.totals()?;
    cast.balanced(orders, &report)
}
