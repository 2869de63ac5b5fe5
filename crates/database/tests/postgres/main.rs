//! PostgreSQL against the contract of the port on a real server, and tests beyond it.

mod connections;
mod locks;
mod server;
mod skipping;
mod statements;

sagamore_database::contract_suite!(if there server::fresh());
