//! The services' local transactions without sagas, each service on a database in memory.

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
