//! The command line: what can be said, and who carries it out.

#[macro_use]
mod output;

mod attend;
mod bench;
mod cancel;
mod check;
mod dev;
mod doctor;
mod graph;
mod list;
mod observe;
mod reconcile;
mod replay;
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

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use sagamore_core::saga::Verb;
use sagamore_engine::ChainStatus;

use times::duration;

use crate::client::Client;
use crate::config::Settings;
use crate::view::Style;
use crate::{docs, stack};

pub use output::{Exit, causes, complain, finish, write};

/// Sagas: business transactions over several services, undone step by step when one of them refuses.
///
/// Without a command: `sagamore dev`.
#[derive(Debug, Parser)]
#[command(name = "sagamore", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: DevArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Cli {
    /// The arguments of this process; those of `dev` may stand without it, but before no other command.
    pub fn read() -> Cli {
        let matches = without_empty_variables(Cli::command()).get_matches();
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        if let (Some(command), Some(stray)) = (matches.subcommand_name(), DEV_ARGUMENTS.iter().find(|name| given(name)))
        {
            let stray = stray.replace('_', "-");
            let why = format!("--{stray} belongs behind the command: sagamore {command} --{stray} ..");
            Cli::command().error(ErrorKind::ArgumentConflict, why).exit();
        }
        if let Some(why) = meaningless(&matches) {
            Cli::command().error(ErrorKind::ArgumentConflict, why).exit();
        }
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// An empty variable counts as unset: arguments do not read theirs.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let unset = move |arg: clap::Arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

/// Why `--data` as given would change nothing, if so. The variable may be set for other commands: only the flag counts.
fn meaningless(matches: &ArgMatches) -> Option<&'static str> {
    let (mut inner, mut name) = (matches, "dev");
    while let Some((command, matches)) = inner.subcommand() {
        (inner, name) = (matches, command);
    }
    let has = |id: &str| inner.try_contains_id(id).is_ok();
    let is_given = has("data") && inner.value_source("data") == Some(ValueSource::CommandLine);
    let is_ephemeral = has("ephemeral") && inner.get_flag("ephemeral");
    let is_configured = has("config") && inner.contains_id("config");
    match (is_given, name) {
        (true, "dev") if is_ephemeral => Some("--data beside --ephemeral: the data is in a temporary directory"),
        (true, "replay" | "bench") if is_configured => {
            Some("--data beside a configuration: it is a client of running processes, whose data is theirs")
        }
        _ => None,
    }
}

/// What [`DevArgs`] are called.
const DEV_ARGUMENTS: [&str; 5] = ["listen", "data", "ephemeral", "sagas_max", "choreography"];

/// Where the processes are configured.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration of the processes on Kafka and PostgreSQL; `dev` needs none.
    #[arg(long, global = true, env = "SAGAMORE_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in this process: server, orchestrator, and the shop's four services.
    Dev(DevArgs),
    /// Run an orchestrator with its HTTP API, on Kafka and PostgreSQL. Any number of them share the sagas.
    Serve(ServeArgs),
    /// Run an observer: it follows the chains of choreographies, and says where each stands.
    Observe(ObserveArgs),
    /// Make the topics that the processes need, or compare them with what the brokers have.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Check brokers, topics, databases and clocks; what is wrong is told with what mends it.
    Doctor,
    /// Print every value of the configuration, and where it comes from.
    Config(FormatArgs),
    /// Start a saga.
    Start(StartArgs),
    /// List sagas, the newest first.
    List(ListArgs),
    /// Show one saga with its steps.
    Show(ShowArgs),
    /// Watch a saga, drawn as text, until it rests.
    Watch(ShowArgs),
    /// Cancel a saga: what it has done is undone.
    Cancel(CancelArgs),
    /// Ask a step that waits for a person once more: what refused it has been mended.
    Retry(RescueArgs),
    /// Pass a step over that waits for a person: the saga goes on without it.
    Skip(RescueArgs),
    /// Say that a step which waits for a person was done by hand; of a choreography, that it is taken care of.
    Resolve(RescueArgs),
    /// Compare what the services' barriers say with what the sagas say, and list where both cannot be true.
    Reconcile(ReconcileArgs),
    /// Check the plan of a choreography, or a definition, in YAML: what is wrong is told with what mends it.
    Check(CheckArgs),
    /// Draw the plan of a choreography, or a definition, in YAML; or describe its messages for other services.
    Graph(GraphArgs),
    /// The reference shop.
    #[command(subcommand)]
    Shop(ShopCommand),
    /// Measure: four-step sagas with real local transactions, on a data directory of its own; with --config on processes
    /// of its own, with topics and schemas that are removed afterwards.
    Bench(BenchArgs),
    /// Print a reference page.
    #[command(hide = true)]
    Docs {
        /// Which page.
        page: DocsPage,
    },
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Make those that are missing; what is there stays as it is.
    Apply,
    /// Compare only: 1 when something is missing or different.
    Check,
}

#[derive(Debug, Subcommand)]
enum ShopCommand {
    /// Run the order service, on Kafka and PostgreSQL.
    Order(ServiceArgs),
    /// Run the payment service.
    Payment(ServiceArgs),
    /// Run the inventory service.
    Inventory(ServiceArgs),
    /// Run the shipping service.
    Shipping(ServiceArgs),
    /// Load accounts, stock and destinations from a folder, and run every order in it as a saga.
    ///
    /// Run again on the same data it goes on where it was. With --config it is a client of running processes.
    Replay(ReplayArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocsPage {
    Errors,
    Cli,
}

/// Where the server listens and keeps its data.
#[derive(Debug, Args)]
struct DevArgs {
    /// The address to listen on; port 0 takes any free one.
    #[arg(
        long,
        default_value = "127.0.0.1:3000",
        env = "SAGAMORE_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    listen: String,
    /// The directory for all data, made when it is absent.
    #[arg(long, default_value = "./data", env = "SAGAMORE_DATA", hide_env_values = true, value_name = "DIR")]
    data: PathBuf,
    /// Keep the data in a temporary directory, removed at the end.
    #[arg(long)]
    ephemeral: bool,
    /// How many sagas may be under way; starts beyond it are answered with 429.
    #[arg(long, default_value_t = stack::SAGAS_MAX, value_name = "N")]
    sagas_max: usize,
    /// Without an orchestrator: the services react to each other's events, and an observer follows them.
    #[arg(long, conflicts_with = "sagas_max")]
    choreography: bool,
}

/// An orchestrator.
#[derive(Debug, Args)]
struct ServeArgs {
    /// The address to listen on, instead of the configuration's: for a second orchestrator on one host.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Know the benchmark's saga as well.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A service.
#[derive(Debug, Args)]
struct ServiceArgs {
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
    /// The server's address; without it the first that runs of the configuration's orchestrators (in a choreography, observers), or http://127.0.0.1:3000.
    #[arg(long, env = "SAGAMORE_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

impl ServerArgs {
    /// The way to the server.
    fn client(&self, config: &ConfigArgs) -> Result<Client> {
        let configured = || match &config.config {
            Some(file) => {
                let settings = Settings::load(Some(file))?;
                Ok(if settings.choreography { settings.observers() } else { settings.servers() })
            }
            None => Ok::<_, anyhow::Error>(vec!["http://127.0.0.1:3000".to_owned()]),
        };
        Ok(Client::any_of(&self.server.clone().map_or_else(configured, |server| Ok(vec![server]))?)?)
    }
}

#[derive(Debug, Args)]
struct FormatArgs {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
#[command(override_usage = "sagamore start [OPTIONS] [DEFINITION] <KEY>")]
struct StartArgs {
    /// The definition (checkout when it is left out) and the business key.
    #[arg(num_args = 1..=2, required = true, value_names = ["DEFINITION", "KEY"])]
    saga: Vec<String>,
    /// What it is started with: a file, - for stdin, or JSON. Without it a checkout gets a sample order, but in `dev` only.
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
    /// Only those that stand so.
    #[arg(long, value_parser = status)]
    status: Option<ChainStatus>,
    /// Only those that are run so.
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
    /// DEFINITION:KEY, or KEY alone for an order of the shop.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CancelArgs {
    /// DEFINITION:KEY, or KEY alone for a checkout.
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
    /// DEFINITION:KEY, or KEY alone for an order of the shop.
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
    /// Have the services tell again what they have told of chains that do not go on, or are inconsistent.
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
    /// As what.
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

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The folder with accounts.jsonl, stock.jsonl, destinations.jsonl and orders.jsonl.
    folder: PathBuf,
    /// The directory for all data, made when it is absent.
    #[arg(long, default_value = "./data", env = "SAGAMORE_DATA", hide_env_values = true, value_name = "DIR")]
    data: PathBuf,
    /// Each order waits for the one before it to come to rest.
    #[arg(long, conflicts_with = "concurrency")]
    sequential: bool,
    /// Without an orchestrator: the services react to each other's events.
    #[arg(long)]
    choreography: bool,
    /// How many orders are under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "N")]
    concurrency: u16,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Without an orchestrator, in one process: the services react to each other's events.
    #[arg(long)]
    choreography: bool,
    /// How many sagas; without it as many as ten seconds hold.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    sagas: Option<u64>,
    /// How many clients, each with one saga at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "C")]
    clients: u16,
    /// Let every saga be refused at this step.
    #[arg(long, value_enum, value_name = "STEP")]
    refuse_at: Option<RefuseAt>,
    /// Over HTTP as users do, or straight through the library.
    #[arg(long, value_enum, default_value_t = Via::Http)]
    via: Via,
    /// With --config: how many partitions each topic has. Each of them costs Kafka requests of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "N")]
    partitions: u32,
    /// Where its directory is made, and removed afterwards.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The steps of the benchmark's saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RefuseAt {
    /// The second step.
    ChargePayment,
    /// The third.
    ReserveStock,
    /// The fourth and last, the pivot.
    ScheduleShipment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    Http,
    Library,
}

/// Carries out what was said.
pub async fn run(cli: Cli) -> Result<Exit> {
    let config = &cli.config;
    match cli.command {
        None => dev::run(cli.dev).await,
        Some(Command::Dev(args)) => dev::run(args).await,
        Some(Command::Serve(args)) => serve::run(config, args).await,
        Some(Command::Observe(args)) => observe::run(config, args).await,
        Some(Command::Topics(command)) => topics::run(config, &command).await,
        Some(Command::Doctor) => doctor::run(config).await,
        Some(Command::Config(format)) => settings::run(config, &format),
        Some(Command::Shop(ShopCommand::Order(args))) => service::run(config, "order", args).await,
        Some(Command::Shop(ShopCommand::Payment(args))) => service::run(config, "payment", args).await,
        Some(Command::Shop(ShopCommand::Inventory(args))) => service::run(config, "inventory", args).await,
        Some(Command::Shop(ShopCommand::Shipping(args))) => service::run(config, "shipping", args).await,
        Some(Command::Start(args)) => start::run(config, args).await,
        Some(Command::List(args)) => list::run(config, args).await,
        Some(Command::Show(args)) => show::run(config, args).await,
        Some(Command::Watch(args)) => watch::run(config, args).await,
        Some(Command::Cancel(args)) => cancel::run(config, args).await,
        Some(Command::Retry(args)) => rescue::run(config, Verb::Retry, args).await,
        Some(Command::Skip(args)) => rescue::run(config, Verb::Skip, args).await,
        Some(Command::Resolve(args)) => rescue::run(config, Verb::Resolve, args).await,
        Some(Command::Reconcile(args)) => reconcile::run(config, args).await,
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Graph(args)) => graph::run(&args),
        Some(Command::Shop(ShopCommand::Replay(args))) => replay::run(config, args).await,
        Some(Command::Bench(args)) => bench::run(config, args).await,
        Some(Command::Docs { page }) => {
            match page {
                DocsPage::Errors => out!("{}", docs::errors_markdown()),
                DocsPage::Cli => out!("{}", docs::cli_markdown()),
            }
            Ok(Exit::Completed)
        }
    }
}

fn status(text: &str) -> Result<ChainStatus, String> {
    ChainStatus::read(text)
        .ok_or_else(|| format!("there are: {}", ChainStatus::ALL.map(ChainStatus::as_str).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Docker runs nothing here; but its files name commands, variables and ports of this program.
    #[test]
    fn compose_says_nothing_that_this_program_does_not_understand() {
        let compose = include_str!("../../../compose.yaml");
        let mut commands = 0;
        for line in compose.lines().filter_map(|line| line.trim().strip_prefix("command: ")) {
            let words: Vec<String> = serde_json::from_str(line).expect(line);
            let all = std::iter::once("sagamore").chain(words.iter().map(String::as_str));
            Cli::command().try_get_matches_from(all).unwrap_or_else(|error| panic!("{line}: {error}"));
            let port = words.last().and_then(|address| address.rsplit_once(':')).expect("--listen ADDRESS").1;
            assert!(
                compose.contains(&format!("http://127.0.0.1:{port}/readyz")),
                "nobody asks {port} whether it is ready"
            );
            commands += 1;
        }
        assert_eq!(commands, 6);
        let known = crate::config::explain(None).expect("the defaults");
        for line in compose.lines().filter_map(|line| line.trim().strip_prefix("SAGAMORE__")) {
            let (variable, _) = line.split_once(':').expect(line);
            let key = variable.to_lowercase().replace("__", ".");
            assert!(known.iter().any(|value| value.key == key), "there is no {key}");
        }
    }

    #[test]
    fn data_beside_what_makes_it_meaningless_is_an_error() {
        let check = |line: &str, is_error: bool| {
            let matches = Cli::command().try_get_matches_from(line.split(' ')).expect(line);
            assert_eq!(meaningless(&matches).is_some(), is_error, "{line}");
        };
        check("sagamore dev --data D", false);
        check("sagamore dev --ephemeral", false);
        check("sagamore dev --data D --ephemeral", true);
        check("sagamore --data D --ephemeral", true);
        check("sagamore shop replay F --data D", false);
        check("sagamore shop replay F --data D --config C", true);
        check("sagamore --config C shop replay F --data D", true);
        check("sagamore bench --data D --config C", true);
    }
}
