//! `sagamore cancel`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Result;

use super::output::{self, Exit};
use super::{CancelArgs, ConfigArgs, Format, full_id};
use crate::http::encoded;

/// Says what it does, asks, and requests it.
pub async fn run(config: &ConfigArgs, args: CancelArgs) -> Result<Exit> {
    let id = full_id(&args.id);
    if !args.yes && !agreed(&id)? {
        return Ok(Exit::Usage);
    }
    let client = args.server.client(config)?;
    let answer = client.post(&format!("/api/v1/sagas/{}/cancel", encoded(&id)), "", None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::println!("{id}  cancel requested; see: sagamore watch {id}"),
    }
    Ok(Exit::Completed)
}

fn agreed(id: &str) -> Result<bool> {
    anstream::eprintln!("This undoes all that {id} has done; one that has not begun will never run.");
    if !std::io::stdin().is_terminal() {
        anstream::eprintln!("Nothing was done: say --yes when there is nobody to ask.");
        return Ok(false);
    }
    anstream::eprint!("Cancel it? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        anstream::eprintln!("Nothing was done.");
    }
    Ok(yes)
}
