//! `sagamore list`.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};

use super::output::{self, Exit};
use super::{ConfigArgs, Format, ListArgs};
use crate::http::encoded;
use crate::view::Lines;

/// One page of sagas.
pub async fn run(config: &ConfigArgs, args: ListArgs) -> Result<Exit> {
    let client = args.server.client(config)?;
    let mut path = format!("/api/v1/sagas?limit={}", args.limit);
    let filters = [
        ("status", args.status.map(|status| status.as_str().to_owned())),
        ("style", args.style.map(|style| style.as_str().to_owned())),
        ("definition", args.definition),
        ("key", args.key),
        ("openFaults", args.open_faults.then(|| "true".to_owned())),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(&value).replace('&', "%26").replace('+', "%2B")));
        }
    }
    let answer = client.get(&path).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => {
            let lines: Lines = client.read(&answer)?;
            match (lines.sagas.is_empty(), path.contains('&')) {
                (true, true) => anstream::eprintln!("no saga of that sort"),
                (true, false) => {
                    anstream::eprintln!("no sagas; begin one with: curl '{client}/saga/start/12345?wait=10'");
                }
                (false, _) => print(&lines),
            }
        }
    }
    Ok(Exit::Completed)
}

fn print(lines: &Lines) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ID", "STYLE", "STATUS", "FAILED AT", "STARTED", "ENDED"]);
    for line in &lines.sagas {
        let fault = if line.open_fault_from.is_some() { ", open fault" } else { "" };
        let status = format!("{}{fault}", line.status.as_str());
        table.add_row([
            line.id.as_str(),
            line.style.as_str(),
            &status,
            line.failed_at.as_deref().unwrap_or("-"),
            &line.started_at,
            line.ended_at.as_deref().unwrap_or("-"),
        ]);
    }
    anstream::println!("{}", table.trim_fmt());
    if lines.next.is_some() {
        anstream::eprintln!(
            "there are more: -n shows up to 500 of them; narrow it with --status, --definition or --key"
        );
    }
}
