//! `dev`: the embedded stack in one process.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use sagamore_core::Name;

use super::process::{self, HttpProcess, ListenAddress, Work};
use super::reload::{self, Registries};
use crate::blueprint::Greeting;
use crate::config::{SAGAS_MAX, Settings};
use crate::error::Error;
use crate::http_participants::HttpParticipants;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::saga_files::{SagaFiles, snapshot};
use crate::stack::{self, Stack};
use crate::stand_in::{Behaviour, BehaviourArgs};

/// The configuration that `dev` reads without `--config`, if it exists.
const CONFIG_FILE: &str = "sagamore.toml";
/// Maximum stored versions that the greeting considers.
const LISTED_MAX: u32 = 100;

/// The arguments of `dev` after its name.
#[derive(Debug, Args)]
pub struct DevCommand {
    /// Saga files, or folders of them [default: `./sagas`, if it exists]. Changed files are
    /// loaded again
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    dev: DevArgs,
}

impl DevCommand {
    /// Creates the command without files.
    pub fn of(dev: DevArgs) -> DevCommand {
        DevCommand { files: Vec::new(), dev }
    }
}

/// The server's address and data directory.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Address to listen on; port 0 selects a free one
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
        default_value_t = SAGAS_MAX,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..),
        value_name = "N"
    )]
    sagas_max: usize,
    /// Run the program's choreography: services react to each other's events, without orchestrator
    #[arg(long, conflicts_with = "sagas_max")]
    choreography: bool,
    /// Participant that is called over HTTP; may be repeated. Limits and signatures:
    /// [participants.NAME] in the configuration, or in ./sagamore.toml
    #[arg(long, value_name = "NAME=URL", value_parser = binding)]
    http: Vec<(String, String)>,
    #[command(flatten)]
    stand_ins: BehaviourArgs,
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(invocation: &Invocation, command: DevCommand) -> Result<Exit> {
    let begun = Instant::now();
    let DevCommand { files, dev: args } = command;
    let choreography = args.choreography;
    let paths = reload::paths(files)?;
    let seen = snapshot(&paths);
    let files = SagaFiles::load(&paths);
    let invocation = &with_files(invocation, choreography, &paths, &files)?;
    let program = &invocation.program;
    let command = format!("{} dev", program.name);
    let listener = process::listen(&ListenAddress::by_flag(&command, &args.listen), false).await?;
    let address = listener.local_addr().context("read the listener's address")?;
    let metrics = process::record_metrics()?;
    let ephemeral = args
        .ephemeral
        .then(tempfile::tempdir)
        .transpose()
        .context("create a temporary directory")?;
    let data: PathBuf =
        ephemeral.as_ref().map_or(args.data, |directory| directory.path().to_owned());
    let participants = participants(invocation, &args.http)?;
    let mut stack = Stack::open(program, choreography, &data, args.sagas_max).await?;
    if let Some(handle) = stack.server.handle.clone() {
        let registries = Registries { handle, chains: stack.server.chains.clone() };
        let seen = (seen, files.duplicates.clone());
        reload::register_all(&registries, files).await?;
        if !paths.is_empty() {
            stack.spawn("the reload", |stopped| reload::follow(paths, registries, seen, stopped));
        }
    }
    let folder = stack::directory(program, choreography, &data);
    stack.call(program.story(choreography), &folder, participants).await?;
    let behaviour = Behaviour::of(args.stand_ins);
    let stand_ins = stack.play_stand_ins(&folder, behaviour).await?;
    for samples in &program.story(choreography).samples {
        samples(stack.server.clone()).await.context("load the sample data")?;
    }
    let router = stack.router(program, choreography, Some(metrics));
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    let definitions = active(&stack).await?;
    let is_ephemeral = ephemeral.is_some();
    let ready = Ready { address, data, is_ephemeral, choreography, definitions };
    greet(invocation, &ready, begun.elapsed())?;
    announce(&stand_ins);
    process.until_stopped(stack).await
}

/// Returns the run that takes definitions and plans at run time, if there are files.
fn with_files(
    invocation: &Invocation,
    choreography: bool,
    paths: &[PathBuf],
    files: &SagaFiles,
) -> Result<Invocation> {
    let mut program = (*invocation.program).clone();
    let story = program.story_mut(choreography);
    let is_bare = story.services.is_empty() && story.plans.is_empty();
    let has_files = !files.definitions.is_empty() || !files.plans.is_empty();
    story.is_open |= has_files || (is_bare && !paths.is_empty());
    story.check_plans(&files.plans).map_err(anyhow::Error::msg)?;
    story.file_plan = files.plans.first().map(|(_, plan)| plan.name.clone());
    Ok(invocation.with_program(program))
}

/// Returns the active versions, at most a page of them.
async fn active(stack: &Stack) -> Result<Vec<String>> {
    let Some(handle) = &stack.server.handle else { return Ok(Vec::new()) };
    let mut listed = handle.definitions().list(None, LISTED_MAX).await?;
    if let Some(chains) = &stack.server.chains {
        listed.extend(chains.plans().list(None, LISTED_MAX).await?);
    }
    let versions = listed.iter().map(|listed| &listed.version).filter(|version| version.is_active);
    Ok(versions.map(|version| format!("{}@{}", version.name, version.version)).collect())
}

/// Parses `NAME=URL`.
fn binding(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("write NAME=URL")?;
    let bound = HttpParticipants::default().bind(name, url);
    bound.map(|_| (name.to_owned(), url.to_owned())).map_err(|error| error.to_string())
}

/// Returns the HTTP participants of the configuration and of the flags.
fn participants(invocation: &Invocation, flags: &[(String, String)]) -> Result<HttpParticipants> {
    let here = Path::new(CONFIG_FILE);
    let file = invocation.config_file().or_else(|| here.exists().then_some(here));
    let settings = Settings::load(&invocation.program.schema(), file)?;
    let configured = settings.http_participants()?;
    let bind = |bound: HttpParticipants, (name, url): &(String, String)| bound.bind(name, url);
    Ok(flags.iter().try_fold(configured, bind)?)
}

impl Work for Stack {
    async fn broken(&mut self) -> Error {
        Stack::broken(self).await
    }

    async fn stop(self, limit: Duration) -> Result<(), Error> {
        Stack::stop(self, limit).await
    }
}

fn announce(stand_ins: &[Name]) {
    for name in stand_ins {
        outln!("  {name}: stand-in (no service, no binding)");
    }
}

/// The facts that the greeting prints.
struct Ready {
    address: SocketAddr,
    data: PathBuf,
    is_ephemeral: bool,
    choreography: bool,
    /// The active versions.
    definitions: Vec<String>,
}

fn greet(invocation: &Invocation, ready: &Ready, took: Duration) -> Result<()> {
    let Ready { address, data, is_ephemeral, choreography, definitions } = ready;
    let (program, note) =
        (&invocation.program, if *is_ephemeral { " (removed at the end)" } else { "" });
    let is_empty = program.service_names().is_empty() && program.story.sagas.is_empty();
    let Greeting { links, commands } = program.greeting;
    let mut out = anstream::stdout().lock();
    writeln!(out, "Sagamore is ready after {} ms.\n", took.as_millis())?;
    writeln!(out, "  server   http://{address}")?;
    for (name, path) in links {
        writeln!(out, "  {name:<7}  http://{address}{path}")?;
    }
    writeln!(out, "  sagas    http://{address}/api/v1/sagas")?;
    writeln!(out, "  metrics  http://{address}/metrics")?;
    if is_empty && !definitions.is_empty() {
        writeln!(out, "  active   {}", definitions.join(", "))?;
    }
    let folder = stack::directory(program, *choreography, data);
    writeln!(out, "  data     {}{note}\n", folder.display())?;
    let apart = data.join(stack::CHOREOGRAPHY_FOLDER);
    if !*choreography && program.choreography.is_some() && apart.exists() {
        writeln!(out, "  The data of `dev --choreography` is separate, in {}.\n", apart.display())?;
    }
    let flag =
        if address.port() == 3000 { String::new() } else { format!(" --server http://{address}") };
    let filled = |command: &str| {
        command.replace("{server}", &format!("http://{address}")).replace("{flag}", &flag)
    };
    writeln!(out, "Next steps:")?;
    if is_empty && definitions.is_empty() {
        writeln!(out, "  {} init     # writes a first saga to ./sagas", program.name)?;
        writeln!(out, "  {} dev      # loads ./sagas", program.name)?;
    }
    for command in commands {
        writeln!(out, "  {}", filled(command))?;
    }
    writeln!(out, "  {} list{flag}", program.name)?;
    out.flush()?;
    Ok(())
}
