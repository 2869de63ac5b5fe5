//! The services' local transactions, each on a database in memory, without any saga.

#[path = "../support/northwind.rs"]
mod files;
mod shop;
mod texts;

mod inventory;
mod order;
mod payment;
mod shipping;

mod import;
mod loading;

mod books;
mod northwind;
