//! `dev`: everything in one process, until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::DevArgs;
use super::attend::{self, Attended, Place, Work};
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::program::Greeting;
use crate::stack::{self, Stack};

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(invocation: &Invocation, args: DevArgs) -> Result<Exit> {
    let begun = Instant::now();
    let (program, choreography) = (&invocation.program, args.choreography);
    let command = format!("{} dev", program.name);
    let listener = attend::listen(&Place::by_flag(&command, &args.listen), false).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let ephemeral =
        args.ephemeral.then(tempfile::tempdir).transpose().context("make a temporary directory")?;
    let data: PathBuf =
        ephemeral.as_ref().map_or(args.data, |directory| directory.path().to_owned());
    let stack = Stack::open(program, choreography, &data, args.sagas_max).await?;
    for samples in &program.story(choreography).samples {
        samples(stack.server.clone()).await.context("load the sample data")?;
    }
    let router = stack.router(program, choreography, Some(metrics));
    let attended = Attended::begin(listener, router, invocation.stop()?);
    greet(invocation, address, &data, args.ephemeral, begun.elapsed(), choreography)?;
    attended.until_stopped(stack).await
}

impl Work for Stack {
    async fn broken(&mut self) -> stack::Error {
        Stack::broken(self).await
    }

    async fn stop(self, limit: Duration) -> Result<(), stack::Error> {
        Stack::stop(self, limit).await
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
    let (program, kept) =
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
    writeln!(out, "  data     {}{kept}\n", folder.display())?;
    let apart = data.join(stack::CHOREOGRAPHY_FOLDER);
    if !choreography && program.choreography.is_some() && apart.exists() {
        writeln!(
            out,
            "  What `dev --choreography` keeps is apart, in {}: not seen here.\n",
            apart.display()
        )?;
    }
    let flag =
        if address.port() == 3000 { String::new() } else { format!(" --server http://{address}") };
    let filled = |command: &str| {
        command.replace("{server}", &format!("http://{address}")).replace("{flag}", &flag)
    };
    if program.service_names().is_empty() && program.story.sagas.is_empty() {
        writeln!(out, "Nothing is built in: add sagas and services with sagamore::Program.")?;
    }
    writeln!(out, "Try next:")?;
    for command in commands {
        writeln!(out, "  {}", filled(command))?;
    }
    writeln!(out, "  {} list{flag}", program.name)?;
    out.flush()?;
    Ok(())
}
