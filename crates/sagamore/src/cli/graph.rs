//! `graph`: draws or describes the saga of a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use sagamore_core::definition;
use sagamore_core::plan;
use sagamore_inspect::files::{self, SagaFile};
use sagamore_inspect::{asyncapi, graph, schemas};
use serde_json::Value;

use crate::invocation::Invocation;
use crate::output::Exit;
use crate::plain;

/// The arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// YAML file
    file: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Drawing::Text)]
    output: Drawing,
    /// Folder for the files of `-o schemas`, created if it is missing
    #[arg(required_if_eq("output", "schemas"))]
    folder: Option<PathBuf>,
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
    /// JSON Schemas of input, messages and outputs, or of a plan's events, one file each
    Schemas,
}

/// Prints the drawing. An invalid saga is rejected.
pub fn run(invocation: &Invocation, args: &GraphArgs) -> Result<Exit> {
    let file = args.file.display().to_string();
    let (name, quoted) = (invocation.name(), plain::quoted(&file));
    let wrong =
        || anyhow!("the saga in {file} is invalid: run `{name} check {quoted}` for the reasons");
    let file = files::read(&args.file).map_err(|error| match error {
        files::Error::Invalid { .. } => wrong(),
        unreadable => unreadable.into(),
    })?;
    let drawing = match (file, args.output) {
        (SagaFile::Plan(plan), Drawing::Schemas) => {
            write_schemas(schemas::of_plan(&plan), args.folder.as_deref())?
        }
        (SagaFile::Definition(definition), Drawing::Schemas) => {
            write_schemas(schemas::of_definition(&definition), args.folder.as_deref())?
        }
        (SagaFile::Plan(plan), Drawing::Text) => plan::text(&plan),
        (SagaFile::Plan(plan), Drawing::Mermaid) => plan::mermaid(&plan),
        (SagaFile::Plan(plan), Drawing::Svg) => graph::of_plan(&plan).svg(),
        (SagaFile::Plan(plan), Drawing::Asyncapi) => asyncapi::of_plan(&plan),
        (SagaFile::Definition(definition), Drawing::Text) => definition::text(&definition),
        (SagaFile::Definition(definition), Drawing::Mermaid) => definition::mermaid(&definition),
        (SagaFile::Definition(definition), Drawing::Svg) => graph::of_definition(&definition).svg(),
        (SagaFile::Definition(definition), Drawing::Asyncapi) => {
            asyncapi::of_definition(&definition)
        }
    };
    out!("{drawing}");
    Ok(Exit::Completed)
}

/// Writes a file for each schema, and returns their paths, a line each.
fn write_schemas(schemas: Vec<(String, Value)>, folder: Option<&Path>) -> Result<String> {
    let (folder, mut paths) = (folder.unwrap_or(Path::new(".")), String::new());
    for (name, schema) in schemas {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        std::fs::write(&path, format!("{schema:#}\n"))
            .with_context(|| format!("write {}", path.display()))?;
        paths.push_str(&format!("{}\n", path.display()));
    }
    Ok(paths)
}
