//! `apply`: registers definitions and plans of files at a running server.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use sagamore_inspect::{SagaFile, files};
use serde_json::json;

use super::args::{Format, ServerArgs};
use super::versions::Collection;
use crate::client::{Client, Error};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::saga_files::SagaFiles;
use crate::view::{DefinitionLine, RegistrationView};

/// The arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Files of definitions and plans, or folders
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check the files against the server, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Run new sagas and chains with the applied versions
    #[arg(long, conflicts_with = "dry_run")]
    activate: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Registers the files one after another. Nothing is sent if a file has a mistake.
pub async fn run(invocation: &Invocation, args: ApplyArgs) -> Result<Exit> {
    let files = SagaFiles::load(&args.files);
    if !files.mistakes.is_empty() {
        files.mistakes.iter().for_each(|mistake| errln!("{}", plain::visible(mistake)));
        errln!("Nothing was applied.");
        return Ok(Exit::Error);
    }
    if files.definitions.is_empty() && files.plans.is_empty() {
        bail!("no definition or plan found: name a YAML or JSON file, or a folder of them");
    }
    let client = args.server.client(invocation)?;
    let (mut definitions, mut plans, mut exit) = (Vec::new(), Vec::new(), Exit::Completed);
    for (path, file) in files.into_contents() {
        let (collection, body, applied) = match &file {
            SagaFile::Definition(definition) => {
                (Collection::Definitions, serde_json::to_vec(definition)?, &mut definitions)
            }
            SagaFile::Plan(plan) => (Collection::Plans, serde_json::to_vec(plan)?, &mut plans),
        };
        match apply(&client, &args, collection, body).await {
            Ok(result) => {
                for warning in &result.warnings {
                    errln!("warning: {}", plain::visible(warning));
                }
                if args.server.format.output == Format::Table {
                    print(invocation, &result, collection, args.activate);
                }
                applied.push(serde_json::to_value(result)?);
            }
            Err(error) if matches!(error, Error::Problem { .. }) => {
                exit = Exit::Error;
                complain(&path, &error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if args.server.format.output == Format::Json {
        output::json(&json!({ "definitions": definitions, "plans": plans }))?;
    }
    Ok(exit)
}

async fn apply(
    client: &Client,
    args: &ApplyArgs,
    collection: Collection,
    body: Vec<u8>,
) -> Result<RegistrationView, Error> {
    let address = collection.address();
    let path = format!("{address}?dryRun={}", args.dry_run);
    let mut result: RegistrationView = client.shown(&client.post(&path, body, None).await?)?;
    if args.activate && !result.line.active {
        let DefinitionLine { name, version, .. } = &result.line;
        let path = format!("{address}/{}/{version}/activate", encoded(name));
        result.line = client.shown(&client.post(&path, "", None).await?)?;
    }
    Ok(result)
}

fn print(
    invocation: &Invocation,
    result: &RegistrationView,
    collection: Collection,
    activates: bool,
) {
    let RegistrationView { line, outcome, dry_run, .. } = result;
    let (id, state) = (line.id(), line.state());
    let state = if state.is_empty() { String::new() } else { format!(", {state}") };
    let note = if *dry_run { " (dry run: nothing was stored)" } else { "" };
    outln!("{id}  {outcome}{state}{note}");
    if !line.active && !activates && !*dry_run && line.retired_at.is_none() {
        let name = invocation.name();
        let instances = collection.instances();
        errln!("  New {instances} run by another version: {name} {collection} activate {id}");
    }
}

/// Reports a rejected file, with the places in the file if the server names parts of it.
fn complain(path: &Path, error: &Error) {
    let file = path.display();
    errln!("{file}: {}", plain::visible(&error.to_string()));
    let Error::Problem { problem, .. } = error else { return };
    let pointed = problem.errors.iter().map(|of| (of.pointer.clone(), of.detail.clone()));
    let text = files::bytes(path).unwrap_or_default(); // it was read before
    let places = files::violations_at(&String::from_utf8_lossy(&text), pointed);
    places.iter().for_each(|place| errln!("  {file}:{}", plain::visible(&place.to_string())));
}
