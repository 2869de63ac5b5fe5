//! Replies after the response: a participant completes a pending command by its token.

use std::sync::Arc;

use sagamore_core::message::Reply;
use sagamore_core::{Timestamp, TraceContext};
use sagamore_database::Clock;
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_reply;

use crate::outcome::{self, Defect};
use crate::token::{BadToken, Permit, ReplyKeys};

/// Publishes late replies. Clones share the transport.
#[derive(Clone)]
pub struct LateReplies {
    keys: ReplyKeys,
    transport: Arc<dyn Transport>,
    clock: Clock,
}

/// The reason why a late reply was not published.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The token is missing, forged or expired.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The outcome is malformed.
    #[error(transparent)]
    Outcome(#[from] Defect),
    /// The transport failed. A repeated request may succeed.
    #[error("publish the reply: {0}")]
    Transport(#[from] sagamore_transport::Error),
}

impl LateReplies {
    /// Creates the door for replies with tokens of these keys.
    pub fn of(keys: ReplyKeys, transport: Arc<dyn Transport>) -> LateReplies {
        LateReplies { keys, transport, clock: Clock::process() }
    }

    /// Publishes the outcome `name` (done, refused or fault) with its body, and waits until it is
    /// durable. Returns the answered command. A repeat publishes it again, which changes nothing.
    ///
    /// # Errors
    /// Nothing is published if the token or the outcome is bad.
    pub async fn publish(
        &self,
        token: &str,
        name: &str,
        body: &[u8],
        trace: Option<TraceContext>,
    ) -> Result<Permit, ReplyError> {
        let now = Timestamp(self.clock.now_ms());
        let permit = self.keys.verify(token, now)?;
        let outcome = outcome::read(name, body)?;
        let reply = Reply { key: permit.key.clone(), outcome: outcome.into(), trace };
        let record = encode_reply(&reply, &permit.reply_to, &permit.participant, now);
        for published in self.transport.publish_each(vec![record]).await {
            published?;
        }
        self.transport.synced().await?;
        Ok(permit)
    }
}
