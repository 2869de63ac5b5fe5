//! Why the brokers do not let us in. Who asked for metadata is told no more than that it failed: the reason is an event of
//! the client, so that a client is made for hearing it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::config;
use crate::options::Options;

/// How long it may take to be refused again.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// What the library complains of when it connects, with the setting that is likely wrong; none when the way in is plain,
/// or nothing is heard.
pub(crate) fn complaint(options: &Options) -> Option<String> {
    if options.security.tls.is_none() && options.security.sasl.is_none() {
        return None;
    }
    let config = config::common(options).ok()?;
    let listening = BaseProducer::from_config_and_context(&config, Listening::default()).ok()?;
    let until = Instant::now() + PATIENCE_MAX.min(options.answered_within);
    while Instant::now() < until {
        if listening.client().fetch_metadata(None, POLL).is_ok() {
            return None; // it was not the way in
        }
        listening.poll(Duration::ZERO);
        if let Some(heard) = listening.context().heard.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(explained(&heard));
        }
    }
    None
}

/// Keeps the first complaint about a connection.
#[derive(Default)]
struct Listening {
    heard: Mutex<Option<String>>,
}

impl ClientContext for Listening {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {}
}

/// With what to look at.
fn explained(why: &str) -> String {
    let look_at = if why.contains("certificate verify failed") {
        "the broker's certificate is not signed by `kafka.tls.ca`, or not made out to the host in `kafka.brokers`"
    } else if why.contains("uthentication") {
        "look at `kafka.sasl`: mechanism, username and password"
    } else {
        "look at `kafka.tls`: the port may speak no TLS, or ask for a `certificate` and `key`"
    };
    format!("{why}: {look_at}")
}
