//! The command line: its verbs, and the modules that run them.

mod cancel;
mod check;
mod dev;
mod doctor;
mod graph;
mod list;
mod observe;
pub mod process;
mod progress;
mod reconcile;
mod rescue;
mod serve;
mod service;
mod settings;
mod show;
mod start;
mod times;
mod topics;
mod watch;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use sagamore_core::saga::Verb;
use sagamore_engine::ChainStatus;

use times::duration;

use crate::client::Client;
use crate::invocation::{Invocation, StopSource};
use crate::output::Exit;
use crate::program::Program;
use crate::view::Style;
use crate::{docs, stack};

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
pub fn command(program: &Program) -> clap::Command {
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
    program.verbs.iter().fold(command, |command, verb| {
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
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, clap::Error> {
    let matches = without_empty_variables(command(program)).try_get_matches_from(arguments)?;
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let conflict = |why: String| command(program).error(ErrorKind::ArgumentConflict, why);
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
    match meaningless(&command(program), &matches) {
        Some(why) => Err(conflict(why.to_owned())),
        None => Ok(matches),
    }
}

/// Whether the flag is set for `dev` or `service`.
fn is_choreographed(matches: &ArgMatches) -> bool {
    let inner = matches.subcommand().map(|(_, inner)| inner);
    let all = std::iter::once(matches).chain(inner);
    all.into_iter()
        .any(|matches| matches.try_get_one::<bool>("choreography").ok().flatten() == Some(&true))
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
    let has = |id: &str| inner.try_contains_id(id).is_ok();
    let is_directory = |arg: &clap::Arg| {
        arg.get_id() == "data" && arg.get_env() == Some(OsStr::new(DATA_VARIABLE))
    };
    let is_given = command.get_arguments().any(is_directory)
        && inner.value_source("data") == Some(ValueSource::CommandLine);
    let is_ephemeral = has("ephemeral") && inner.get_flag("ephemeral");
    let is_configured = has("config") && inner.contains_id("config");
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
const DEV_ARGUMENTS: [&str; 5] = ["listen", "data", "ephemeral", "sagas_max", "choreography"];

/// The configuration file.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file of the processes on Kafka and PostgreSQL; `dev` needs none
    #[arg(
        long,
        global = true,
        env = "SAGAMORE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in this process: server, orchestrator or observer, and services
    Dev(DevArgs),
    /// Run an orchestrator with its HTTP API, on Kafka and PostgreSQL
    Serve(ServeArgs),
    /// Run an observer, which records the chains of choreographies
    Observe(ObserveArgs),
    /// Create or check the topics of the processes
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Check brokers, topics, databases and clocks
    Doctor,
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
    /// Mark a step as done by hand, or a chain as repaired
    Resolve(RescueArgs),
    /// Compare the services' barriers with the sagas, and list contradictions
    Reconcile(ReconcileArgs),
    /// Check a plan or a definition in YAML
    Check(CheckArgs),
    /// Draw a plan or a definition in YAML, or describe its messages
    Graph(GraphArgs),
    /// Run one service as its own process, on Kafka and PostgreSQL
    Service(ServiceArgs),
    /// Print a reference page
    #[command(hide = true)]
    Docs {
        /// Page to print
        page: DocsPage,
    },
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Create the missing topics
    Apply,
    /// Check the topics; exit code 1 if one is missing or different
    Check,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocsPage {
    Errors,
    Cli,
    Metrics,
}

/// The server's address and data directory.
#[derive(Debug, Args)]
struct DevArgs {
    /// Address to listen on; port 0 takes any free one
    #[arg(
        long,
        default_value = "127.0.0.1:3000",
        env = "SAGAMORE_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    listen: String,
    /// Directory for all data, created if it does not exist
    #[arg(
        long,
        default_value = "./data",
        env = "SAGAMORE_DATA",
        hide_env_values = true,
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Store the data in a temporary directory, removed at the end
    #[arg(long)]
    ephemeral: bool,
    /// Maximum unfinished sagas; further starts are rejected with 429
    #[arg(
        long,
        default_value_t = stack::SAGAS_MAX,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..),
        value_name = "N"
    )]
    sagas_max: usize,
    /// Run the program's choreography: services react to each other's events, without orchestrator
    #[arg(long, conflicts_with = "sagas_max")]
    choreography: bool,
}

/// The arguments of `serve`.
#[derive(Debug, Args)]
struct ServeArgs {
    /// Address to listen on instead of the configured one, for a second orchestrator on one host
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// The arguments of `service`.
#[derive(Debug, Args)]
struct ServiceArgs {
    /// Name of the service
    name: String,
    /// Address to listen on instead of the configured one, for a second process of the service on
    /// one host
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// React to the other services' events, like `choreography = true` in the configuration
    #[arg(long)]
    choreography: bool,
}

/// The arguments of `observe`.
#[derive(Debug, Args)]
struct ObserveArgs {
    /// Consumer group instead of sagamore.observer; a new group reads the topics from their
    /// beginning
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Address to listen on instead of the configured one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// The server and the output format.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Address of the server [default: the first reachable orchestrator (for a choreography,
    /// observer) of the configuration, or http://127.0.0.1:3000]
    #[arg(long, env = "SAGAMORE_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

impl ServerArgs {
    /// Returns a client of the server.
    fn client(&self, invocation: &Invocation) -> Result<Client> {
        let configured = || match invocation.config_file() {
            Some(_) => {
                let settings = invocation.settings()?;
                let is_orchestrated = invocation.story(&settings).is_orchestrated();
                Ok(if is_orchestrated { settings.servers() } else { settings.observers() })
            }
            None => Ok::<_, anyhow::Error>(vec!["http://127.0.0.1:3000".to_owned()]),
        };
        let servers = self.server.clone().map_or_else(configured, |server| Ok(vec![server]))?;
        Ok(Client::any_of(&servers)?.of_program(invocation.name()))
    }
}

/// The output format of a command.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    #[value(help = None)]
    Table,
    /// One JSON document for programs.
    #[value(help = None)]
    Json,
}

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
struct StartArgs {
    /// Definition; without it the program's first saga
    #[arg(value_name = "DEFINITION")]
    definition: Option<String>,
    /// Business key, unique within the definition
    key: String,
    /// Input: a file, - for stdin, or JSON; without it the server's sample input, if there is one
    #[arg(long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    /// Time to wait for the outcome: 30s, 500ms, 2m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    wait: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// List only sagas with this status
    #[arg(long, value_parser = status)]
    status: Option<ChainStatus>,
    /// List only sagas of this style
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// List only sagas of this definition or plan
    #[arg(long)]
    definition: Option<String>,
    /// List only sagas with this business key
    #[arg(long)]
    key: Option<String>,
    /// List only sagas with an open fault
    #[arg(long)]
    open_faults: bool,
    /// Maximum sagas of a page
    #[arg(
        short = 'n',
        long,
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=500)
    )]
    limit: u32,
    /// Cursor of a further page, as the page before it prints
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition or plan
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CancelArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition
    id: String,
    /// Reason with the name of its author, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RescueArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition or plan
    id: String,
    /// Reason with the name of its author, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Step; may be omitted if only one step waits
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ReconcileArgs {
    /// Compare only sagas that started within this time: 30s, 500ms, 24h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    since: Option<Duration>,
    /// Make the services emit their events of unfinished or inconsistent chains again
    #[arg(long)]
    resend: bool,
    /// Sagas of one comparison
    #[arg(long, hide = true, default_value_t = 500, value_name = "N")]
    page: usize,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// YAML file
    file: PathBuf,
    /// Compare the file with the services of this program; the default for a name that the program
    /// registers
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Args)]
struct GraphArgs {
    /// YAML file
    file: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Drawing::Text)]
    output: Drawing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// For terminals
    Text,
    /// Flowchart for Markdown
    Mermaid,
    /// SVG picture with a lane for each service
    Svg,
    /// AsyncAPI 3.0 document in JSON: topics, messages with headers, senders and receivers
    Asyncapi,
}

/// Runs the verb of the parsed arguments.
pub async fn run(program: Arc<Program>, stop: StopSource, matches: &ArgMatches) -> Result<Exit> {
    let ConfigArgs { config } = ConfigArgs::from_arg_matches(matches)?;
    let invocation = Invocation::of(program.clone(), config, stop);
    if let Some((name, inner)) = matches.subcommand()
        && let Some(verb) = program.verbs.iter().find(|verb| verb.name == name)
    {
        return (verb.run)(invocation, inner).await;
    }
    let cli = Cli::from_arg_matches(matches)?;
    run_verb(&invocation, cli).await
}

async fn run_verb(invocation: &Invocation, cli: Cli) -> Result<Exit> {
    match cli.command {
        None => dev::run(invocation, cli.dev).await,
        Some(Command::Dev(args)) => dev::run(invocation, args).await,
        Some(Command::Serve(args)) => serve::run(invocation, args).await,
        Some(Command::Observe(args)) => observe::run(invocation, args).await,
        Some(Command::Service(args)) => service::run(invocation, args).await,
        Some(Command::Topics(command)) => topics::run(invocation, &command).await,
        Some(Command::Doctor) => doctor::run(invocation).await,
        Some(Command::Config(format)) => settings::run(invocation, &format),
        Some(Command::Start(args)) => start::run(invocation, args).await,
        Some(Command::List(args)) => list::run(invocation, args).await,
        Some(Command::Show(args)) => show::run(invocation, args).await,
        Some(Command::Watch(args)) => watch::run(invocation, args).await,
        Some(Command::Cancel(args)) => cancel::run(invocation, args).await,
        Some(Command::Retry(args)) => rescue::run(invocation, Verb::Retry, args).await,
        Some(Command::Skip(args)) => rescue::run(invocation, Verb::Skip, args).await,
        Some(Command::Resolve(args)) => rescue::run(invocation, Verb::Resolve, args).await,
        Some(Command::Reconcile(args)) => reconcile::run(invocation, args).await,
        Some(Command::Check(args)) => check::run(invocation, &args),
        Some(Command::Graph(args)) => graph::run(invocation, &args),
        Some(Command::Docs { page }) => {
            let program = &invocation.program;
            match page {
                DocsPage::Errors => {
                    out!("{}", crate::problem::markdown(program.name, &program.all_problems()));
                }
                DocsPage::Cli => out!("{}", docs::cli_markdown(program)),
                DocsPage::Metrics => {
                    out!("{}", sagamore_server::metrics_help::markdown(program.name))
                }
            }
            Ok(Exit::Completed)
        }
    }
}

fn status(text: &str) -> Result<ChainStatus, String> {
    ChainStatus::read(text).ok_or_else(|| {
        format!("use one of {}", ChainStatus::ALL.map(ChainStatus::as_str).join(", "))
    })
}

#[cfg(test)]
mod tests;
