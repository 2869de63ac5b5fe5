//! Sagas of other orchestrators. Verbs reach the owner through the database. Local waiters are
//! woken when the saga's row shows that it is at rest.

use std::collections::HashSet;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::saga::Status;

use super::state::PATIENCE;
use crate::error::{Error, VerbError};
use crate::orchestrator::Orchestrator;
use crate::request::Summary;
use crate::request::{Recipient, Request, VerbRequest};
use crate::store::{Epochs, HandedVerb, Header};

/// The interval between polls of the database while a caller waits.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum handed verbs at once, and sagas polled per turn.
const MAX: usize = 1_000;

impl Orchestrator {
    /// Stores verbs for the owners of their sagas.
    pub(crate) async fn hand_over(
        &mut self,
        verbs: Vec<(u32, VerbRequest)>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<(), Error> {
        let mut handed = Vec::with_capacity(verbs.len());
        let mut pending = Vec::with_capacity(verbs.len());
        for (partition, VerbRequest { id: saga, input, recipient, absent: _ }) in verbs {
            // a handed verb's row waits for the new owner
            let Recipient::Here(done) = recipient else { continue };
            if self.remote.pending.len() + pending.len() >= MAX {
                // the caller may have dropped its receiver
                let _ = done.send(Err(VerbError::Busy { retry_after_s: 1 }));
                continue;
            }
            let id = format!("{:032x}", rng.u128(..));
            pending.push((id.clone(), (done, now.plus(PATIENCE))));
            handed.push(HandedVerb { id, partition, saga, input });
        }
        if !handed.is_empty() {
            self.store.hand(&handed, now).await?; // on an error the caller sees a closed channel
            self.remote.pending.extend(pending);
            self.remote.poll_soon(now);
        }
        Ok(())
    }

    /// Takes verbs that other orchestrators stored for this one's partitions. After a failed turn a
    /// verb is read again, and executed unless it has its answer.
    pub(crate) async fn take_handed(&mut self, epochs: &Epochs) -> Result<(), Error> {
        let elsewhere = |request: &Request| match request {
            Request::Verb(VerbRequest { recipient: Recipient::Elsewhere(id), .. }) => {
                Some(id.clone())
            }
            Request::Verb(_) | Request::Start(_) | Request::Watch { .. } => None,
        };
        let waiting: HashSet<String> = self.inbox.iter().filter_map(elsewhere).collect();
        let room = MAX.saturating_sub(waiting.len());
        let handed = self.store.handed_to(epochs.0.keys().copied()).await?;
        for HandedVerb { id, saga, input, .. } in
            handed.into_iter().filter(|verb| !waiting.contains(&verb.id)).take(room)
        {
            let recipient = Recipient::Elsewhere(id);
            self.add_request(Request::Verb(VerbRequest {
                id: saga,
                absent: None,
                input,
                recipient,
            }));
        }
        Ok(())
    }

    /// Answers verbs of other orchestrators that changed nothing. If an answer cannot be written,
    /// the verb is read and answered again.
    pub(crate) async fn answer_remote(
        &mut self,
        answers: Vec<(String, Result<Status, VerbError>)>,
    ) {
        if answers.is_empty() {
            return;
        }
        if let Err(error) = self.store.answer_handed(&answers).await {
            tracing::warn!(%error, "cannot answer verbs of other orchestrators, retrying");
        }
    }

    /// Polls for answers to handed verbs and for the rest of remote sagas, and answers the callers.
    pub(crate) async fn poll_remote(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.remote.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        self.read_answers(now).await?;
        let waited = self.live.remote_waits(MAX);
        if !waited.is_empty() {
            let ids: Vec<_> = waited.iter().collect();
            for header in self.store.headers(&ids).await? {
                if header.status.has_ended() || header.status == Status::Stuck {
                    self.live.wake(summary(header));
                }
            }
        }
        let waits = !waited.is_empty() || !self.remote.pending.is_empty();
        self.remote.next = waits.then(|| now.plus(PAUSE));
        Ok(())
    }

    async fn read_answers(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.remote.pending.is_empty() {
            return Ok(());
        }
        for (id, answer) in
            self.store.answers(self.remote.pending.keys().map(String::as_str)).await?
        {
            if let Some((done, _)) = self.remote.pending.remove(&id) {
                let _ = done.send(answer); // the caller may have dropped its receiver
            }
        }
        let late: Vec<String> = self
            .remote
            .pending
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            if let Some((done, _)) = self.remote.pending.remove(&id) {
                let why = "the saga's owner has not answered in time".to_owned();
                let _ = done.send(Err(VerbError::Unavailable(why)));
            }
        }
        Ok(())
    }
}

fn summary(header: Header) -> Summary {
    Summary {
        id: header.id,
        status: header.status,
        revision: header.revision,
        ended_at: header.ended_at,
    }
}
