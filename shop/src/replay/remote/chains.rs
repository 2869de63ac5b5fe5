//! Orders in a choreography: placed with the order service, and followed at the observer.

use anyhow::Result;
use sagamore::server::client::{self, Client};
use sagamore::server::http::encoded;
use sagamore::server::view::SagaView;

use super::{Answer, PlacedLine, WAIT_S};
use crate::choreography;

/// Places the order, or finds the one there is, and asks the observer what became of it.
pub async fn see_through(
    service: &Client,
    observer: &Client,
    order: &PlacedLine,
) -> Result<Answer> {
    match service.post("/orders", order.input.as_str().to_owned(), None).await {
        Ok(_) => {}
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(client::Error::Problem { problem: told, .. }) => return Ok(Answer::Bad(told.detail)),
        Err(error) => return Err(error.into()),
    }
    let chain = format!("{}:{}", choreography::NAME, order.key); // the id: a key with a colon could be another chain's
    match observer.get_and_wait(&format!("/api/v1/sagas/{}", encoded(&chain)), WAIT_S).await {
        Ok(body) => {
            let at_rest = observer.read::<SagaView>(&body)?.line.status.is_at_rest();
            Ok(if at_rest { Answer::AtRest } else { Answer::NotYet })
        }
        Err(client::Error::Problem { problem: told, .. }) if told.status == 404 => {
            Ok(Answer::NotFound(told.detail))
        }
        Err(error) => Err(error.into()),
    }
}
