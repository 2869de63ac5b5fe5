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
use crate::blueprint::Greeting;
use crate::config::SAGAS_MAX;
use crate::error::Error;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::stack::{self, Stack};
use crate::stand_in::{Behaviour, BehaviourArgs};

/// The server's address and data directory.
#[derive(Debug, Args)]
pub struct DevArgs {
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
        default_value_t = SAGAS_MAX,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..),
        value_name = "N"
    )]
    sagas_max: usize,
    /// Run the program's choreography: services react to each other's events, without orchestrator
    #[arg(long, conflicts_with = "sagas_max")]
    choreography: bool,
    #[command(flatten)]
    stand_ins: BehaviourArgs,
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(invocation: &Invocation, args: DevArgs) -> Result<Exit> {
    let begun = Instant::now();
    let (program, choreography) = (&invocation.program, args.choreography);
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
    let mut stack = Stack::open(program, choreography, &data, args.sagas_max).await?;
    let behaviour = Behaviour::of(args.stand_ins);
    let stand_ins = stack.play_stand_ins(&data, behaviour).await?;
    for samples in &program.story(choreography).samples {
        samples(stack.server.clone()).await.context("load the sample data")?;
    }
    let router = stack.router(program, choreography, Some(metrics));
    let process = HttpProcess::begin(listener, router, invocation.stop()?);
    greet(invocation, address, &data, args.ephemeral, begun.elapsed(), choreography)?;
    announce(&stand_ins);
    process.until_stopped(stack).await
}

impl Work for Stack {
    async fn broken(&mut self) -> Error {
        Stack::broken(self).await
    }

    async fn stop(self, limit: Duration) -> Result<(), Error> {
        Stack::stop(self, limit).await
    }
}

/// Lists the stand-ins.
fn announce(stand_ins: &[Name]) {
    for name in stand_ins {
        outln!("  {name}: stand-in (no service, no binding)");
    }
}

fn greet(
    invocation: &Invocation,
    address: SocketAddr,
    data: &Path,
    ephemeral: bool,
    took: Duration,
    choreography: bool,
) -> Result<()> {
    let (program, note) =
        (&invocation.program, if ephemeral { " (removed at the end)" } else { "" });
    let Greeting { links, commands } = program.greeting;
    let mut out = anstream::stdout().lock();
    writeln!(out, "Sagamore is ready after {} ms.\n", took.as_millis())?;
    writeln!(out, "  server   http://{address}")?;
    for (name, path) in links {
        writeln!(out, "  {name:<7}  http://{address}{path}")?;
    }
    writeln!(out, "  sagas    http://{address}/api/v1/sagas")?;
    writeln!(out, "  metrics  http://{address}/metrics")?;
    let folder = stack::directory(program, choreography, data);
    writeln!(out, "  data     {}{note}\n", folder.display())?;
    let apart = data.join(stack::CHOREOGRAPHY_FOLDER);
    if !choreography && program.choreography.is_some() && apart.exists() {
        writeln!(out, "  The data of `dev --choreography` is separate, in {}.\n", apart.display())?;
    }
    let flag =
        if address.port() == 3000 { String::new() } else { format!(" --server http://{address}") };
    let filled = |command: &str| {
        command.replace("{server}", &format!("http://{address}")).replace("{flag}", &flag)
    };
    if program.service_names().is_empty() && program.story.sagas.is_empty() {
        writeln!(out, "This program has no sagas and services: add some with sagamore::Program.")?;
    }
    writeln!(out, "Next steps:")?;
    for command in commands {
        writeln!(out, "  {}", filled(command))?;
    }
    writeln!(out, "  {} list{flag}", program.name)?;
    out.flush()?;
    Ok(())
}
