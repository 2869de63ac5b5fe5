//! PostgreSQL keeps the promises of the port, on a real server, and some more.

mod connections;
mod locks;
mod server;
mod statements;

sagamore_database::contract_suite!(if there server::fresh());
