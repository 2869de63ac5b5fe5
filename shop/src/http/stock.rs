//! Read-only routes of accounts and stock.

use sagamore::axum::Json;
use sagamore::axum::extract::State;
use sagamore::database::Database;
use sagamore::server::http::{PageRequest, Problem, Segment, page};
use serde::Serialize;

use super::problems::{NO_SUCH_ACCOUNT, NO_SUCH_STOCK};
use super::state::Shop;
use crate::inventory::{self, Product};
use crate::payment::{self, Account};

/// A page of accounts, by customer.
#[derive(Serialize)]
pub struct Accounts {
    accounts: Vec<Account>,
    next: Option<String>,
}

/// A page of products, by sku.
#[derive(Serialize)]
pub struct Products {
    stock: Vec<Product>,
    next: Option<String>,
}

/// Returns a page of accounts.
pub async fn accounts(
    State(app): State<Shop>,
    query: PageRequest,
) -> Result<Json<Accounts>, Problem> {
    accounts_of(&app.databases()?.payment, query).await
}

pub(super) async fn accounts_of(
    database: &Database,
    query: PageRequest,
) -> Result<Json<Accounts>, Problem> {
    let (after, limit) = page(query)?;
    let accounts = payment::accounts(database, &after, limit).await?;
    let next = accounts
        .last()
        .filter(|_| accounts.len() == limit as usize)
        .map(|last| last.customer_id.clone());
    Ok(Json(Accounts { accounts, next }))
}

/// Returns one account.
pub async fn account(
    State(app): State<Shop>,
    Segment(id): Segment,
) -> Result<Json<Account>, Problem> {
    account_of(&app.databases()?.payment, &id).await
}

pub(super) async fn account_of(database: &Database, id: &str) -> Result<Json<Account>, Problem> {
    let account = payment::account(database, id).await?;
    let missing = || Problem::new(&NO_SUCH_ACCOUNT, format!("there is no account of {id}"));
    account.map(Json).ok_or_else(missing)
}

/// Returns a page of products.
pub async fn stock(State(app): State<Shop>, query: PageRequest) -> Result<Json<Products>, Problem> {
    stock_of(&app.databases()?.inventory, query).await
}

pub(super) async fn stock_of(
    database: &Database,
    query: PageRequest,
) -> Result<Json<Products>, Problem> {
    let (after, limit) = page(query)?;
    let stock = inventory::stock(database, &after, limit).await?;
    let next = stock.last().filter(|_| stock.len() == limit as usize).map(|last| last.sku.clone());
    Ok(Json(Products { stock, next }))
}

/// Returns one product.
pub async fn product(
    State(app): State<Shop>,
    Segment(sku): Segment,
) -> Result<Json<Product>, Problem> {
    product_of(&app.databases()?.inventory, &sku).await
}

pub(super) async fn product_of(database: &Database, sku: &str) -> Result<Json<Product>, Problem> {
    let product = inventory::product(database, sku).await?;
    let missing = || Problem::new(&NO_SUCH_STOCK, format!("there is no product {sku}"));
    product.map(Json).ok_or_else(missing)
}
