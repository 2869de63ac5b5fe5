//! `graph`: draws or describes the saga of a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use sagamore_core::definition::{self, Definition};
use sagamore_core::plan;
use sagamore_inspect::files::{self, SagaFile};
use sagamore_inspect::{asyncapi, graph, schemas};

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
    /// JSON Schemas of a definition's input, messages and outputs, a file each
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
        (SagaFile::Plan(_), Drawing::Schemas) => {
            bail!("{}: a plan has no schemas: name a definition", args.file.display())
        }
        (SagaFile::Definition(definition), Drawing::Schemas) => {
            let folder = args.folder.as_deref().unwrap_or(Path::new("."));
            write_schemas(&definition, folder)?
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
fn write_schemas(definition: &Definition, folder: &Path) -> Result<String> {
    let mut paths = String::new();
    for (name, schema) in schemas::of_definition(definition) {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        std::fs::write(&path, format!("{schema:#}\n"))
            .with_context(|| format!("write {}", path.display()))?;
        paths.push_str(&format!("{}\n", path.display()));
    }
    Ok(paths)
}
