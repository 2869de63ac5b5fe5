//! Orders in a choreography: placed at the order service, and followed at the observer.

use anyhow::Result;
use sagamore::server::client::{self, Client};
use sagamore::server::http::encoded;
use sagamore::server::view::SagaView;

use crate::choreography;
use crate::replay::folder::PlacedLine;

/// The length of one wait for an outcome, in seconds. It is repeated.
pub(super) const WAIT_S: u64 = 20;

/// The progress of an order.
pub(super) enum OrderProgress {
    AtRest,
    NotYet,
    /// The order was placed, but no server knows it yet. The text is the detail of the server's
    /// problem.
    NotFound(String),
    Bad(String),
}

/// Places the order, or finds the existing one, and reads its status from the observer.
pub async fn see_through(
    service: &Client,
    observer: &Client,
    order: &PlacedLine,
) -> Result<OrderProgress> {
    match service.post("/orders", order.input.as_str().to_owned(), None).await {
        Ok(_) => {}
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(client::Error::Problem { problem, .. }) => {
            return Ok(OrderProgress::Bad(problem.detail));
        }
        Err(error) => return Err(error.into()),
    }
    // the full id: a key with a colon could name a chain of another plan
    let chain = format!("{}:{}", choreography::NAME, order.key);
    match observer.get_and_wait(&format!("/api/v1/sagas/{}", encoded(&chain)), WAIT_S).await {
        Ok(body) => {
            let at_rest = observer.read::<SagaView>(&body)?.line.status.is_at_rest();
            Ok(if at_rest { OrderProgress::AtRest } else { OrderProgress::NotYet })
        }
        Err(client::Error::Problem { problem, .. }) if problem.status == 404 => {
            Ok(OrderProgress::NotFound(problem.detail))
        }
        Err(error) => Err(error.into()),
    }
}
