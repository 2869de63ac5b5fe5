//! Arguments that several verbs share.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use sagamore_core::Body;

use crate::client::Client;
use crate::invocation::Invocation;

/// The configuration file.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file; without it, `dev` reads ./sagamore.toml if that exists
    #[arg(
        long,
        global = true,
        env = "SAGAMORE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
}

/// The server and the output format.
#[derive(Debug, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    address: AddressArgs,
    #[command(flatten)]
    pub format: FormatArgs,
}

impl ServerArgs {
    /// Returns a client of the server.
    pub fn client(&self, invocation: &Invocation) -> Result<Client> {
        self.address.client(invocation)
    }
}

/// The server.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Address of the server [default: the first reachable orchestrator (for a choreography,
    /// observer) of the configuration, or http://127.0.0.1:3000]
    #[arg(long, env = "SAGAMORE_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
}

impl AddressArgs {
    /// Returns a client of the server.
    pub fn client(&self, invocation: &Invocation) -> Result<Client> {
        let configured = || match invocation.config_file() {
            Some(_) => {
                let settings = invocation.settings()?;
                let is_orchestrated = invocation.story(&settings).is_orchestrated();
                Ok(if is_orchestrated { settings.servers() } else { settings.observers() })
            }
            None => Ok::<_, anyhow::Error>(vec!["http://127.0.0.1:3000".to_owned()]),
        };
        let servers = self.server.clone().map_or_else(configured, |server| Ok(vec![server]))?;
        Ok(Client::any_of(&servers)?.of_program(invocation.name()))
    }
}

/// Reads an argument that is a file, `-` for stdin, or a JSON object. `what` names it in errors.
pub fn json_argument(argument: &str, what: &str) -> Result<Body> {
    let text = match argument {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.with_context(|| format!("read the {what} from stdin"))?;
            text
        }
        json if json.trim_start().starts_with('{') => json.to_owned(),
        file => {
            std::fs::read_to_string(file).with_context(|| format!("read the {what} from {file}"))?
        }
    };
    Body::parse(text.trim()).with_context(|| format!("parse the {what} as JSON"))
}

/// The output format of a command.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable text.
    #[value(help = None)]
    Table,
    /// One JSON document for programs.
    #[value(help = None)]
    Json,
}
