//! `cargo xtask kills`: runs the shop as processes, each of which is killed repeatedly during a
//! replay.
//!
//! Uses real processes, Kafka and PostgreSQL, SIGKILL and SIGSTOP. The results must be right in
//! every case.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cast::Cast;
use crate::services::Services;
use crate::workspace::Workspace;

/// Minimum kills of all processes and servers together.
const KILLS_MIN: usize = 40;
/// The time between two kills.
const PAUSE: Duration = Duration::from_millis(700);
/// The time after the kill of a server, which restarts more slowly.
const SERVER_PAUSE: Duration = Duration::from_secs(3);
/// The length of a pause, longer than any lease and session.
const FROZEN: Duration = Duration::from_secs(12);
/// The time limit for progress after a takeover, at the 99th percentile.
const PROGRESS_MAX: Duration = Duration::from_secs(5);
/// The time limit of a replay.
const REPLAY_MAX: Duration = Duration::from_secs(420);
/// The variable with the folder of the orders.
const ORDERS: &str = "SAGAMORE_NORTHWIND";

/// The final balance of a sequential replay. In a concurrent one, stock may be short for other
/// orders.
const ACCOUNTS_CENTS: i64 = 17_975_404;

/// Returns the reason why the replays cannot run on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    let is_missing = std::env::var_os(ORDERS).is_none();
    is_missing.then(|| format!("the real orders are missing: set {ORDERS} to their folder"))
}

/// Runs the campaign on the orchestrated shop. Returns the violations, one per line.
pub fn orchestrated(workspace: &Workspace) -> Result<Vec<String>> {
    check(workspace, play_orchestrated)
}

/// Runs the campaign on the choreographed shop. Returns the violations, one per line.
pub fn choreographed(workspace: &Workspace) -> Result<Vec<String>> {
    check(workspace, play_choreographed)
}

/// Starts the servers, builds the program and runs the campaign.
fn check(
    workspace: &Workspace,
    play: fn(&Workspace, &Services, &Path) -> Result<()>,
) -> Result<Vec<String>> {
    let orders = std::env::var_os(ORDERS)
        .map(PathBuf::from)
        .with_context(|| format!("{ORDERS} is not set"))?;
    let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bins"])?;
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
    let definition = workspace.path("docs/plans/checkout.yaml");
    let cast = Cast::start_with_file(workspace, services, &definition)?;
    let sequential = cast.outcome(cast.replay(orders, &["--sequential"])?, REPLAY_MAX)?;
    println!("   sequential replay, of the definition in a file: {sequential}");
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

    let mut cast = cast.restart_empty()?;
    killed(&mut cast, orders)?;
    frozen(&mut cast, orders)?;
    let mut cast = cast.restart_empty()?;
    wiped(&mut cast, orders)?;
    rewound(&mut cast, orders)
}

fn play_choreographed(workspace: &Workspace, services: &Services, orders: &Path) -> Result<()> {
    let cast = Cast::start_choreographed(workspace, services)?;
    let report = cast.outcome(cast.replay(orders, &["--sequential"])?, REPLAY_MAX)?;
    println!("   choreographed replay: {report}");
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

/// Runs a concurrent replay while everything is killed, in turn.
fn killed(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let (mut kills, mut rounds, mut while_running) = (0, 0, 0);
    let mut progress = Vec::new();
    let mut replay = cast.replay(orders, &["--concurrency", "4"])?;
    while kills < KILLS_MIN {
        for name in Cast::NAMES {
            let server = Cast::is_server(name);
            if server && rounds % 3 != 0 {
                continue; // servers restart slowly
            }
            if name == "orchestrator" {
                // Kill the orchestrator alone. Otherwise the measurement includes the restart of
                // the others.
                if cast.wait_for_progress(&mut replay)? {
                    progress.extend(cast.kill_orchestrator()?);
                } else {
                    cast.kill(name)?;
                }
            } else {
                cast.kill(name)?;
            }
            kills += 1;
            while_running += usize::from(!replay.is_over()?);
            std::thread::sleep(if server { SERVER_PAUSE } else { PAUSE });
        }
        rounds += 1;
        if replay.is_over()? && kills < KILLS_MIN {
            // All orders are known, so a repeated replay must change nothing.
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
        "   {kills} kills in {:.0} s, {while_running} of them while orders were running: {report}",
        begun.elapsed().as_secs_f64()
    );
    ensure!(
        while_running >= Cast::NAMES.len(),
        "all orders had ended before every process was killed once"
    );
    cast.check_balance(orders, &report)?;
    progress.sort_unstable();
    if let (Some(longest), Some(median)) = (progress.last(), progress.get(progress.len() / 2)) {
        let rank = (progress.len() * 99).div_ceil(100).saturating_sub(1);
        println!(
            "   first progress of the sagas of a killed orchestrator: median {median:?}, 99 % \
             {:?}, longest {longest:?}, of {} sagas",
            progress[rank],
            progress.len()
        );
        if progress[rank] > PROGRESS_MAX {
            // A warning only, because the time depends on the machine as well.
            println!("   warning: this exceeds the expected {PROGRESS_MAX:?}");
        }
    }
    Ok(())
}

/// Wipes Kafka's topics, offsets and groups during a replay. Every saga must still end.
fn wiped(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let mut replay = cast.replay(orders, &["--concurrency", "16"])?;
    ensure!(
        cast.wait_for_progress(&mut replay)?,
        "the replay was over before Kafka's data could be wiped"
    );
    let begun = Instant::now();
    let open = cast.wipe_kafka()?;
    ensure!(open > 0, "no saga was unfinished when Kafka's data was wiped");
    let report = cast.outcome(replay, REPLAY_MAX)?;
    println!(
        "   Kafka wiped with {open} unfinished sagas; after {:.0} s: {report}",
        begun.elapsed().as_secs_f64()
    );
    cast.check_balance(orders, &report)
}

/// Resets the offsets of the services' groups, so that all commands are redelivered. Nothing may
/// take effect twice.
fn rewound(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let before = cast.totals()?;
    let commands = cast.rewind_services()?;
    let report = cast.outcome(cast.replay(orders, &["--concurrency", "16"])?, REPLAY_MAX)?;
    println!("   {commands} redelivered commands: {report}");
    ensure!(commands > 0, "no command was redelivered");
    ensure!(
        report["balanceCents"] == before["balanceCents"],
        "before the offsets were reset: {before}"
    );
    cast.check_balance(orders, &report)
}

/// Kills the services, the observers and the servers of a choreography, one after another, during a
/// replay.
fn killed_choreographed(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut replay = cast.replay(orders, &["--concurrency", "8"])?;
    let (mut kills, mut while_running) = (0, 0);
    for name in
        Cast::CHOREOGRAPHED.iter().chain(&["payment", "inventory", "shipping", "order", "observer"])
    {
        std::thread::sleep(PAUSE);
        while_running += usize::from(!replay.is_over()?);
        cast.kill(name)?;
        kills += 1;
    }
    let report = cast.outcome(replay, REPLAY_MAX)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "   choreographed: {kills} kills in {seconds:.0} s, {while_running} of them while orders \
         were running: {report}"
    );
    ensure!(
        while_running >= Cast::CHOREOGRAPHED.len(),
        "all orders had ended before every process was killed once"
    );
    cast.check_balance(orders, &report)
}

/// Pauses a service and an observer for longer than their sessions, then makes the database
/// read-only for a while. All must continue.
fn frozen_choreographed(cast: &Cast<'_>, orders: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut replay = cast.replay(orders, &["--concurrency", "8"])?;
    for name in ["payment", "observer"] {
        std::thread::sleep(PAUSE);
        let process = cast.signal(name, "STOP")?;
        std::thread::sleep(FROZEN);
        process.signal("CONT")?;
    }
    ensure!(!replay.is_over()?, "all orders had ended before the database was read-only");
    cast.read_only_for(SERVER_PAUSE)?;
    ensure!(cast.has_logged("[25006]")?, "no write was refused while the database was read-only");
    let report = cast.outcome(replay, REPLAY_MAX)?;
    println!("   paused and read-only, in {:.0} s: {report}", begun.elapsed().as_secs_f64());
    cast.check_balance(orders, &report)
}

/// Pauses an orchestrator and a service for longer than their leases and sessions. Both must
/// continue.
fn frozen(cast: &mut Cast<'_>, orders: &Path) -> Result<()> {
    for name in ["orchestrator", "payment"] {
        let prefix = format!("frozen-{name}");
        let (both, other) = (["standby", "orchestrator"], ["standby"]);
        cast.place(&format!("{prefix}-before"), &both)?;
        let process = cast.signal(name, "STOP")?;
        let begun = Instant::now();
        if name == "orchestrator" {
            // the standby takes over and serves new orders
            cast.place(&format!("{prefix}-during"), &other)?;
            println!(
                "   an order while the {name} is paused: {:.1} s",
                begun.elapsed().as_secs_f64()
            );
        }
        std::thread::sleep(FROZEN.saturating_sub(begun.elapsed()));
        process.signal("CONT")?;
        cast.place(&format!("{prefix}-after"), &both)?;
    }
    let report = cast.totals()?;
    cast.check_balance(orders, &report)
}
