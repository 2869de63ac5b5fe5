//! One database for a service or the engine: `Database` and `Tx`, on SQLite or PostgreSQL behind
//! one port.
//!
//! Portable statements use one documented subset of SQL (see [`portable`]). The crate knows nothing
//! of sagas or messages.

pub mod error;
pub mod value;

pub mod clock;
pub mod database;
pub mod port;
mod scope;
pub mod statement;
mod text;

pub mod lifetime;
pub mod migration;
pub mod portable;

pub mod postgres;
pub mod sqlite;

#[doc(hidden)]
pub mod contract;
#[doc(hidden)]
pub mod testing;

pub use clock::Clock;
pub use database::{Database, Open, Tx};
pub use error::Error;
pub use migration::Migration;
pub use statement::{GivenRow, Statement};
pub use text::{Text, Unstorable};
pub use value::{Params, Row, Value};
