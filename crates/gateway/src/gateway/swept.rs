//! The acknowledgement of a horizon. The business keys of its sagas may then start other sagas, so
//! no command of an earlier saga may count as sent.
//!
//! **Invariant:** a horizon is acknowledged after the removal of every sent command that it covers.
//! Results that the participant itself stores have a fixed lifetime (see
//! `docs/http-participants.md`).

use sagamore_core::message::Swept;
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_transport::wire::encode_swept;

use super::Gateway;

impl Gateway {
    /// Acknowledges a horizon whose removal is complete. A lost acknowledgement is repeated after
    /// the next horizon.
    pub(super) async fn acknowledge_removal(&mut self, before: Timestamp, reply_to: &ReplyTo) {
        let participant = self.participant.clone();
        let swept = encode_swept(&Swept { participant, before }, reply_to);
        if let Err(error) = self.transport.publish(vec![swept]).await {
            tracing::warn!(
                participant = %self.participant, %error, "cannot acknowledge a removal"
            );
        }
    }
}
