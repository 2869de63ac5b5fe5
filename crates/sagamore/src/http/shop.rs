//! What the customers have and what the shelves have: read-only.

use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};

use super::App;
use super::body::{self, Segment};
use super::routes::{AFTER, Kind, Parameter};
use crate::problem::{Code, Problem};
use sagamore_database::Database;
use sagamore_shop::inventory::{self, Product};
use sagamore_shop::payment::{self, Account};

/// How many are on a page unless `limit` says so, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// What a page takes.
pub const QUERY: &[Parameter] = &[Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) }, AFTER];

/// `?limit=` and `?after=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    limit: Option<u32>,
    after: Option<String>,
}

/// Some accounts, by customer.
#[derive(Serialize)]
pub struct Accounts {
    accounts: Vec<Account>,
    next: Option<String>,
}

/// Some products, by sku.
#[derive(Serialize)]
pub struct Products {
    stock: Vec<Product>,
    next: Option<String>,
}

pub(super) type PageOf = Result<Query<PageQuery>, QueryRejection>;

/// A page of accounts.
pub async fn accounts(State(app): State<Arc<App>>, query: PageOf) -> Result<Json<Accounts>, Problem> {
    accounts_of(&app.shop()?.payment, query).await
}

pub(super) async fn accounts_of(database: &Database, query: PageOf) -> Result<Json<Accounts>, Problem> {
    let (after, limit) = page(query)?;
    let accounts = payment::accounts(database, &after, limit).await?;
    let next = accounts.last().filter(|_| accounts.len() == limit as usize).map(|last| last.customer_id.clone());
    Ok(Json(Accounts { accounts, next }))
}

/// One account.
pub async fn account(State(app): State<Arc<App>>, Segment(id): Segment) -> Result<Json<Account>, Problem> {
    account_of(&app.shop()?.payment, &id).await
}

pub(super) async fn account_of(database: &Database, id: &str) -> Result<Json<Account>, Problem> {
    let account = payment::account(database, id).await?;
    let missing = || Problem::new(Code::NoSuchAccount, format!("there is no account of {id}"));
    account.map(Json).ok_or_else(missing)
}

/// A page of products.
pub async fn stock(State(app): State<Arc<App>>, query: PageOf) -> Result<Json<Products>, Problem> {
    stock_of(&app.shop()?.inventory, query).await
}

pub(super) async fn stock_of(database: &Database, query: PageOf) -> Result<Json<Products>, Problem> {
    let (after, limit) = page(query)?;
    let stock = inventory::stock(database, &after, limit).await?;
    let next = stock.last().filter(|_| stock.len() == limit as usize).map(|last| last.sku.clone());
    Ok(Json(Products { stock, next }))
}

/// One product.
pub async fn product(State(app): State<Arc<App>>, Segment(sku): Segment) -> Result<Json<Product>, Problem> {
    product_of(&app.shop()?.inventory, &sku).await
}

pub(super) async fn product_of(database: &Database, sku: &str) -> Result<Json<Product>, Problem> {
    let product = inventory::product(database, sku).await?;
    let missing = || Problem::new(Code::NoSuchStock, format!("there is no product {sku}"));
    product.map(Json).ok_or_else(missing)
}

pub(super) fn page(query: PageOf) -> Result<(String, u32), Problem> {
    let Query(query) = query.map_err(|_| body::bad_query())?;
    Ok((query.after.unwrap_or_default(), query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)))
}
