//! Announces a participant that answers a GET of its URL with the messages that it handles. Any
//! other answer means that it is not announced, which is no error.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use sagamore_core::announcement::{
    ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_INTERVAL, Announcement, HandledMessage,
};
use sagamore_core::{Name, Timestamp};
use sagamore_database::Clock;
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, encode_announcement};
use sagamore_transport::{Error, Transport};
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::binding::Binding;
use crate::client::Client;
use crate::request;

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The process of a participant that does not name its own.
const PROCESS: &str = "http";

/// Requests the announcements of one participant, and publishes them in its name.
#[derive(Clone)]
pub(crate) struct Announcing {
    pub participant: Name,
    /// A client of its own: no command waits for a connection of these requests.
    pub client: Client,
    pub binding: Arc<Binding>,
    pub transport: Arc<dyn Transport>,
    pub clock: Clock,
}

/// The answer of a participant.
#[derive(Deserialize)]
struct Document {
    participant: Name,
    process: Option<String>,
    messages: Vec<HandledMessage>,
}

/// The task of the requests. Aborted on drop.
pub(crate) struct AnnouncingTask(JoinHandle<()>);

impl Drop for AnnouncingTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Announcing {
    /// Requests an announcement now and after each interval.
    pub fn spawn(self) -> AnnouncingTask {
        AnnouncingTask(tokio::spawn(async move {
            let mut is_acknowledged = false;
            loop {
                if let Some(announcement) = self.request().await {
                    let published = self.publish(&announcement, !is_acknowledged).await;
                    is_acknowledged = published.is_ok();
                    if let Err(error) = published {
                        let participant = &self.participant;
                        tracing::debug!(%participant, %error, "cannot publish an announcement");
                    }
                }
                tokio::time::sleep(ANNOUNCEMENT_INTERVAL).await;
            }
        }))
    }

    /// Requests an announcement; `None`: the participant is not announced.
    async fn request(&self) -> Option<Announcement> {
        let now = Timestamp(self.clock.now_ms());
        let request = request::of_announcement(&self.participant, &self.binding, now);
        let answered = tokio::time::timeout(TIMEOUT, self.client.call(request)).await;
        let response = answered.ok()?.ok().filter(|response| response.status == StatusCode::OK)?;
        let body = response.body.filter(|body| body.len() <= ANNOUNCEMENT_BYTES_MAX)?;
        let read = self.read(&body, now);
        let participant = &self.participant;
        read.map_err(|why| tracing::debug!(%participant, why, "the answer is no announcement")).ok()
    }

    fn read(&self, body: &[u8], now: Timestamp) -> Result<Announcement, String> {
        let document: Document = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let Document { participant, process, messages } = document;
        if participant != self.participant {
            return Err(format!("it announces '{participant}'"));
        }
        let process = process.unwrap_or_else(|| PROCESS.to_owned());
        let announcement =
            Announcement { participant, process, at: now, messages, stopping: false };
        announcement.check().map(|()| announcement)
    }

    async fn publish(&self, announcement: &Announcement, creates: bool) -> Result<(), Error> {
        if creates {
            self.transport.create_topic(PARTICIPANTS_TOPIC, 1).await?;
        }
        self.transport.publish(vec![encode_announcement(announcement)]).await
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use sagamore_transport::{Log, MemoryDisk};

    use super::*;
    use crate::binding::Endpoint;

    const CARDS: &str = r#"{"participant":"cards","process":"a","messages":[]}"#;

    /// Returns the announcement of a participant with this answer.
    async fn announced(status: u16, body: String) -> Option<Announcement> {
        let status = StatusCode::from_u16(status).expect("a status");
        let router = Router::new().route("/", get(move || async move { (status, body) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let announced = announcing(&url).request().await;
        server.abort();
        announced
    }

    fn announcing(url: &str) -> Announcing {
        let disk = Arc::new(MemoryDisk::new());
        let log = Log::on(disk, sagamore_transport::log::Options::default()).expect("empty");
        let binding = Binding::of(Endpoint::parse(url).expect("a URL"));
        Announcing {
            participant: Name::new("cards").expect("a name"),
            client: Client::of(&binding).expect("a client"),
            binding: Arc::new(binding),
            transport: Arc::new(log),
            clock: Clock::process(),
        }
    }

    #[tokio::test]
    async fn only_a_document_of_the_participant_is_an_announcement() {
        let read = announced(200, CARDS.to_owned()).await.expect("an announcement");
        assert_eq!((read.participant.as_str(), read.process.as_str()), ("cards", "a"));
        let unnamed = CARDS.replace(r#""process":"a","#, "");
        assert_eq!(announced(200, unnamed).await.expect("an announcement").process, PROCESS);
        let padded = |bytes: usize| format!("{CARDS}{}", " ".repeat(bytes - CARDS.len()));
        assert!(announced(200, padded(ANNOUNCEMENT_BYTES_MAX)).await.is_some());
        for (status, body) in [
            (201, CARDS.to_owned()),
            (404, CARDS.to_owned()),
            (200, String::new()),
            (200, "{}".to_owned()),
            (200, CARDS.replace("cards", "seats")),
            (200, CARDS.replace(r#""a""#, r#""""#)),
            (200, padded(ANNOUNCEMENT_BYTES_MAX + 1)),
        ] {
            assert_eq!(announced(status, body.clone()).await, None, "{status} {body:.60}");
        }
        assert_eq!(announcing("http://127.0.0.1:1/").request().await, None, "no server");
    }
}
