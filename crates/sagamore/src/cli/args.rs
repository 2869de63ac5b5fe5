//! Arguments that several verbs share.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

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
    /// Address of the server [default: the first reachable orchestrator (for a choreography,
    /// observer) of the configuration, or http://127.0.0.1:3000]
    #[arg(long, env = "SAGAMORE_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    pub format: FormatArgs,
}

impl ServerArgs {
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
    /// Text for people.
    #[value(help = None)]
    Table,
    /// One JSON document for programs.
    #[value(help = None)]
    Json,
}
