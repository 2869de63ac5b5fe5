//! What the customers have and what the shelves have: read-only.

use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};

use super::App;
use super::body::Segment;
use crate::problem::{Code, Problem};
use sagamore_shop::inventory::{self, Product};
use sagamore_shop::payment::{self, Account};

/// How many are on a page unless `limit` says so, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

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

type PageOf = Result<Query<PageQuery>, QueryRejection>;

/// A page of accounts.
pub async fn accounts(State(app): State<Arc<App>>, query: PageOf) -> Result<Json<Accounts>, Problem> {
    let (after, limit) = page(query)?;
    let accounts = payment::accounts(&app.shop.payment, &after, limit).await?;
    let next = accounts.last().filter(|_| accounts.len() == limit as usize).map(|last| last.customer_id.clone());
    Ok(Json(Accounts { accounts, next }))
}

/// One account.
pub async fn account(State(app): State<Arc<App>>, Segment(id): Segment) -> Result<Json<Account>, Problem> {
    let account = payment::account(&app.shop.payment, &id).await?;
    let missing = || Problem::new(Code::NoSuchAccount, format!("there is no account of {id}"));
    account.map(Json).ok_or_else(missing)
}

/// A page of products.
pub async fn stock(State(app): State<Arc<App>>, query: PageOf) -> Result<Json<Products>, Problem> {
    let (after, limit) = page(query)?;
    let stock = inventory::stock(&app.shop.inventory, &after, limit).await?;
    let next = stock.last().filter(|_| stock.len() == limit as usize).map(|last| last.sku.clone());
    Ok(Json(Products { stock, next }))
}

/// One product.
pub async fn product(State(app): State<Arc<App>>, Segment(sku): Segment) -> Result<Json<Product>, Problem> {
    let product = inventory::product(&app.shop.inventory, &sku).await?;
    let missing = || Problem::new(Code::NoSuchStock, format!("there is no product {sku}"));
    product.map(Json).ok_or_else(missing)
}

fn page(query: PageOf) -> Result<(String, u32), Problem> {
    let Query(query) = query.map_err(|rejection| Problem::new(Code::BadParameter, rejection.body_text()))?;
    Ok((query.after.unwrap_or_default(), query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)))
}
