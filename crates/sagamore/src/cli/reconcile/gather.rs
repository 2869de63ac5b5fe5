//! What is compared: first how the sagas stand, and then what the barriers say, so that of a saga which had ended nothing is
//! missing there.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};

use super::judge::{Stands, stand};
use crate::client::Client;
use crate::http::encoded;
use crate::view::{FactView, Facts, Line, Lines};

/// The longest pages.
const SAGAS: usize = 500;
const FACTS: usize = 1_000;

/// What services say of one saga.
#[derive(Debug, Default)]
pub struct Known {
    pub stands: Stands,
    /// When the youngest row was stored.
    pub stored_at: String,
}

/// The sagas that started since then, by id.
pub async fn sagas(server: &Client, since: Option<&str>) -> Result<HashMap<String, Line>> {
    let mut sagas = HashMap::new();
    let mut path = format!("/api/v1/sagas?limit={SAGAS}");
    loop {
        let page: Lines = server.read(&server.get(&path).await?)?;
        for line in page.sagas {
            if since.is_some_and(|since| line.started_at.as_str() < since) {
                continue; // chains come in the order in which they were seen, not in that of their starts
            }
            sagas.insert(line.id.clone(), line);
        }
        match page.next {
            Some(next) => path = format!("/api/v1/sagas?limit={SAGAS}&cursor={}", encoded(&next)),
            None => return Ok(sagas),
        }
    }
}

/// Adds what the barrier of a service says; gives how many rows it has.
pub async fn barrier(service: &str, server: &Client, known: &mut BTreeMap<String, Known>) -> Result<u64> {
    let (mut count, mut after) = (0, String::new());
    loop {
        let path = format!("/api/v1/barriers/{service}?limit={FACTS}&after={}", encoded(&after));
        let page = server.get(&path).await.with_context(|| format!("ask {service} for its barrier"))?;
        let Facts { facts, next } = server.read(&page)?;
        count += facts.len() as u64;
        for rows in facts.chunk_by(|one, other| (&one.saga, &one.step) == (&other.saga, &other.step)) {
            add(service, rows, known);
        }
        match next {
            Some(next) => after = next,
            None => return Ok(count),
        }
    }
}

/// The rows of one step.
fn add(service: &str, rows: &[FactView], known: &mut BTreeMap<String, Known>) {
    let Some(first) = rows.first() else { return };
    let saga = known.entry(first.saga.clone()).or_default();
    saga.stands.insert((service.to_owned(), first.step.clone()), stand(rows));
    let youngest = rows.iter().map(|row| row.stored_at.as_str()).max().unwrap_or_default();
    if saga.stored_at.as_str() < youngest {
        youngest.clone_into(&mut saga.stored_at);
    }
}
