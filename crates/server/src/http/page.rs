//! Pages of what a service stores: `?limit=` and `?after=`.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::Problem;
use super::body;
use super::routes::{AFTER, Kind, Parameter};

/// Rows on a page unless `limit` says so.
const LIMIT: u32 = 100;
/// The most rows on a page.
const LIMIT_MAX: u32 = 1_000;

/// The query of a page.
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

/// Returns the key behind which the page begins, and the most rows on it.
pub fn page(query: PageRequest) -> Result<(String, u32), Problem> {
    let Query(query) = query.map_err(|_| body::bad_query())?;
    Ok((query.after.unwrap_or_default(), query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)))
}
