//! Reads both sides for one range of ids: the sagas first, and the barriers next. This order
//! ensures that the barriers have every row of an ended saga.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::judge::{StepState, StepStates, state_of};
use crate::client::Client;
use crate::http::encoded;
use crate::view::{FactView, Facts, Line, Lines};

/// Rows of one page of a barrier.
const FACTS: usize = 1_000;

/// The sagas with ids in `(after, until]`.
#[derive(Debug, Default)]
pub struct Range {
    after: String,
    /// `None` for the last range.
    pub until: Option<String>,
    pub sagas: HashMap<String, SagaFacts>,
}

/// A saga with the states of its steps in the barriers.
#[derive(Debug)]
pub struct SagaFacts {
    pub line: Line,
    pub states: StepStates,
}

/// The states of a saga's steps in one service, for a saga that the server did not list.
#[derive(Debug)]
pub struct Stray {
    pub saga: String,
    pub service: String,
    pub states: StepStates,
    /// The time of storage of the youngest row.
    pub stored_at: String,
}

/// Reads the next range, with at most `sagas` sagas.
pub async fn range(server: &Client, after: String, sagas: usize) -> Result<Range> {
    let path = format!("/api/v1/sagas?limit={sagas}&after={}", query(&after));
    let page: Lines = server.read(&server.get(&path).await?)?;
    let facts = |line: Line| (line.id.clone(), SagaFacts { line, states: StepStates::new() });
    Ok(Range { after, until: page.next, sagas: page.sagas.into_iter().map(facts).collect() })
}

impl Range {
    /// Adds one page of a service's barrier. Returns the number of rows, the stray sagas, and the
    /// position of the next page; `None` on the last page.
    pub async fn page(
        &mut self,
        service: &str,
        server: &Client,
        position: Option<String>,
    ) -> Result<(u64, Vec<Stray>, Option<String>)> {
        let after = position.as_deref().unwrap_or(&self.after);
        let mut path = format!("/api/v1/barriers/{service}?limit={FACTS}&after={}", query(after));
        if let Some(until) = &self.until {
            path.push_str(&format!("&until={}", query(until)));
        }
        let page =
            server.get(&path).await.with_context(|| format!("read the barrier of {service}"))?;
        let Facts { facts, next } = server.read(&page)?;
        let mut strays = Vec::new();
        for rows in facts.chunk_by(|one, other| one.saga == other.saga) {
            let Some(first) = rows.first() else { continue };
            match self.sagas.get_mut(&first.saga) {
                Some(saga) => saga.states.extend(states(service, rows)),
                None => strays.push(Stray::of(service, rows, &first.saga)),
            }
        }
        Ok((facts.len() as u64, strays, next))
    }
}

impl Stray {
    fn of(service: &str, rows: &[FactView], saga: &str) -> Stray {
        Stray {
            saga: saga.to_owned(),
            service: service.to_owned(),
            states: states(service, rows).collect(),
            stored_at: rows
                .iter()
                .map(|row| row.stored_at.as_str())
                .max()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// Returns the states of one saga's steps, in the order of their names.
fn states(service: &str, rows: &[FactView]) -> impl Iterator<Item = ((String, String), StepState)> {
    rows.chunk_by(|one, other| one.step == other.step)
        .filter_map(|rows| Some(((service.to_owned(), rows.first()?.step.clone()), state_of(rows))))
}

/// Encodes a value of a query.
fn query(text: &str) -> String {
    encoded(text).replace('&', "%26").replace('+', "%2B")
}
