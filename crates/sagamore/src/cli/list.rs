//! `list`: one page of sagas.

use std::io::IsTerminal;

use anyhow::Result;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use sagamore_engine::ChainStatus;

use super::args::{Format, ServerArgs};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{Line, Lines, Style};

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// List only sagas with this status
    #[arg(long, value_parser = status)]
    status: Option<ChainStatus>,
    /// List only sagas of this style
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// List only sagas of this definition or plan
    #[arg(long)]
    definition: Option<String>,
    /// List only sagas with this business key
    #[arg(long)]
    key: Option<String>,
    /// List only sagas with an open fault
    #[arg(long)]
    open_faults: bool,
    /// Maximum sagas of a page
    #[arg(
        short = 'n',
        long,
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=500)
    )]
    limit: u32,
    /// Cursor of the next page, as printed below a page
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints one page of sagas, and hints for an empty or an incomplete list.
pub async fn run(invocation: &Invocation, args: ListArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let mut path = format!("/api/v1/sagas?limit={}", args.limit);
    let filters = [
        ("status", args.status.map(|status| status.as_str().to_owned())),
        ("style", args.style.map(|style| style.as_str().to_owned())),
        ("definition", args.definition.clone()),
        ("key", args.key),
        ("cursor", args.cursor),
        ("openFaults", args.open_faults.then(|| "true".to_owned())),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!(
                "&{name}={}",
                encoded(&value).replace('&', "%26").replace('+', "%2B")
            ));
        }
    }
    let answer = client.get(&path).await?;
    let lines: Lines = client.shown(&answer)?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table if !lines.sagas.is_empty() => print(&lines),
        Format::Table if path.contains('&') => errln!("no matching sagas"),
        Format::Table => {
            errln!("no sagas; start one with: {} start [DEFINITION] KEY", invocation.name());
        }
    }
    let unknown = args.definition.filter(|_| lines.sagas.is_empty());
    if let Some(hint) = unknown.and_then(|name| unknown_definition(invocation, &name)) {
        errln!("{hint}");
    }
    if let Some(next) = &lines.next {
        errln!("more sagas exist: repeat the command with --cursor {next}, or with -n up to 500");
    }
    Ok(Exit::Completed)
}

/// Returns a hint if the program defines neither a saga nor a plan of this name. The server may
/// belong to another program, so this is not an error.
fn unknown_definition(invocation: &Invocation, name: &str) -> Option<String> {
    let stories = invocation.program.stories();
    let names: Vec<String> = stories
        .flat_map(|story| {
            let sagas = story.sagas.iter().map(|saga| saga.name.to_string());
            sagas.chain(story.plans.iter().map(|plan| plan.name.to_string()))
        })
        .collect();
    let is_unknown = !names.is_empty() && names.iter().all(|known| known != name);
    is_unknown.then(|| {
        let (program, names) = (invocation.name(), names.join(", "));
        format!("{program} has no definition or plan '{name}': use one of {names}")
    })
}

fn status(text: &str) -> Result<ChainStatus, String> {
    ChainStatus::read(text).ok_or_else(|| {
        format!("use one of {}", ChainStatus::ALL.map(ChainStatus::as_str).join(", "))
    })
}

fn print(lines: &Lines) {
    let rows = lines.sagas.iter().map(row).collect::<Vec<_>>();
    let columns = fitting(&rows, terminal_width());
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| HEADER[*column]));
    for row in &rows {
        table.add_row(columns.iter().map(|column| row[*column].as_str()));
    }
    outln!("{}", table.trim_fmt());
}

const HEADER: [&str; 6] = ["ID", "STYLE", "STATUS", "FAILED AT", "STARTED", "ENDED"];
/// The columns to omit on a narrow terminal, in this order. Ids are never shortened, because users
/// copy them.
const OMISSIBLE: [usize; 4] = [5, 1, 4, 3];

/// Returns the width of the terminal, if stdout is one.
fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Returns the columns that fit into `width` characters; all of them without a limit.
fn fitting(rows: &[[String; 6]], width: Option<usize>) -> Vec<usize> {
    let of_column = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADER[column].len()]).max().unwrap_or(0) + 2
    };
    let mut columns: Vec<usize> = (0..HEADER.len()).collect();
    for omitted in OMISSIBLE {
        let needed: usize = columns.iter().map(|column| of_column(*column)).sum();
        if width.is_none_or(|width| needed <= width) {
            break;
        }
        columns.retain(|column| *column != omitted);
    }
    columns
}

fn row(line: &Line) -> [String; 6] {
    let fault = if line.open_fault_from.is_some() { ", open fault" } else { "" };
    let player = if line.stand_in { " (stand-in)" } else { "" };
    let or_none = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
    [
        line.id.clone(),
        line.style.as_str().to_owned(),
        format!("{}{player}{fault}", line.status.as_str()),
        or_none(&line.failed_at),
        line.started_at.clone(),
        or_none(&line.ended_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_omits_columns_and_shortens_no_id() {
        let row = [
            "checkout:10248",
            "orchestration",
            "completed",
            "-",
            "2026-11-23T20:00:00.000Z",
            "2026-11-23T20:00:00.031Z",
        ];
        let rows = [row.map(str::to_owned)];
        let check = |width, expected: &[&str]| {
            assert_eq!(
                fitting(&rows, width).iter().map(|column| HEADER[*column]).collect::<Vec<_>>(),
                expected
            );
        };
        check(None, &HEADER);
        check(Some(200), &HEADER);
        check(Some(80), &["ID", "STYLE", "STATUS", "FAILED AT", "STARTED"]);
        check(Some(78), &["ID", "STATUS", "FAILED AT", "STARTED"]);
        check(Some(40), &["ID", "STATUS", "FAILED AT"]);
        check(Some(10), &["ID", "STATUS"]);
    }
}
