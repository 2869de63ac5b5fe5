//! The command line: its verbs, and the modules that carry them out.

pub mod attend;
mod cancel;
mod check;
mod dev;
mod doctor;
mod graph;
mod list;
mod observe;
mod reconcile;
mod rescue;
mod serve;
mod service;
mod settings;
mod show;
mod standing;
mod start;
mod times;
mod topics;
mod watch;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
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

/// Runs sagas: business transactions over several services, undone step by step when one of them refuses.
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

/// Returns the command line of a program: the verbs of the product, and those that it adds.
pub fn command(program: &Program) -> clap::Command {
    let name = program.name;
    let usage = format!("{name} start [OPTIONS] [DEFINITION] <KEY>");
    let mut command =
        Cli::command().name(name).mut_subcommand("start", |start| start.override_usage(usage));
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

/// Whether the product has a verb of this name; `help` is the parser's own.
pub fn is_verb(name: &str) -> bool {
    name == "help" || Cli::command().get_subcommands().any(|verb| verb.get_name() == name)
}

/// Reads the arguments, the first of which is the program. The arguments of `dev` may stand without it, but before no other
/// command.
///
/// # Errors
/// Arguments that mean nothing, and the help, which is one to clap.
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
            "--{stray} belongs behind the command: {name} {verb} --{stray} .."
        )));
    }
    if program.choreography.is_none() && is_choreographed(&matches) {
        return Err(conflict(format!("--choreography: {} has one story only", program.name)));
    }
    match meaningless(&command(program), &matches) {
        Some(why) => Err(conflict(why.to_owned())),
        None => Ok(matches),
    }
}

/// Whether the flag is given for `dev` or `service`.
fn is_choreographed(matches: &ArgMatches) -> bool {
    let inner = matches.subcommand().map(|(_, inner)| inner);
    let all = std::iter::once(matches).chain(inner);
    all.into_iter()
        .any(|matches| matches.try_get_one::<bool>("choreography").ok().flatten() == Some(&true))
}

/// An empty variable counts as unset: arguments do not read theirs.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty())
    };
    let unset = move |arg: clap::Arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

/// Returns why `--data` as given would change nothing, if so. Only the flag counts: the variable may be set for other commands.
/// A verb that a program adds may have a `--data` of its own: the rule is for the data directory, which `SAGAMORE_DATA` names.
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
            Some("--data beside --ephemeral: the data is in a temporary directory")
        }
        (true, "dev") => None,
        (true, _) if is_configured => Some(
            "--data beside a configuration: it is a client of running processes, whose data is theirs",
        ),
        _ => None,
    }
}

/// The variable that names the data directory.
const DATA_VARIABLE: &str = "SAGAMORE_DATA";
/// The arguments in [`DevArgs`].
const DEV_ARGUMENTS: [&str; 5] = ["listen", "data", "ephemeral", "sagas_max", "choreography"];

/// Where the processes are configured.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration of the processes on Kafka and PostgreSQL; `dev` needs none.
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
    /// Run an observer, which follows the chains of choreographies
    Observe(ObserveArgs),
    /// Create or check the topics of the processes
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Check brokers, topics, databases and clocks
    Doctor,
    /// Print every value of the configuration with its origin
    Config(FormatArgs),
    /// Start a saga
    Start(StartArgs),
    /// List sagas, newest first
    List(ListArgs),
    /// Show one saga with its steps
    Show(ShowArgs),
    /// Watch a saga until it is at rest
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
    /// Run one service as a process of its own, on Kafka and PostgreSQL
    Service(ServiceArgs),
    /// Print a reference page
    #[command(hide = true)]
    Docs {
        /// Which page.
        page: DocsPage,
    },
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Create the missing topics
    Apply,
    /// Check the topics: exit code 1 when one is missing or different
    Check,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocsPage {
    Errors,
    Cli,
    Metrics,
}

/// Where the server listens and keeps its data.
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
    /// Directory for all data, created when it is absent
    #[arg(
        long,
        default_value = "./data",
        env = "SAGAMORE_DATA",
        hide_env_values = true,
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Keep the data in a temporary directory, removed at the end
    #[arg(long)]
    ephemeral: bool,
    /// Most sagas under way; further starts are answered with 429
    #[arg(long, default_value_t = stack::SAGAS_MAX, value_name = "N")]
    sagas_max: usize,
    /// Run the program's choreography instead: no orchestrator, services react to each other's events
    #[arg(long, conflicts_with = "sagas_max")]
    choreography: bool,
}

/// An orchestrator.
#[derive(Debug, Args)]
struct ServeArgs {
    /// The address to listen on, instead of the configuration's: for a second orchestrator on one host.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// A service.
#[derive(Debug, Args)]
struct ServiceArgs {
    /// The service
    name: String,
    /// The address to listen on, instead of the configuration's: for a second process of the service on one host.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// React to the other services' events, as with `choreography = true` in the configuration.
    #[arg(long)]
    choreography: bool,
}

/// An observer.
#[derive(Debug, Args)]
struct ObserveArgs {
    /// The consumer group, instead of sagamore.observer: with a new one it reads the topics from their beginning.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The address to listen on, instead of the configuration's.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// Which server, and how to print.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Address of the server. Default: the first reachable orchestrator (in a choreography, observer) of the configuration, or http://127.0.0.1:3000.
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

/// The form of a command's output.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text.
    #[value(help = None)]
    Table,
    /// One JSON document.
    #[value(help = None)]
    Json,
}

#[derive(Debug, Args)]
struct StartArgs {
    /// Definition and business key; without a definition the program's first saga
    #[arg(num_args = 1..=2, required = true, value_names = ["DEFINITION", "KEY"])]
    saga: Vec<String>,
    /// What it is started with: a file, - for stdin, or JSON. Without it the server's sample input, if it has one.
    #[arg(long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    /// Wait this long for the outcome: 30s, 500ms, 2m.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    wait: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only sagas with this status.
    #[arg(long, value_parser = status)]
    status: Option<ChainStatus>,
    /// Only sagas of this style.
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// Only those of this definition or plan.
    #[arg(long)]
    definition: Option<String>,
    /// Only those with this business key.
    #[arg(long)]
    key: Option<String>,
    /// Only those with an open fault.
    #[arg(long)]
    open_faults: bool,
    /// How many at most.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// DEFINITION:KEY, or KEY alone for the server's first definition or plan
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CancelArgs {
    /// DEFINITION:KEY, or KEY alone for the server's first definition
    id: String,
    /// Name of the person and the reason, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RescueArgs {
    /// DEFINITION:KEY, or KEY alone for the server's first definition or plan
    id: String,
    /// Name of the person and the reason, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Which step; it may be left out where only one waits.
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ReconcileArgs {
    /// Only sagas that started so long ago at most: 30s, 500ms, 24h.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    since: Option<Duration>,
    /// Ask the services to publish again their events of unfinished or inconsistent chains.
    #[arg(long)]
    resend: bool,
    /// How many sagas are compared at a time.
    #[arg(long, hide = true, default_value_t = 500, value_name = "N")]
    page: usize,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The YAML file.
    file: PathBuf,
    /// Compare it with the services of this program; done without the flag for a name that the program registers
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Args)]
struct GraphArgs {
    /// The YAML file.
    file: PathBuf,
    /// Format of the output.
    #[arg(short, long, value_enum, default_value_t = Drawing::Text)]
    output: Drawing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// For terminals.
    Text,
    /// A flowchart for Markdown.
    Mermaid,
    /// A picture for pages: a lane for each service.
    Svg,
    /// An AsyncAPI 3.0 document in JSON: topics, messages with their headers, and who sends and receives what.
    Asyncapi,
}

/// Runs the verb of these arguments.
pub async fn run(program: Arc<Program>, stop: StopSource, matches: &ArgMatches) -> Result<Exit> {
    let ConfigArgs { config } = ConfigArgs::from_arg_matches(matches)?;
    let invocation = Invocation::of(program.clone(), config, stop);
    if let Some((name, inner)) = matches.subcommand()
        && let Some(verb) = program.verbs.iter().find(|verb| verb.name == name)
    {
        return (verb.run)(invocation, inner).await;
    }
    let cli = Cli::from_arg_matches(matches)?;
    obey(&invocation, cli).await
}

async fn obey(invocation: &Invocation, cli: Cli) -> Result<Exit> {
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
        format!("expected one of: {}", ChainStatus::ALL.map(ChainStatus::as_str).join(", "))
    })
}

#[cfg(test)]
mod tests;
