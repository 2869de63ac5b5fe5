//! `cargo xtask chaos`: runs the shop as processes under every kind of fault, one after another,
//! beside a steady load.
//!
//! The invariants are read from the databases and compared with every response to a client. Each
//! round has every kind of fault once, in an order drawn from the seed.

mod check;
mod corrupt;
mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::load::{CUSTOMERS, Ledger, Load, PRODUCTS};
use crate::random::Random;
use crate::services::Services;
use crate::site::{ORCHESTRATORS, SERVICES, Site};
use crate::workspace::Workspace;
use check::{Epochs, Stock};
use faults::{Fault, Scene, Volume};

/// The folder of a campaign's servers, logs and data.
const FOLDER: &str = "target/chaos";
/// The time limit for the first order to complete after a fault.
const CALM_MAX: Duration = Duration::from_secs(60);
/// The time limit for normal latency after an overload.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(300);
/// The time of undisturbed load between two faults.
const QUIET: Duration = Duration::from_secs(2);
const CENTS_EACH: i64 = 1_000_000_000;
const PIECES_EACH: i64 = 10_000_000;
const PIECES_RARE: i64 = 40;

/// The length of a campaign and its choices.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Faults strike for this long, but every kind at least once. `None`: every kind once.
    pub minutes: Option<u64>,
    /// The seed of the order of faults and of their targets.
    pub seed: u64,
    /// Only this kind, by its number in the list of `--list`.
    pub only: Option<usize>,
    /// The time after which no fault strikes, even if some kinds are left.
    pub at_most: Option<Duration>,
    /// Corrupts rows instead of injecting faults. Each corruption must be reported.
    pub corrupts: bool,
}

impl Options {
    /// Returns the options of a campaign with every kind of fault once.
    pub fn of_seed(seed: u64) -> Options {
        Options { minutes: None, seed, only: None, at_most: None, corrupts: false }
    }
}

/// Returns the kinds with their numbers, one per line, for `--only`.
pub fn list() -> String {
    Fault::ALL
        .iter()
        .enumerate()
        .map(|(at, fault)| format!("{at:>3}  {}\n", fault.name()))
        .collect()
}

/// The results of one kind of fault.
#[derive(Default)]
struct Tally {
    strikes: u64,
    calm: Vec<Duration>,
}

/// Runs a campaign. Returns the violations, one per line.
pub fn run(workspace: &Workspace, options: Options) -> Result<Vec<String>> {
    let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bin", "shop"])?;
    ensure!(built.is_empty(), "build: {}", built.join("; "));
    let commit = workspace.git(&["rev-parse", "--short", "HEAD"])?;
    let state = if workspace.git(&["status", "--porcelain"])?.is_empty() {
        "clean"
    } else {
        "with changes"
    };
    println!("   commit {} ({state}), seed {}", commit.trim(), options.seed);
    println!("   repeat with `cargo xtask chaos --seed {}`", options.seed);
    // left by a campaign that was interrupted
    Services::at(workspace, &format!("{FOLDER}/services")).down()?;
    let volume = Volume::mount(&workspace.path(FOLDER).join("services/postgres"));
    let site = Arc::new(Site::start(workspace, FOLDER)?);
    let scene = Scene { site, ledger: Arc::default(), volume };
    let outcome = if options.corrupts {
        load_goods(&scene.site)
            .and_then(|begun_with| corrupt::prove(&scene, begun_with, options.seed))
    } else {
        campaign(workspace, &scene, options).map(|()| scene.ledger.violations())
    };
    println!("   logs of the processes: {}", scene.site.folder().display());
    for name in ORCHESTRATORS.into_iter().chain(SERVICES) {
        scene.site.kill(name)?;
    }
    scene.site.services.down()?;
    outcome
}

fn campaign(workspace: &Workspace, scene: &Scene, options: Options) -> Result<()> {
    let Scene { site, ledger, .. } = scene;
    let begun_with = load_goods(site)?;
    let load = Load::usual(site, ledger, options.seed);
    let mut random = Random::new(options.seed);
    let (mut epochs, mut rises) = (Epochs::default(), 0);
    let mut tallies: BTreeMap<Fault, Tally> = BTreeMap::new();
    let begun = Instant::now();
    let time = Duration::from_secs(60 * options.minutes.unwrap_or(0));
    let is_over = |rounds: u64| {
        let elapsed = begun.elapsed();
        (rounds > 0 && elapsed >= time) || options.at_most.is_some_and(|most| elapsed >= most)
    };
    let mut rounds = 0;
    while !is_over(rounds) {
        let mut faults: Vec<Fault> = match options.only {
            Some(at) => vec![*Fault::ALL.get(at).context("no fault has this number: see --list")?],
            None => Fault::ALL.to_vec(),
        };
        random.shuffle(&mut faults);
        for fault in faults {
            if is_over(rounds) {
                break;
            }
            if let Some(obstacle) = fault.obstacle(scene) {
                if rounds == 0 {
                    workspace.skip(&format!("{}: {obstacle}", fault.name()))?;
                }
                continue;
            }
            std::thread::sleep(QUIET);
            println!("   {:>5.0} s  {}", begun.elapsed().as_secs_f64(), fault.name());
            fault
                .strike(scene, &mut random)
                .with_context(|| format!("strike: {}", fault.name()))?;
            let calm = calm_again(scene, fault)?;
            let tally = tallies.entry(fault).or_default();
            tally.strikes += 1;
            tally.calm.push(calm);
            check::snapshot(site, begun_with, ledger)?;
            rises += epochs.compare(site, ledger)?;
        }
        rounds += 1;
    }
    load.stop();
    let rest = check::comes_to_rest(site, check::REST_MAX, ledger)?;
    check::snapshot(site, begun_with, ledger)?;
    let statuses = check::finally(site, ledger)?;
    print(&tallies, ledger, &statuses);
    println!("   {rises} epochs rose; at rest {:.1} s after the last fault", rest.as_secs_f64());
    let violations = ledger.violations();
    println!(
        "   {} violations in {:.1} minutes",
        violations.len(),
        begun.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

/// Waits until an order completes and every process is ready. A process that ended by itself is a
/// violation.
fn calm_again(scene: &Scene, fault: Fault) -> Result<Duration> {
    let Scene { site, ledger, .. } = scene;
    let begun = Instant::now();
    for name in site.revive()? {
        ledger.violate(format!("process-ended: {name} ended by itself during '{}'", fault.name()));
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let id = format!(
            "probe-{}-{attempts}",
            begun.elapsed().as_nanos() + u128::from(ledger.placed()) * 1_000_000_000
        );
        let body = json!({ "orderId": id, "customerId": "c0",
            "lines": [{ "sku": "s0", "quantity": 1, "unitPriceCents": 100 }],
            "shipTo": { "name": "N", "address": "1", "city": "C", "country": "France" } });
        let at = ORCHESTRATORS[attempts % ORCHESTRATORS.len()];
        let answer = site.http(at, "POST", "/orders", &body.to_string(), Some(5));
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.code == 200 && answer.body.contains("\"completed\""))
        {
            break;
        }
        if begun.elapsed() > CALM_MAX {
            ledger.violate(format!(
                "stuck-saga: no order completes {} s after '{}': {answer:?}",
                CALM_MAX.as_secs(),
                fault.name()
            ));
            break;
        }
        std::thread::sleep(POLL);
    }
    if fault == Fault::Overload && begun.elapsed() > RECOVERY_MAX {
        ledger.violate(format!(
            "no-recovery: {:.0} s after the overload",
            begun.elapsed().as_secs_f64()
        ));
    }
    Ok(begun.elapsed())
}

/// Loads accounts, products and countries. Returns the totals that money and stock are checked
/// against.
pub(crate) fn load_goods(site: &Site) -> Result<Stock> {
    let accounts = (0..CUSTOMERS)
        .map(|number| (format!("c{number}"), CENTS_EACH))
        .chain([("poor".to_owned(), 0)]);
    let accounts: Vec<_> = accounts.collect();
    let stock = (0..PRODUCTS)
        .map(|number| (format!("s{number}"), PIECES_EACH))
        .chain([("rare".to_owned(), PIECES_RARE)]);
    let stock: Vec<_> = stock.collect();
    let post = |service: &str, path: &str, lines: Vec<serde_json::Value>| -> Result<()> {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = site.http(service, "POST", path, &body, None)?;
        ensure!(answer.code < 300, "POST {path}: {} {}", answer.code, answer.body);
        Ok(())
    };
    let line =
        |(id, cents): &(_, i64)| json!({ "customerId": id, "name": id, "balanceCents": cents });
    post("payment", "/accounts", accounts.iter().map(line).collect())?;
    let line = |(sku, pieces): &(String, i64)| json!({ "sku": sku, "name": sku, "onHand": pieces });
    post("inventory", "/stock", stock.iter().map(line).collect())?;
    post(
        "shipping",
        "/destinations",
        vec![
            json!({ "country": "France", "served": true }),
            json!({ "country": "Nowhere", "served": false }),
        ],
    )?;
    let sum = |all: &[(String, i64)]| all.iter().map(|(_, count)| count).sum();
    Ok(Stock { cents: sum(&accounts), pieces: sum(&stock) })
}

fn print(tallies: &BTreeMap<Fault, Tally>, ledger: &Ledger, statuses: &BTreeMap<String, u64>) {
    println!("   {:<26} {:>7} {:>22}", "fault", "strikes", "until calm, longest");
    for (fault, tally) in tallies {
        let longest = tally.calm.iter().max().copied().unwrap_or_default();
        println!("   {:<26} {:>7} {:>20.1} s", fault.name(), tally.strikes, longest.as_secs_f64());
    }
    println!("   {} kinds of faults, {} orders: {statuses:?}", tallies.len(), ledger.placed());
    let counts = ledger.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (what, count) in &*counts {
        println!("   {what:<34} {count:>9}");
    }
}
