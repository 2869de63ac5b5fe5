//! Orders in a choreography: placed with the order service, and followed at the observer.

use anyhow::Result;
use sagamore_core::saga::Status;
use sagamore_engine::ChainStatus;
use serde::Deserialize;

use super::{Answer, PlacedLine, WAIT_S, is_passing};
use crate::chain_view::standing;
use crate::client::{self, Client};
use crate::http::encoded;

/// A page of chains.
#[derive(Deserialize)]
pub struct Lines {
    pub chains: Vec<Line>,
    pub next: Option<i64>,
}

/// What matters of a chain here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub key: String,
    pub status: ChainStatus,
    pub failed_at: Option<String>,
}

impl Line {
    /// As sagas are counted.
    pub fn standing(&self) -> Status {
        standing(self.status)
    }
}

/// Places the order, or finds the one there is, and asks the observer what became of it.
pub async fn see_through(service: &Client, observer: &Client, order: &PlacedLine) -> Result<Answer> {
    match service.post("/orders", order.input.as_str().to_owned(), None).await {
        Ok(_) => {}
        Err(error) if is_passing(&error) => return Err(error.into()),
        Err(client::Error::Problem { told, .. }) => return Ok(Answer::Bad(told.detail)),
        Err(error) => return Err(error.into()),
    }
    match observer.get_and_wait(&format!("/api/v1/chains/{}", encoded(&order.key)), WAIT_S).await {
        Ok(body) => {
            let at_rest = observer.read::<Line>(&body)?.status.is_at_rest();
            Ok(if at_rest { Answer::AtRest } else { Answer::NotYet })
        }
        Err(client::Error::Problem { told, .. }) if told.status == 404 => Ok(Answer::NotYet), // it has seen nothing yet
        Err(error) => Err(error.into()),
    }
}
