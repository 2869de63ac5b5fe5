//! `definitions`: the versions that a server stores.

use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use sagamore_core::Name;
use serde_json::Value;

use super::args::{Format, ServerArgs};
use crate::client::{Client, Error};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{DefinitionLine, DefinitionLines, DiffView, DifferenceView};

/// Versions per request of a list.
const PAGE: u32 = 500;

/// The commands of `definitions`.
#[derive(Debug, Subcommand)]
pub enum DefinitionsCommand {
    /// List stored versions with their unfinished sagas
    List(ListArgs),
    /// Print the stored contents of a version
    Show(VersionArgs),
    /// Compare two versions, in words
    Diff(DiffArgs),
    /// Make new sagas run by a version, also an earlier one
    Activate(VersionArgs),
    /// Stop starts by a version; its running sagas continue
    Retire(RetireArgs),
}

/// The arguments of `definitions list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// List only versions of this definition
    name: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A version and the server.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Definition and version
    #[arg(value_name = "NAME@VERSION")]
    version: VersionId,
    #[command(flatten)]
    server: ServerArgs,
}

/// The arguments of `definitions diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Definition
    name: String,
    /// Older version
    from: u32,
    /// Newer version
    to: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// The arguments of `definitions retire`.
#[derive(Debug, Args)]
pub struct RetireArgs {
    #[command(flatten)]
    version: VersionArgs,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
}

/// `trip@2`.
#[derive(Clone, Debug)]
struct VersionId {
    name: Name,
    version: u32,
}

impl FromStr for VersionId {
    type Err = String;

    fn from_str(text: &str) -> Result<VersionId, String> {
        let (name, version) = text.rsplit_once('@').ok_or("write NAME@VERSION, such as trip@2")?;
        let version = version.parse().map_err(|_| "write the version as a whole number")?;
        Ok(VersionId { name: name.parse().map_err(|why| format!("{why}"))?, version })
    }
}

impl VersionId {
    fn path(&self) -> String {
        format!("/api/v1/definitions/{}/{}", encoded(self.name.as_str()), self.version)
    }
}

/// Runs one of the commands.
pub async fn run(invocation: &Invocation, command: DefinitionsCommand) -> Result<Exit> {
    match command {
        DefinitionsCommand::List(args) => list(invocation, args).await,
        DefinitionsCommand::Show(args) => show(invocation, args).await,
        DefinitionsCommand::Diff(args) => diff(invocation, args).await,
        DefinitionsCommand::Activate(args) => activate(invocation, args).await,
        DefinitionsCommand::Retire(args) => retire(invocation, args).await,
    }
}

async fn list(invocation: &Invocation, args: ListArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let definitions = match &args.name {
        Some(name) => {
            let path = format!("/api/v1/definitions/{}", encoded(name));
            client.shown::<DefinitionLines>(&client.get(&path).await?)?.definitions
        }
        None => all(&client).await?,
    };
    match args.server.format.output {
        Format::Json => output::json(&DefinitionLines { definitions, next: None })?,
        Format::Table if definitions.is_empty() => {
            errln!("no definitions; register one with: {} apply FILE", invocation.name());
        }
        Format::Table => print(&definitions),
    }
    Ok(Exit::Completed)
}

/// Reads all pages.
async fn all(client: &Client) -> Result<Vec<DefinitionLine>, Error> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = match after.as_str() {
            "" => format!("/api/v1/definitions?limit={PAGE}"),
            after => format!("/api/v1/definitions?limit={PAGE}&after={}", encoded(after)),
        };
        let page: DefinitionLines = client.shown(&client.get(&path).await?)?;
        all.extend(page.definitions);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

fn print(definitions: &[DefinitionLine]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["DEFINITION", "STATE", "RUNNING", "REGISTERED", "RETIRED"]);
    for line in definitions {
        let state = line.state();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            line.id(),
            if state.is_empty() { "-".to_owned() } else { state.to_owned() },
            or_none(line.running.map(|running| running.to_string())),
            or_none(line.registered_at.clone()),
            or_none(line.retired_at.clone()),
        ]);
    }
    outln!("{}", table.trim_fmt());
}

/// Prints the contents as JSON, which is a valid file for `apply`.
async fn show(invocation: &Invocation, args: VersionArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let answer = client.get(&args.version.path()).await?;
    if args.server.format.output == Format::Json {
        output::raw(&answer);
        return Ok(Exit::Completed);
    }
    let stored: Value = client.shown(&answer)?;
    if stored["definition"].is_null() {
        let VersionId { name, version } = &args.version;
        errln!("{name}@{version} is retired, and its contents were removed");
        return Ok(Exit::Error);
    }
    outln!("{}", serde_json::to_string_pretty(&stored["definition"])?);
    Ok(Exit::Completed)
}

async fn diff(invocation: &Invocation, args: DiffArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let DiffArgs { name, from, to, server } = args;
    let path = format!("/api/v1/definitions/{}/diff?from={from}&to={to}", encoded(&name));
    let answer = client.get(&path).await?;
    if server.format.output == Format::Json {
        output::raw(&answer);
        return Ok(Exit::Completed);
    }
    let DiffView { from, to, differences } = client.shown(&answer)?;
    for line in [&from, &to] {
        let state = if line.state().is_empty() { "not active" } else { line.state() };
        outln!("{}  {state}, unfinished sagas: {}", line.id(), line.running.unwrap_or(0));
    }
    for DifferenceView { detail, incompatible } in &differences {
        outln!("{} {detail}", if *incompatible { "!" } else { "-" });
    }
    match differences.iter().any(|difference| difference.incompatible) {
        _ if differences.is_empty() => outln!("The contents are equal."),
        true => outln!("A message marked with ! has no schema that fits both versions."),
        false => outln!("Messages stay compatible."),
    }
    Ok(Exit::Completed)
}

async fn activate(invocation: &Invocation, args: VersionArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let path = format!("{}/activate", args.version.path());
    let answer = client.post(&path, "", None).await?;
    let line: DefinitionLine = client.shown(&answer)?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{}  {}", line.id(), line.state()),
    }
    Ok(Exit::Completed)
}

async fn retire(invocation: &Invocation, args: RetireArgs) -> Result<Exit> {
    let RetireArgs { version: VersionArgs { version, server }, yes } = args;
    let client = server.client(invocation)?;
    let line: DefinitionLine = client.shown(&client.get(&version.path()).await?)?;
    if !yes && !output::confirmed(&effect(&line), "Retire it?")? {
        return Ok(Exit::Usage);
    }
    let answer = client.post(&format!("{}/retire", version.path()), "", None).await?;
    match server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{}  retired", line.id()),
    }
    Ok(Exit::Completed)
}

fn effect(line: &DefinitionLine) -> String {
    let (id, name, running) = (line.id(), &line.name, line.running.unwrap_or(0));
    let mut effect =
        format!("This stops starts by {id}. Its unfinished sagas ({running}) continue.");
    if line.active {
        effect.push_str(&format!(
            " No version of {name} is active afterwards: a start must name a version."
        ));
    }
    effect
}
