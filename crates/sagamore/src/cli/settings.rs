//! `config`: every value of the configuration with its origin.

use anyhow::Result;
use comfy_table::{Table, presets};

use super::args::{Format, FormatArgs};
use crate::config;
use crate::invocation::Invocation;
use crate::output::{self, Exit};

/// Prints the values. Secrets are hidden.
pub fn run(invocation: &Invocation, format: &FormatArgs) -> Result<Exit> {
    let values = config::explain(&invocation.program.schema(), invocation.config_file())?;
    match format.output {
        Format::Json => output::json(&values)?,
        Format::Table => {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_header(["KEY", "VALUE", "ORIGIN"]);
            table.add_rows(values.iter().map(|value| [&value.key, &value.value, &value.origin]));
            outln!("{table}");
        }
    }
    Ok(Exit::Completed)
}
