//! Sagas that another orchestrator drives: verbs are handed to it through the database, and who waits here for such a
//! saga is told when its row shows that it rests.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::saga::Status;
use tokio::sync::oneshot;

use crate::error::{Error, VerbError};
use crate::handle::Summary;
use crate::orchestrator::Orchestrator;
use crate::request::{Asker, Request, VerbRequest};
use crate::store::{Epochs, Handed, Header};

/// How often the database is asked while somebody waits.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a verb waits for its owner.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many verbs wait at once, and how many sagas are asked after in one turn.
const MAX: usize = 1_000;

/// What goes on between this orchestrator and the others.
#[derive(Default)]
pub(crate) struct Abroad {
    /// Verbs that others have, with whom to answer and until when.
    asked: BTreeMap<String, (oneshot::Sender<Result<Status, VerbError>>, Timestamp)>,
    next: Option<Timestamp>,
}

impl Abroad {
    /// There is something to look after.
    pub fn look_soon(&mut self, now: Timestamp) {
        self.next.get_or_insert(now);
    }

    /// The clock was set back to `now`: nobody waits longer for that.
    pub fn redraw(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.min(now));
        self.asked.values_mut().for_each(|(_, until)| *until = (*until).min(now.plus(PATIENCE)));
    }

    /// When there is something to look after.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next
    }
}

impl Orchestrator {
    /// Leaves verbs for those who own their sagas.
    pub(crate) async fn hand_over(
        &mut self,
        verbs: Vec<(u32, VerbRequest)>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<(), Error> {
        let mut handed = Vec::with_capacity(verbs.len());
        let mut asked = Vec::with_capacity(verbs.len());
        for (partition, VerbRequest { id: saga, input, asker, absent: _ }) in verbs {
            let Asker::Here(done) = asker else { continue }; // it waits in its row for the new owner
            if self.abroad.asked.len() + asked.len() >= MAX {
                let _ = done.send(Err(VerbError::Busy { retry_after_s: 1 })); // who has gone needs no answer
                continue;
            }
            let id = format!("{:032x}", rng.u128(..));
            asked.push((id.clone(), (done, now.plus(PATIENCE))));
            handed.push(Handed { id, partition, saga, input });
        }
        if !handed.is_empty() {
            self.store.hand(&handed, now).await?; // after an error whoever asked is told that the engine went away
            self.abroad.asked.extend(asked);
            self.abroad.look_soon(now);
        }
        Ok(())
    }

    /// Takes verbs that others have left for the partitions that are owned here. One that is on its way through a turn that
    /// fails is taken again: it has run only if it has its answer.
    pub(crate) async fn take_handed(&mut self, epochs: &Epochs) -> Result<(), Error> {
        let elsewhere = |request: &Request| match request {
            Request::Verb(VerbRequest { asker: Asker::Elsewhere(id), .. }) => Some(id.clone()),
            Request::Verb(_) | Request::Start(_) | Request::Watch { .. } => None,
        };
        let waiting: HashSet<String> = self.inbox.iter().filter_map(elsewhere).collect();
        let room = MAX.saturating_sub(waiting.len());
        let handed = self.store.handed_to(epochs.0.keys().copied()).await?;
        for Handed { id, saga, input, .. } in
            handed.into_iter().filter(|verb| !waiting.contains(&verb.id)).take(room)
        {
            let asker = Asker::Elsewhere(id);
            self.add_request(Request::Verb(VerbRequest { id: saga, absent: None, input, asker }));
        }
        Ok(())
    }

    /// Answers verbs of others that led to nothing. One whose answer cannot be written is read, and answered, again.
    pub(crate) async fn answer_abroad(
        &mut self,
        answers: Vec<(String, Result<Status, VerbError>)>,
    ) {
        if answers.is_empty() {
            return;
        }
        if let Err(error) = self.store.answer_handed(&answers).await {
            tracing::warn!(%error, "answer verbs of another orchestrator");
        }
    }

    /// Tells those who wait here what came of their verbs and of sagas of others.
    pub(crate) async fn look_abroad(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.abroad.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        self.read_answers(now).await?;
        let waited = self.live.waited_for_abroad(MAX);
        if !waited.is_empty() {
            let ids: Vec<_> = waited.iter().collect();
            for header in self.store.headers(&ids).await? {
                if header.status.has_ended() || header.status == Status::Stuck {
                    self.live.wake(summary(header));
                }
            }
        }
        let waits = !waited.is_empty() || !self.abroad.asked.is_empty();
        self.abroad.next = waits.then(|| now.plus(PAUSE));
        Ok(())
    }

    async fn read_answers(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.abroad.asked.is_empty() {
            return Ok(());
        }
        for (id, answer) in self.store.answers(self.abroad.asked.keys().map(String::as_str)).await?
        {
            if let Some((done, _)) = self.abroad.asked.remove(&id) {
                let _ = done.send(answer); // who has gone needs no answer
            }
        }
        let late: Vec<String> = self
            .abroad
            .asked
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            if let Some((done, _)) = self.abroad.asked.remove(&id) {
                let why = "the orchestrator that drives the saga has not answered yet".to_owned();
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
