//! `graph`: draws or describes the saga of a file.

use anyhow::{Result, anyhow};
use sagamore_core::definition::{self, Definition};
use sagamore_core::plan;
use sagamore_inspect::files::{self, SagaFile};
use sagamore_inspect::{asyncapi, graph};

use super::{Drawing, GraphArgs};
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::plain;

/// Prints the drawing. An invalid saga is rejected.
pub fn run(invocation: &Invocation, args: &GraphArgs) -> Result<Exit> {
    let file = args.file.display().to_string();
    let (name, quoted) = (invocation.name(), plain::quoted(&file));
    let wrong =
        || anyhow!("the saga in {file} is invalid: run `{name} check {quoted}` for the reasons");
    let drawing = match files::read(&args.file)? {
        SagaFile::Plan(plan) if !plan::check(&plan).is_empty() => return Err(wrong()),
        SagaFile::Plan(plan) => match args.output {
            Drawing::Text => plan::text(&plan),
            Drawing::Mermaid => plan::mermaid(&plan),
            Drawing::Svg => graph::of_plan(&plan).svg(),
            Drawing::Asyncapi => asyncapi::of_plan(&plan),
        },
        SagaFile::Definition(draft) => {
            let definition = Definition::check(draft).map_err(|_| wrong())?;
            match args.output {
                Drawing::Text => definition::text(&definition),
                Drawing::Mermaid => definition::mermaid(&definition),
                Drawing::Svg => graph::of_definition(&definition).svg(),
                Drawing::Asyncapi => asyncapi::of_definition(&definition),
            }
        }
    };
    out!("{drawing}");
    Ok(Exit::Completed)
}
