//! The checks in their order. Each runs under a heading, with its time and its result.
//!
//! A failing check does not stop the others.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::{caps, directions, documents, purity, words};
use anyhow::{Context, Result, ensure};
use sagamore_e2e::services::Services;
use sagamore_e2e::workspace::Workspace;
use sagamore_e2e::{chaos, foreign, fuzz, kills, outages, smoke};

/// The check that `--tested` skips.
pub const TESTS: &str = "tests";
/// The check that is not part of `ci`, which builds the same crate as an example.
pub const OUTSIDE: &str = "outside";
/// The seeds of a simulator run. About one in a hundred reaches the rarest rows of the transition
/// tables, so one sweep in a hundred thousand misses a row.
const SEEDS: &str = "1500";
/// The hexadecimal digits of the commit's hash that make the first seed: 64 bits.
const SEED_DIGITS: usize = 16;

/// The time limit for faults. All kinds take four minutes on two cores, checks and servers half a
/// minute more.
const CHAOS_MAX: Duration = Duration::from_secs(270);

/// The crates whose tests all use real services.
const REAL: [&str; 3] = ["crates/engine", "crates/kafka", "crates/sdk"];
/// The tests of other crates that use real services.
const REAL_TOO: [&str; 7] =
    ["postgres", "observed", "checkout", "choreography", "domain", "services", "http_on_kafka"];
/// The checks on the servers of this checkout. Starting both takes about as long as a short check,
/// so neighbours in the list share them.
const ON_SERVERS: [&str; 4] = ["real", "kills", "choreographed", "requests"];
/// The checks that replay the real orders.
const NEED_ORDERS: [&str; 2] = ["kills", "choreographed"];
/// The build of the simulator, with the features of the tests.
const SIMULATOR: &[&str] = &["build", "--quiet", "--workspace", "--bin", "sagamore-sim"];

/// A check.
pub struct Chore {
    /// The name on the command line.
    pub name: &'static str,
    /// The condition that the check verifies.
    pub about: &'static str,
    /// Runs the check. Returns the violations, one per line.
    run: fn(&Workspace) -> Result<Vec<String>>,
}

/// All checks, in the order of `ci`.
pub const CHORES: &[Chore] = &[
    Chore { name: "fmt", about: "the code is formatted", run: fmt },
    Chore { name: "clippy", about: "clippy reports nothing about any target", run: clippy },
    Chore { name: "caps", about: "no file is longer than its cap", run: caps::check },
    Chore {
        name: "directions",
        about: "crates depend on each other as the map allows, and files form no cycle",
        run: directions::check,
    },
    Chore {
        name: "purity",
        about: "core uses no clock, no async and no database",
        run: purity::check,
    },
    Chore { name: "words", about: "no file contains a banned word or phrase", run: words::check },
    Chore {
        name: "documents",
        about: "the generated documents are up to date",
        run: documents::check,
    },
    Chore { name: "package", about: "the product's crates can be published", run: package },
    Chore { name: TESTS, about: "all tests pass", run: tests },
    Chore {
        name: OUTSIDE,
        about: "a crate with three dependencies builds and passes its tests (not in ci: rebuilds \
            all dependencies)",
        run: outside,
    },
    Chore {
        name: "release",
        about: "the README's first commands work in a build without debug assertions",
        run: smoke::run,
    },
    Chore {
        name: "real",
        about: "the adapters' contracts hold on real Kafka and PostgreSQL",
        run: real,
    },
    Chore {
        name: "kills",
        about: "the shop's results are right although every process is killed",
        run: kills::orchestrated,
    },
    Chore {
        name: "choreographed",
        about: "the choreographed shop's results are right although every process is killed",
        run: kills::choreographed,
    },
    Chore {
        name: "foreign",
        about: "a service in Python that follows the wire pages replaces one of ours",
        run: foreign::run,
    },
    Chore {
        name: "requests",
        about: "no request makes the HTTP API fail, hang or contradict itself",
        run: requests,
    },
    Chore {
        name: "chaos",
        about: "the invariants hold under every kind of fault, in an order drawn from the \
            commit's hash",
        run: chaos,
    },
    Chore {
        name: "outages",
        about: "partitions move from an orchestrator without Kafka, and never if none has Kafka",
        run: outages::run,
    },
    Chore {
        name: "simulate",
        about: "the simulator finds no violation, with seeds from the commit's hash",
        run: simulate,
    },
    Chore {
        name: "planted",
        about: "the simulator finds every planted bug, and no program contains one",
        run: planted,
    },
];

/// Runs these checks. Returns whether none failed.
pub fn run(workspace: &Workspace, chores: &[&Chore]) -> bool {
    let begun = Instant::now();
    let results = run_all(workspace, chores);
    if results.len() > 1 {
        println!("\n== result");
        for Outcome { name, verdict, took, .. } in &results {
            println!("   {:<7} {:>7.1} s  {name}", verdict.name(), took.as_secs_f64());
        }
    }
    let skipped_parts: Vec<String> = results.iter().flat_map(Outcome::skipped_parts).collect();
    if !skipped_parts.is_empty() {
        println!("\n== skipped");
        skipped_parts.iter().for_each(|part| println!("   {part}"));
    }
    let named = |wanted| {
        results.iter().filter(move |result| result.verdict == wanted).map(|result| result.name)
    };
    let (failed, skipped): (Vec<&str>, Vec<&str>) =
        (named(Verdict::Failed).collect(), named(Verdict::Skipped).collect());
    let seconds = begun.elapsed().as_secs_f64();
    if !skipped.is_empty() {
        println!("\nxtask: SKIPPED: {}", skipped.join(", "));
    }
    if failed.is_empty() {
        println!(
            "\nxtask: {} checks passed in {seconds:.1} s, {} tests skipped",
            results.len() - skipped.len(),
            skipped_parts.len()
        );
    } else {
        println!("\nxtask: FAILED after {seconds:.1} s: {}", failed.join(", "));
    }
    failed.is_empty()
}

/// The outcome of a check.
struct Outcome {
    /// The name of the check.
    name: &'static str,
    verdict: Verdict,
    took: Duration,
    /// Tests and parts that cannot run on this machine, each with the reason.
    skipped: Vec<String>,
}

impl Outcome {
    fn skipped_parts(&self) -> impl Iterator<Item = String> {
        self.skipped.iter().map(|part| format!("{}: {part}", self.name))
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// A requirement of the check is missing on this machine.
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "SKIPPED",
        }
    }
}

fn run_all(workspace: &Workspace, chores: &[&Chore]) -> Vec<Outcome> {
    let uses = |at: usize| chores.get(at).is_some_and(|chore| ON_SERVERS.contains(&chore.name));
    let services = Services::of(workspace);
    let (mut results, mut started) = (Vec::new(), false);
    for (at, chore) in chores.iter().enumerate() {
        if uses(at) && uses(at + 1) && services.any_runs().is_ok_and(|any| !any) {
            started = services.up().is_ok(); // the check reports an error
        }
        results.push(run_one(workspace, chore));
        if started && !uses(at + 1) {
            started = false;
            if let Err(why) = services.down() {
                println!("   cannot stop the servers: {why:#}");
            }
        }
    }
    results
}

fn run_one(workspace: &Workspace, chore: &Chore) -> Outcome {
    println!("\n== {}: {}", chore.name, chore.about);
    let (name, begun) = (chore.name, Instant::now());
    if let Some(obstacle) = kills::obstacle().filter(|_| NEED_ORDERS.contains(&name)) {
        println!("   SKIPPED: {obstacle}");
        let (verdict, skipped) = (Verdict::Skipped, Vec::new());
        return Outcome { name, verdict, took: begun.elapsed(), skipped };
    }
    // the reports of an interrupted run are removed
    let found = workspace.take_skipped().and_then(|_| (chore.run)(workspace));
    let reports = workspace.take_skipped();
    let mut offences = found.unwrap_or_else(|why| vec![format!("{why:#}")]);
    let skipped = reports.unwrap_or_else(|why| {
        offences.push(format!("{why:#}"));
        Vec::new()
    });
    for offence in &offences {
        println!("   {offence}");
    }
    let verdict = if offences.is_empty() { Verdict::Passed } else { Verdict::Failed };
    let took = begun.elapsed();
    println!("   {} after {:.1} s", verdict.name(), took.as_secs_f64());
    Outcome { name, verdict, took, skipped }
}

fn fmt(workspace: &Workspace) -> Result<Vec<String>> {
    workspace.cargo(&["fmt", "--all", "--check"])
}

/// Tests a crate outside the workspace, with the versions in the workspace's lock file.
fn outside(workspace: &Workspace) -> Result<Vec<String>> {
    let (locked, copy) = (workspace.path("Cargo.lock"), workspace.path("e2e/outside/Cargo.lock"));
    fs::copy(locked, copy).context("copy Cargo.lock to e2e/outside")?;
    let manifest = ["--manifest-path", "e2e/outside/Cargo.toml", "--target-dir", "target/outside"];
    let mut offences = workspace.cargo(&[&["test", "--quiet"], &manifest[..]].concat())?;
    let participant =
        ["-p", "sagamore", "--lib", "--no-default-features", "--target-dir", "target/outside"];
    offences.extend(workspace.cargo(&[&["check", "--quiet"], &participant[..]].concat())?);
    Ok(offences)
}

/// Packages the crates as for a release. Other checks compile their code.
fn package(workspace: &Workspace) -> Result<Vec<String>> {
    workspace.cargo(&[
        "publish",
        "--quiet",
        "--workspace",
        "--dry-run",
        "--no-verify",
        "--allow-dirty",
    ])
}

fn clippy(workspace: &Workspace) -> Result<Vec<String>> {
    workspace.cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn tests(workspace: &Workspace) -> Result<Vec<String>> {
    workspace.cargo(&["test", "--workspace"])
}

/// Runs the tests on real services, which are stopped again unless they ran before.
fn real(workspace: &Workspace) -> Result<Vec<String>> {
    let services = Services::of(workspace);
    let ran_before = services.any_runs()?;
    let outcome = services.up().and_then(|()| services.variables()).and_then(|variables| {
        let tests = real_tests(workspace)?;
        // A run with crates' names would rebuild many dependencies with fewer features.
        let mut all = vec!["test", "--workspace", "--no-fail-fast", "--lib"];
        all.extend(tests.iter().flat_map(|test| ["--test", test]));
        let mut offences = workspace.cargo_with(&all, &variables)?;
        offences.extend(smoke::test(workspace, &["secure", "mutual_tls"], &variables)?);
        Ok(offences)
    });
    let stopped = if ran_before { Ok(()) } else { services.down() };
    outcome.and_then(|offences| stopped.map(|()| offences))
}

/// Returns the names of the tests that use real services.
fn real_tests(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = REAL_TOO.map(str::to_owned).into();
    for name in REAL {
        let folder = workspace.path(&format!("{name}/tests"));
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            let is_test =
                path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").is_file();
            names.extend(
                path.file_stem()
                    .filter(|_| is_test)
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    Ok(names)
}

/// Runs `cargo xtask fuzz` with fewer requests and the commit's hash as seed.
fn requests(workspace: &Workspace) -> Result<Vec<String>> {
    let head = workspace.git(&["rev-parse", "HEAD"])?;
    let seed = u64::from_str_radix(seed_base(&head)?, 16)
        .context("derive the seed from the commit's hash")?;
    let services = Services::of(workspace);
    let ran_before = services.any_runs()?;
    let found = fuzz::run(
        workspace,
        &fuzz::Options { requests: fuzz::REQUESTS_SHORT, seed, program: None },
    );
    if !ran_before && services.any_runs()? {
        services.down()?;
    }
    found
}

/// Runs the kinds of faults that fit into the time. The seed decides which kinds a slow machine
/// misses.
fn chaos(workspace: &Workspace) -> Result<Vec<String>> {
    let head = workspace.git(&["rev-parse", "HEAD"])?;
    let seed = u64::from_str_radix(seed_base(&head)?, 16)?;
    chaos::run(
        workspace,
        chaos::Options { at_most: Some(CHAOS_MAX), ..chaos::Options::of_seed(seed) },
    )
}

fn simulate(workspace: &Workspace) -> Result<Vec<String>> {
    let head = workspace.git(&["rev-parse", "HEAD"])?;
    let base = seed_base(&head)?;
    // The build of the tests is reused: a release build takes longer than it saves.
    let offences = workspace.cargo(SIMULATOR)?;
    if !offences.is_empty() {
        return Ok(offences);
    }
    workspace.built("debug/sagamore-sim", &["--complete", "--seeds", SEEDS, "--base", base])
}

/// Checks that the simulator finds the planted bugs, and that only core and the simulator have the
/// feature.
fn planted(workspace: &Workspace) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for source in workspace.tracked()?.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        let may = ["crates/core/Cargo.toml", "sim/Cargo.toml"].contains(&source.path.as_str());
        if source.text.contains("planted-bugs") && !may {
            offences.push(format!("{}: must not enable planted bugs", source.path));
        }
    }
    offences.extend(smoke::test(workspace, &["planted"], &[])?);
    Ok(offences)
}

/// Returns the first seed: the first 64 bits of the hash.
fn seed_base(head: &str) -> Result<&str> {
    let base =
        head.get(..SEED_DIGITS).with_context(|| format!("'{head}' is not a commit's hash"))?;
    ensure!(base.bytes().all(|byte| byte.is_ascii_hexdigit()), "'{head}' is not a commit's hash");
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seed_is_a_prefix_of_the_commits_hash() {
        let cases = [
            ("4fc4cd0a11223344556677889900aabbccddeeff\n", Some("4fc4cd0a11223344")),
            ("4fc4cd0", None),
            ("fatal: not a git repository", None),
        ];
        for (head, expected) in cases {
            assert_eq!(seed_base(head).ok(), expected, "{head}");
        }
    }
}
