//! Dead letters of events that a reactor cannot take, or that the transport rejects.

use sagamore_transport::wire::{dead_letter, publish_letter};
use sagamore_transport::{Delivery, Transport};

use crate::error::Error;

/// Publishes a dead letter. One that the transport rejects in every form is logged, because
/// retries would block all later events.
pub(super) async fn bury(
    transport: &dyn Transport,
    delivery: &Delivery,
    reason: &str,
) -> Result<(), Error> {
    let Delivery { record, partition, offset, .. } = delivery;
    tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
    let letter = dead_letter(delivery, reason);
    match publish_letter(transport, letter).await {
        Err(error) if error.is_rejection() => {
            tracing::error!(topic = %record.topic, partition, offset, %error, "lost dead letter");
        }
        published => published?,
    }
    Ok(())
}
