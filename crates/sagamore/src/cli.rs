//! The command line: its verbs, and the modules that run them.

mod apply;
pub mod args;
mod cancel;
mod check;
mod dev;
mod doctor;
mod gateway;
mod graph;
mod handled;
mod init;
mod list;
mod observe;
pub mod process;
mod progress;
mod reconcile;
mod reload;
mod rescue;
mod serve;
mod service;
mod settings;
mod show;
mod start;
mod test;
mod topics;
mod versions;
mod watch;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use sagamore_core::saga::Verb;

use crate::blueprint::Blueprint;
use crate::docs;
use crate::invocation::{Invocation, StopSource};
use crate::output::Exit;
use crate::verb::ProgramVerb;
use apply::ApplyArgs;
use args::{ConfigArgs, FormatArgs};
use cancel::CancelArgs;
use check::CheckArgs;
use dev::{DevArgs, DevCommand};
use graph::GraphArgs;
use init::InitArgs;
use list::ListArgs;
use observe::ObserveArgs;
use reconcile::ReconcileArgs;
use rescue::{RescueArgs, ResolveArgs};
use serve::ServeArgs;
use service::ServiceArgs;
use show::ShowArgs;
use start::StartArgs;
use test::TestArgs;
use topics::TopicsCommand;
use versions::{Collection, VersionsCommand};

/// Runs sagas: business transactions across services whose completed steps are compensated when a
/// later one is refused.
///
/// Without a command: `dev`.
#[derive(Debug, Parser)]
#[command(name = "sagamore", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: DevArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Returns the command line of a program: the product's verbs, and those of the program.
pub fn command(program: &Blueprint, verbs: &[ProgramVerb]) -> clap::Command {
    let name = program.name;
    let mut command = Cli::command().name(name);
    if let Some(version) = program.version {
        command = command.version(version);
    }
    if let Some(about) = program.about {
        command =
            command.about(about).long_about(format!("{about}\n\nWithout a command: `{name} dev`."));
    }
    if program.choreography.is_none() {
        let hidden = |arg: clap::Arg| arg.hide(true);
        command = command.mut_arg("choreography", hidden);
        command = command.mut_subcommand("dev", |dev| dev.mut_arg("choreography", hidden));
        command =
            command.mut_subcommand("service", |service| service.mut_arg("choreography", hidden));
    }
    verbs.iter().fold(command, |command, verb| {
        command.subcommand((verb.augment)(clap::Command::new(verb.name)))
    })
}

/// Whether the product has a verb of this name. The parser adds `help`.
pub fn is_verb(name: &str) -> bool {
    name == "help" || Cli::command().get_subcommands().any(|verb| verb.get_name() == name)
}

/// Parses the arguments, the first of which is the program. Arguments of `dev` may omit the verb,
/// and are an error before another verb.
///
/// # Errors
///
/// Invalid arguments, and the help text, which clap reports as an error.
pub fn matches(
    program: &Blueprint,
    verbs: &[ProgramVerb],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, clap::Error> {
    let command = || command(program, verbs);
    let matches = without_empty_variables(command()).try_get_matches_from(arguments)?;
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let conflict = |why: String| command().error(ErrorKind::ArgumentConflict, why);
    if let (Some(verb), Some(stray)) =
        (matches.subcommand_name(), DEV_ARGUMENTS.iter().find(|name| given(name)))
    {
        let (stray, name) = (stray.replace('_', "-"), program.name);
        return Err(conflict(format!(
            "--{stray} must follow the command: {name} {verb} --{stray} .."
        )));
    }
    if program.choreography.is_none() && is_choreographed(&matches) {
        return Err(conflict(format!("--choreography: {} has no choreography", program.name)));
    }
    match meaningless(&command(), &matches) {
        Some(why) => Err(conflict(why.to_owned())),
        None => Ok(matches),
    }
}

/// Whether the flag is set for `dev` or `service`.
fn is_choreographed(matches: &ArgMatches) -> bool {
    let inner = matches.subcommand().map(|(_, inner)| inner);
    std::iter::once(matches).chain(inner).any(|matches| is_set(matches, "choreography"))
}

/// Whether the command has the flag and it is set. Only builds with debug assertions of clap report
/// an unknown name as an error, so nothing may depend on that error.
fn is_set(matches: &ArgMatches, flag: &str) -> bool {
    matches.try_get_one::<bool>(flag).ok().flatten() == Some(&true)
}

/// Ignores empty variables, which count as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty())
    };
    let unset = move |arg: clap::Arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

/// Returns the reason if `--data` as given has no effect. Only the flag counts: the variable may be
/// set for other commands. The rule applies to the argument with the variable `SAGAMORE_DATA`,
/// because a program's verb may have another `--data`.
fn meaningless(command: &clap::Command, matches: &ArgMatches) -> Option<&'static str> {
    let (mut command, mut inner, mut name) = (command, matches, "dev");
    while let Some((verb, matches)) = inner.subcommand() {
        command = command.find_subcommand(verb)?;
        (inner, name) = (matches, verb);
    }
    let is_directory = |arg: &clap::Arg| {
        arg.get_id() == "data" && arg.get_env() == Some(OsStr::new(DATA_VARIABLE))
    };
    let is_given = command.get_arguments().any(is_directory)
        && inner.value_source("data") == Some(ValueSource::CommandLine);
    let is_ephemeral = is_set(inner, "ephemeral");
    let is_configured = inner.try_contains_id("config").unwrap_or(false);
    match (is_given, name) {
        (true, "dev") if is_ephemeral => {
            Some("--data conflicts with --ephemeral, which uses a temporary directory")
        }
        (true, "dev") => None,
        (true, _) if is_configured => Some(
            "--data conflicts with --config: the command is a client of processes with their own \
             data",
        ),
        _ => None,
    }
}

/// The variable of the data directory.
const DATA_VARIABLE: &str = "SAGAMORE_DATA";
/// The names of the arguments in [`DevArgs`].
const DEV_ARGUMENTS: [&str; 9] =
    ["listen", "data", "ephemeral", "sagas_max", "choreography", "http", "refuse", "slow", "fail"];

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in this process: server, orchestrator or observer, and services
    Dev(DevCommand),
    /// Write a definition, its test, and a participant in Python and Node
    ///
    /// Existing files are never overwritten: if one exists, nothing is written.
    Init(InitArgs),
    /// Run an orchestrator with its HTTP API, on Kafka and PostgreSQL or in a data directory
    Serve(ServeArgs),
    /// Run an observer, which records the chains of choreographies
    Observe(ObserveArgs),
    /// Create or check the topics of the processes
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Check brokers, topics, databases and clocks
    Doctor,
    /// Register definitions and plans of files at a running server
    ///
    /// The first version of a name becomes active, a later one only with --activate. Exit codes:
    /// 0 if all are registered, otherwise 1.
    Apply(ApplyArgs),
    /// List and change the stored versions of definitions
    #[command(subcommand)]
    Definitions(VersionsCommand),
    /// List and change the stored versions of plans, at the server of an observer
    #[command(subcommand)]
    Plans(VersionsCommand),
    /// Print every value of the configuration with its origin
    Config(FormatArgs),
    /// Start a saga
    ///
    /// A start with the key and input of an existing saga returns that saga. Exit codes: 0 once the
    /// saga is stored, 1 for an error. With --wait: 0 completed, 3 compensated, 4 stuck, 5 for no
    /// outcome in time.
    Start(StartArgs),
    /// List sagas, newest first
    List(ListArgs),
    /// Show one saga with its steps
    ///
    /// Exit codes: 4 for a saga that needs an operator (stuck, half-compensated, anomalous), 1 for
    /// an error, otherwise 0, also for a compensated saga. `watch` and `start --wait` return the
    /// outcome.
    Show(ShowArgs),
    /// Watch a saga until it is at rest
    ///
    /// Exit codes: 0 completed, 3 compensated, 4 stuck, 1 error.
    Watch(ShowArgs),
    /// Cancel a saga: its completed steps are compensated
    Cancel(CancelArgs),
    /// Retry a step that waits for an operator
    Retry(RescueArgs),
    /// Skip a step that waits for an operator
    Skip(RescueArgs),
    /// Mark a step as done manually, or a chain as repaired
    Resolve(ResolveArgs),
    /// Give up a step whose outcome is unknown: the saga compensates, and undoes it too
    Compensate(RescueArgs),
    /// Compare the services' barriers with the sagas, and list contradictions
    Reconcile(ReconcileArgs),
    /// Check a plan or a definition in YAML
    Check(CheckArgs),
    /// Run the cases of test files against their definitions, without services
    ///
    /// A test file is YAML with given/then scripts. Exit codes: 0 if all cases pass, otherwise 1.
    Test(TestArgs),
    /// Draw a plan or a definition in YAML, or describe its messages
    Graph(GraphArgs),
    /// Run one service as its own process, on Kafka and PostgreSQL
    Service(ServiceArgs),
    /// Run the gateways of the configured HTTP participants as their own process, on Kafka
    ///
    /// `dev` and `serve` run them too. Several processes share the participants' commands.
    Gateway,
    /// Print a reference page
    #[command(hide = true)]
    Docs {
        /// Page to print
        page: DocsPage,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocsPage {
    Errors,
    Cli,
    Metrics,
    DefinitionSchema,
    PlanSchema,
}

/// Runs the verb of the parsed arguments.
pub async fn run(
    program: Arc<Blueprint>,
    verbs: &[ProgramVerb],
    stop: StopSource,
    matches: &ArgMatches,
) -> Result<Exit> {
    let ConfigArgs { config } = ConfigArgs::from_arg_matches(matches)?;
    let invocation = Invocation::of(program, config, stop);
    if let Some((name, inner)) = matches.subcommand()
        && let Some(verb) = verbs.iter().find(|verb| verb.name == name)
    {
        return (verb.run)(invocation, inner).await;
    }
    let cli = Cli::from_arg_matches(matches)?;
    run_verb(&invocation, verbs, cli).await
}

async fn run_verb(invocation: &Invocation, verbs: &[ProgramVerb], cli: Cli) -> Result<Exit> {
    match cli.command {
        None => dev::run(invocation, DevCommand::of(cli.dev)).await,
        Some(Command::Dev(command)) => dev::run(invocation, command).await,
        Some(Command::Init(args)) => init::run(invocation.name(), args),
        Some(Command::Serve(args)) => serve::run(invocation, args).await,
        Some(Command::Observe(args)) => observe::run(invocation, args).await,
        Some(Command::Service(args)) => service::run(invocation, args).await,
        Some(Command::Topics(command)) => topics::run(invocation, &command).await,
        Some(Command::Doctor) => doctor::run(invocation).await,
        Some(Command::Apply(args)) => apply::run(invocation, args).await,
        Some(Command::Definitions(command)) => {
            versions::run(invocation, Collection::Definitions, command).await
        }
        Some(Command::Plans(command)) => {
            versions::run(invocation, Collection::Plans, command).await
        }
        Some(Command::Config(format)) => settings::run(invocation, &format),
        Some(Command::Start(args)) => start::run(invocation, args).await,
        Some(Command::List(args)) => list::run(invocation, args).await,
        Some(Command::Show(args)) => show::run(invocation, args).await,
        Some(Command::Watch(args)) => watch::run(invocation, args).await,
        Some(Command::Cancel(args)) => cancel::run(invocation, args).await,
        Some(Command::Retry(args)) => rescue::run(invocation, Verb::Retry, args).await,
        Some(Command::Skip(args)) => rescue::run(invocation, Verb::Skip, args).await,
        Some(Command::Resolve(args)) => rescue::resolve(invocation, args).await,
        Some(Command::Compensate(args)) => rescue::run(invocation, Verb::Compensate, args).await,
        Some(Command::Reconcile(args)) => reconcile::run(invocation, args).await,
        Some(Command::Check(args)) => check::run(invocation, &args),
        Some(Command::Test(args)) => test::run(&args),
        Some(Command::Graph(args)) => graph::run(invocation, &args),
        Some(Command::Gateway) => gateway::run(invocation).await,
        Some(Command::Docs { page }) => {
            print_page(&invocation.program, verbs, page);
            Ok(Exit::Completed)
        }
    }
}

fn print_page(program: &Blueprint, verbs: &[ProgramVerb], page: DocsPage) {
    let name = program.name;
    match page {
        DocsPage::Errors => {
            out!("{}", crate::problem::markdown(name, &program.all_problems()));
        }
        DocsPage::Cli => out!("{}", docs::cli_markdown(name, command(program, verbs))),
        DocsPage::Metrics => out!("{}", sagamore_server::metrics_help::markdown(name)),
        DocsPage::DefinitionSchema => out!("{}", sagamore_inspect::json_schema::definition()),
        DocsPage::PlanSchema => out!("{}", sagamore_inspect::json_schema::plan()),
    }
}

#[cfg(test)]
mod tests;
