//! Announces to operators' tools which messages this process handles. No message waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sagamore_core::Timestamp;
use sagamore_core::announcement::{ANNOUNCEMENT_INTERVAL, Announcement};
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, encode_announcement};
use sagamore_transport::{Error, Transport};
use tokio::task::JoinHandle;

use crate::service::Service;

/// The announcements of one process of a participant.
pub(crate) struct Announcer {
    announcement: Announcement,
    /// The time of the next announcement.
    due: Timestamp,
    /// The publish in progress, beside the turns.
    publishing: Option<JoinHandle<Result<(), Error>>>,
    /// Whether the last publish was acknowledged. Otherwise the next one creates the topic first.
    is_acknowledged: bool,
    /// Whether a failure was logged since the last acknowledged publish.
    fails: bool,
}

impl Announcer {
    /// Creates the announcer of a process. Its first announcement is due at once.
    pub fn of(service: &Service, rng: &mut fastrand::Rng) -> Announcer {
        let announcement = Announcement {
            participant: service.name().clone(),
            process: format!("{}-{:016x}", std::process::id(), rng.u64(..)),
            at: Timestamp(0),
            messages: service.handled(),
            stopping: false,
        };
        Announcer {
            announcement,
            due: Timestamp(i64::MIN),
            publishing: None,
            is_acknowledged: false,
            fails: false,
        }
    }

    /// Returns the time until the next announcement is due.
    pub fn pause(&self, now: Timestamp) -> Duration {
        self.due.since(now).min(ANNOUNCEMENT_INTERVAL)
    }

    /// Publishes an announcement in the background, if one is due. A failed one is replaced by the
    /// next.
    pub fn announce(&mut self, transport: &Arc<dyn Transport>, now: Timestamp) {
        let is_running = |publishing: &JoinHandle<_>| !publishing.is_finished();
        if !self.is_due(now) || self.publishing.as_ref().is_some_and(is_running) {
            return;
        }
        self.collect();
        let (announcement, creates) = (self.next(now), !self.is_acknowledged);
        let transport = transport.clone();
        self.publishing =
            Some(tokio::spawn(
                async move { publish(transport.as_ref(), &announcement, creates).await },
            ));
    }

    /// Returns whether an announcement is due. A clock that was set back delays none.
    fn is_due(&self, now: Timestamp) -> bool {
        now >= self.due || self.due > now.plus(ANNOUNCEMENT_INTERVAL)
    }

    /// Returns the announcement of this moment.
    fn next(&mut self, now: Timestamp) -> Announcement {
        self.due = now.plus(ANNOUNCEMENT_INTERVAL);
        self.announcement.at = now;
        self.announcement.clone()
    }

    /// Publishes that the process stops, unless the last announcement was not acknowledged.
    pub async fn leave(&mut self, transport: &dyn Transport, now: Timestamp) {
        if let Some(publishing) = &mut self.publishing {
            let ended = publishing.await;
            self.publishing = None;
            self.is_acknowledged = matches!(ended, Ok(Ok(())));
        }
        if !self.is_acknowledged {
            return;
        }
        self.announcement.stopping = true;
        let last = self.next(now);
        self.note(publish(transport, &last, false).await);
    }

    /// Notes the result of the last publish.
    fn collect(&mut self) {
        let Some(ended) = self.publishing.take().and_then(FutureExt::now_or_never) else { return };
        self.note(ended.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string()))));
    }

    /// Logs the first of several failures.
    fn note(&mut self, published: Result<(), Error>) {
        self.is_acknowledged = published.is_ok();
        match published {
            Ok(()) => self.fails = false,
            Err(error) if !self.fails => {
                let participant = &self.announcement.participant;
                tracing::warn!(%participant, %error, "cannot announce the process, retrying");
                self.fails = true;
            }
            Err(_) => {}
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        if let Some(publishing) = &self.publishing {
            publishing.abort();
        }
    }
}

/// Publishes an announcement, after creating its topic if that may be missing.
async fn publish(
    transport: &dyn Transport,
    announcement: &Announcement,
    creates: bool,
) -> Result<(), Error> {
    if creates {
        transport.create_topic(PARTICIPANTS_TOPIC, 1).await?;
    }
    transport.publish(vec![encode_announcement(announcement)]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_due_at_the_start_and_then_every_half_minute() {
        let mut announcer = Announcer::of(&Service::named("desk"), &mut fastrand::Rng::new());
        let at = |second: i64| Timestamp(1_000_000 + second * 1_000);
        assert!(announcer.is_due(at(0)));
        assert_eq!(announcer.pause(at(0)), Duration::ZERO);
        assert_eq!(announcer.next(at(0)).at, at(0));
        assert!(!announcer.is_due(at(0)) && !announcer.is_due(at(29)));
        assert_eq!(announcer.pause(at(10)), Duration::from_secs(20));
        assert!(announcer.is_due(at(30)));
        announcer.next(at(47));
        assert!(
            !announcer.is_due(at(76)) && announcer.is_due(at(77)),
            "a late one shifts the next"
        );
        assert!(announcer.is_due(at(-100)), "the clock was set back");
        assert_eq!(announcer.pause(at(-100)), ANNOUNCEMENT_INTERVAL);
    }

    #[test]
    fn each_process_has_an_id_of_its_own() {
        let (service, mut rng) = (Service::named("desk"), fastrand::Rng::new());
        let mut process = || Announcer::of(&service, &mut rng).next(Timestamp(0)).process;
        assert_ne!(process(), process());
    }
}
