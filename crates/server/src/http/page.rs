//! Pages of a service's rows: `?limit=` and `?after=`.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::Problem;
use super::body;
use super::routes::{AFTER, Kind, Parameter};

/// Default rows of a page.
const LIMIT: u32 = 100;
/// Maximum rows of a page.
const LIMIT_MAX: u32 = 1_000;

/// The query parameters of a page.
pub const PAGE: &[Parameter] = &[Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) }, AFTER];

/// `?limit=` and `?after=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    limit: Option<u32>,
    after: Option<String>,
}

/// The query of a page, as axum extracts it.
pub type PageRequest = Result<Query<PageQuery>, QueryRejection>;

/// Returns the key that the page starts after, and its maximum number of rows.
pub fn page(query: PageRequest) -> Result<(String, u32), Problem> {
    let Query(query) = query.map_err(|_| body::bad_query())?;
    Ok((query.after.unwrap_or_default(), query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)))
}
