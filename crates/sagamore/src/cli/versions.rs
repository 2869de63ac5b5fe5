//! `definitions` and `plans`: the versions that a server stores.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use sagamore_core::Name;
use serde_json::{Value, json};

use super::args::{AddressArgs, Format, ServerArgs};
use crate::client::{Client, Error};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{DefinitionLine, DefinitionLines, DefinitionView, DiffView, DifferenceView};

/// Versions per request of a list.
const PAGE: u32 = 500;

/// A collection of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    Definitions,
    Plans,
}

impl Collection {
    /// Returns the path of its addresses.
    pub fn address(self) -> &'static str {
        match self {
            Collection::Definitions => "/api/v1/definitions",
            Collection::Plans => "/api/v1/plans",
        }
    }

    /// Returns the word for what runs by its versions.
    pub fn instances(self) -> &'static str {
        match self {
            Collection::Definitions => "sagas",
            Collection::Plans => "chains",
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Collection::Definitions => "definitions",
            Collection::Plans => "plans",
        })
    }
}

/// The commands of `definitions` and `plans`.
#[derive(Debug, Subcommand)]
pub enum VersionsCommand {
    /// List stored versions with their unfinished sagas or chains
    List(ListArgs),
    /// Print the stored contents of a version
    Show(ShowArgs),
    /// Compare two versions, in words
    Diff(DiffArgs),
    /// Run new sagas or chains with a version, which may be an earlier one
    Activate(VersionArgs),
    /// Stop starts with a version; its running sagas or chains continue
    Retire(RetireArgs),
}

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// List only versions of this name
    name: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A version and the server.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Name and version
    #[arg(value_name = "NAME@VERSION")]
    version: VersionId,
    #[command(flatten)]
    server: ServerArgs,
}

/// The arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name and version
    #[arg(value_name = "NAME@VERSION")]
    version: VersionId,
    #[command(flatten)]
    server: AddressArgs,
    /// Output format; yaml is a saga file for the verb apply
    #[arg(short, long, value_enum, default_value_t = ContentsFormat::Table)]
    output: ContentsFormat,
}

/// The output format of a version's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContentsFormat {
    /// The contents as JSON.
    #[value(help = None)]
    Table,
    /// The version with its contents, as one JSON document for programs.
    #[value(help = None)]
    Json,
    /// The contents as YAML.
    #[value(help = None)]
    Yaml,
}

/// The arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Name of the definition or plan
    name: String,
    /// Older version
    from: u32,
    /// Newer version
    to: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// The arguments of `retire`.
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
    fn path(&self, collection: Collection) -> String {
        format!("{}/{}/{}", collection.address(), encoded(self.name.as_str()), self.version)
    }
}

/// Runs one of the commands.
pub async fn run(
    invocation: &Invocation,
    collection: Collection,
    command: VersionsCommand,
) -> Result<Exit> {
    match command {
        VersionsCommand::List(args) => list(invocation, collection, args).await,
        VersionsCommand::Show(args) => show(invocation, collection, args).await,
        VersionsCommand::Diff(args) => diff(invocation, collection, args).await,
        VersionsCommand::Activate(args) => activate(invocation, collection, args).await,
        VersionsCommand::Retire(args) => retire(invocation, collection, args).await,
    }
}

async fn list(invocation: &Invocation, collection: Collection, args: ListArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let definitions = match &args.name {
        Some(name) => {
            let path = format!("{}/{}", collection.address(), encoded(name));
            client.shown::<DefinitionLines>(&client.get(&path).await?)?.definitions
        }
        None => all(&client, collection).await?,
    };
    match args.server.format.output {
        Format::Json => {
            let mut page = json!({ "next": null });
            page[collection.to_string()] = serde_json::to_value(&definitions)?;
            output::json(&page)?;
        }
        Format::Table if definitions.is_empty() => {
            errln!("no {collection}; register one with: {} apply FILE", invocation.name());
        }
        Format::Table => print(collection, &definitions),
    }
    Ok(Exit::Completed)
}

/// Reads all pages.
async fn all(client: &Client, collection: Collection) -> Result<Vec<DefinitionLine>, Error> {
    let (mut all, mut after, address) = (Vec::new(), String::new(), collection.address());
    loop {
        let path = match after.as_str() {
            "" => format!("{address}?limit={PAGE}"),
            after => format!("{address}?limit={PAGE}&after={}", encoded(after)),
        };
        let page: DefinitionLines = client.shown(&client.get(&path).await?)?;
        all.extend(page.definitions);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

fn print(collection: Collection, definitions: &[DefinitionLine]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let name = match collection {
        Collection::Definitions => "DEFINITION",
        Collection::Plans => "PLAN",
    };
    table.set_header([name, "STATE", "RUNNING", "REGISTERED", "RETIRED"]);
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

/// Prints the contents as JSON or YAML, which are valid files for `apply`.
async fn show(invocation: &Invocation, collection: Collection, args: ShowArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let answer = client.get(&args.version.path(collection)).await?;
    if args.output == ContentsFormat::Json {
        output::raw(&answer);
        return Ok(Exit::Completed);
    }
    let stored: DefinitionView = client.shown(&answer)?;
    let Some(contents) = stored.definition else {
        let VersionId { name, version } = &args.version;
        errln!("{name}@{version} is retired, and its contents were removed");
        return Ok(Exit::Error);
    };
    match args.output {
        ContentsFormat::Yaml => out!("{}", sagamore_inspect::files::yaml(contents.as_str())?),
        ContentsFormat::Table | ContentsFormat::Json => {
            outln!("{}", serde_json::to_string_pretty(&contents.read::<Value>()?)?);
        }
    }
    Ok(Exit::Completed)
}

async fn diff(invocation: &Invocation, collection: Collection, args: DiffArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let DiffArgs { name, from, to, server } = args;
    let path = format!("{}/{}/diff?from={from}&to={to}", collection.address(), encoded(&name));
    let answer = client.get(&path).await?;
    if server.format.output == Format::Json {
        output::raw(&answer);
        return Ok(Exit::Completed);
    }
    let DiffView { from, to, differences } = client.shown(&answer)?;
    for line in [&from, &to] {
        let state = if line.state().is_empty() { "not active" } else { line.state() };
        let (id, running) = (line.id(), line.running.unwrap_or(0));
        outln!("{id}  {state}, unfinished {}: {running}", collection.instances());
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

async fn activate(
    invocation: &Invocation,
    collection: Collection,
    args: VersionArgs,
) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let path = format!("{}/activate", args.version.path(collection));
    let answer = client.post(&path, "", None).await?;
    let line: DefinitionLine = client.shown(&answer)?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{}  {}", line.id(), line.state()),
    }
    Ok(Exit::Completed)
}

async fn retire(invocation: &Invocation, collection: Collection, args: RetireArgs) -> Result<Exit> {
    let RetireArgs { version: VersionArgs { version, server }, yes } = args;
    let client = server.client(invocation)?;
    let line: DefinitionLine = client.shown(&client.get(&version.path(collection)).await?)?;
    if !yes && !output::confirmed(&effect(collection, &line), "Retire it?")? {
        return Ok(Exit::Usage);
    }
    let answer = client.post(&format!("{}/retire", version.path(collection)), "", None).await?;
    match server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{}  retired", line.id()),
    }
    Ok(Exit::Completed)
}

fn effect(collection: Collection, line: &DefinitionLine) -> String {
    let (id, name, running) = (line.id(), &line.name, line.running.unwrap_or(0));
    let instances = collection.instances();
    let mut effect =
        format!("This stops starts with {id}. Its unfinished {instances} ({running}) continue.");
    if line.active {
        effect.push_str(&format!(
            " No version of {name} is active afterwards: a start must name a version."
        ));
    }
    effect
}
