//! What is compared, a range of ids at a time: first how the sagas stand, and then what the barriers say, so that of a saga
//! which had ended nothing is missing there.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::judge::{Stand, Stands, stand};
use crate::client::Client;
use crate::http::encoded;
use crate::view::{FactView, Facts, Line, Lines};

/// The longest page of a barrier.
const FACTS: usize = 1_000;

/// The sagas that are behind one id and not behind another one.
#[derive(Debug, Default)]
pub struct Range {
    after: String,
    /// None: there is no saga behind it.
    pub until: Option<String>,
    pub sagas: HashMap<String, Known>,
}

/// A saga, and what services say of it.
#[derive(Debug)]
pub struct Known {
    pub line: Line,
    pub stands: Stands,
}

/// What a service says of a saga that is not there.
#[derive(Debug)]
pub struct Stray {
    pub saga: String,
    pub service: String,
    pub stands: Stands,
    /// When the youngest row was stored.
    pub stored_at: String,
}

/// The next range, with so many sagas at most.
pub async fn range(server: &Client, after: String, sagas: usize) -> Result<Range> {
    let path = format!("/api/v1/sagas?limit={sagas}&after={}", query(&after));
    let page: Lines = server.read(&server.get(&path).await?)?;
    let known = |line: Line| (line.id.clone(), Known { line, stands: Stands::new() });
    Ok(Range { after, until: page.next, sagas: page.sagas.into_iter().map(known).collect() })
}

impl Range {
    /// Adds a page of what the barrier of a service says within the range. Gives how many rows it has, what they say of sagas
    /// that are not there, and behind which the next page begins; none when nothing is left.
    pub async fn page(
        &mut self,
        service: &str,
        server: &Client,
        behind: Option<String>,
    ) -> Result<(u64, Vec<Stray>, Option<String>)> {
        let after = behind.as_deref().unwrap_or(&self.after);
        let mut path = format!("/api/v1/barriers/{service}?limit={FACTS}&after={}", query(after));
        if let Some(until) = &self.until {
            path.push_str(&format!("&until={}", query(until)));
        }
        let page =
            server.get(&path).await.with_context(|| format!("ask {service} for its barrier"))?;
        let Facts { facts, next } = server.read(&page)?;
        let mut strays = Vec::new();
        for rows in facts.chunk_by(|one, other| one.saga == other.saga) {
            let Some(first) = rows.first() else { continue };
            match self.sagas.get_mut(&first.saga) {
                Some(known) => known.stands.extend(stands(service, rows)),
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
            stands: stands(service, rows).collect(),
            stored_at: rows
                .iter()
                .map(|row| row.stored_at.as_str())
                .max()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// The rows of one saga, in the order of its steps.
fn stands(service: &str, rows: &[FactView]) -> impl Iterator<Item = ((String, String), Stand)> {
    rows.chunk_by(|one, other| one.step == other.step)
        .filter_map(|rows| Some(((service.to_owned(), rows.first()?.step.clone()), stand(rows))))
}

/// A value in a query.
fn query(text: &str) -> String {
    encoded(text).replace('&', "%26").replace('+', "%2B")
}
