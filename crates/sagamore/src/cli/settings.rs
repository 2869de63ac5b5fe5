//! `sagamore config`: every value, and where it comes from.

use anyhow::Result;
use comfy_table::{Table, presets};

use super::output::{self, Exit};
use super::{ConfigArgs, Format, FormatArgs};
use crate::config;

/// Prints the values; secrets are hidden.
pub fn run(config: &ConfigArgs, format: &FormatArgs) -> Result<Exit> {
    let values = config::explain(config.config.as_deref())?;
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
