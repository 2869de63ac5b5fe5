//! `cargo xtask`: the project's maintenance commands and checks. `cargo xtask ci` gates every
//! commit.

mod chores;

mod caps;
mod directions;
mod documents;
mod purity;
mod wire;
mod words;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::chores::{CHORES, Chore};
use sagamore_e2e::workspace::Workspace;
use sagamore_e2e::{chaos, fuzz, outages, poison, services};

const USAGE: &str = "\
usage: cargo xtask ci [--tested]   run every check in order; --tested skips the test suite
       cargo xtask CHECK..         run these checks only
       cargo xtask docs            write the generated documents
       cargo xtask services ..     run Kafka and PostgreSQL on loopback: up, down, status, env
       cargo xtask chaos ..        run every kind of fault under load, or corrupt rows:
                                   [--minutes N] [--seed N] [--only N] [--list] [--corrupt]
       cargo xtask outages         cut orchestrators off Kafka, one alone and all together
       cargo xtask fuzz ..         send random requests to the HTTP API:
                                   [--requests N] [--seed N] [--program PATH]
       cargo xtask poison          measure the latency of sagas beside poisoned ones
       cargo xtask help            print this help
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("xtask: {why:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    match arguments {
        [] | ["help" | "--help" | "-h"] => {
            print!("{}", help());
            Ok(ExitCode::SUCCESS)
        }
        ["docs"] => {
            documents::write(&Workspace::find()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["chaos", rest @ ..] => chaos(rest),
        ["fuzz", rest @ ..] => fuzzed(rest),
        ["outages"] => {
            let violations = outages::run(&Workspace::find()?)?;
            Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["poison"] => {
            let offences = poison::run(&Workspace::find()?)?;
            Ok(if offences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["services", rest @ ..] => services::run_command(&Workspace::find()?, rest),
        names => {
            let passed = chores::run(&Workspace::find()?, &select(names)?);
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Runs a campaign of faults with these arguments.
fn chaos(arguments: &[&str]) -> Result<ExitCode> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut options = chaos::Options::of_seed(since.as_secs());
    let mut rest = arguments;
    while let [flag, after @ ..] = rest {
        let value = || after.first().with_context(|| format!("{flag} needs a number"));
        match *flag {
            "--list" => {
                print!("{}", chaos::list());
                return Ok(ExitCode::SUCCESS);
            }
            "--corrupt" => {
                options.corrupts = true;
                rest = after;
                continue;
            }
            "--minutes" => options.minutes = Some(value()?.parse()?),
            "--seed" => options.seed = value()?.parse()?,
            "--only" => options.only = Some(value()?.parse()?),
            other => bail!("'{other}' is not an option of chaos\n{USAGE}"),
        }
        rest = after.get(1..).unwrap_or_default();
    }
    let violations = chaos::run(&Workspace::find()?, options)?;
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes the HTTP API with these arguments.
fn fuzzed(arguments: &[&str]) -> Result<ExitCode> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut options =
        fuzz::Options { requests: fuzz::REQUESTS, seed: since.as_secs(), program: None };
    let mut rest = arguments;
    while let [flag, after @ ..] = rest {
        let value = after.first().with_context(|| format!("{flag} needs a value"))?;
        match *flag {
            "--requests" => options.requests = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--program" => options.program = Some(value.into()),
            other => bail!("'{other}' is not an option of fuzz\n{USAGE}"),
        }
        rest = after.get(1..).unwrap_or_default();
    }
    let offences = fuzz::run(&Workspace::find()?, &options)?;
    offences.iter().for_each(|offence| println!("   OFFENCE {offence}"));
    println!("   {} kinds of violations", offences.len());
    Ok(if offences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the checks that these arguments name.
fn select(arguments: &[&str]) -> Result<Vec<&'static Chore>> {
    match arguments {
        ["ci"] => Ok(of_ci().collect()),
        ["ci", "--tested"] => Ok(of_ci().filter(|chore| chore.name != chores::TESTS).collect()),
        names => names.iter().map(|name| find(name)).collect(),
    }
}

/// Returns the checks of `ci`: all except the one that rebuilds every dependency.
fn of_ci() -> impl Iterator<Item = &'static Chore> {
    CHORES.iter().filter(|chore| chore.name != chores::OUTSIDE)
}

fn find(name: &str) -> Result<&'static Chore> {
    match CHORES.iter().find(|chore| chore.name == name) {
        Some(chore) => Ok(chore),
        None => bail!("'{name}' is not a check\n{}", help()),
    }
}

fn help() -> String {
    let checks: String =
        CHORES.iter().map(|chore| format!("  {:<11} {}\n", chore.name, chore.about)).collect();
    format!("{USAGE}\nchecks, in the order of ci:\n{checks}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_select_checks() {
        let all: Vec<&str> = of_ci().map(|chore| chore.name).collect();
        let untested: Vec<&str> = all.iter().copied().filter(|name| *name != "tests").collect();
        let cases: &[(&[&str], Option<Vec<&str>>)] = &[
            (&["ci"], Some(all)),
            (&["ci", "--tested"], Some(untested)),
            (&["caps"], Some(vec!["caps"])),
            (&["words", "caps"], Some(vec!["words", "caps"])),
            (&["ci", "--quick"], None),
            (&["capz"], None),
        ];
        for (arguments, expected) in cases {
            let chosen = select(arguments)
                .ok()
                .map(|chores| chores.iter().map(|chore| chore.name).collect());
            assert_eq!(&chosen, expected, "{arguments:?}");
        }
    }

    #[test]
    fn help_lists_every_check() {
        let text = help();
        for chore in CHORES {
            assert!(text.contains(chore.about), "{}", chore.name);
        }
    }
}
