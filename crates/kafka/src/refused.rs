//! Why the brokers do not let us in. Who asked for metadata is told no more than that it failed: the reason is an event of
//! the client, so that a client is made for hearing it. That takes seconds: at a start and for `doctor`, never inside a lease.

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
            return Some(heard);
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
            let told = explained(error.rdkafka_error_code(), reason);
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
        }
    }
}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {}
}

/// With what to look at, where it is a matter of TLS or of who we are.
fn explained(code: Option<RDKafkaErrorCode>, why: &str) -> String {
    let refused_by_name = code == Some(RDKafkaErrorCode::Authentication) || why.contains("uthentication");
    let refused_by_tls =
        code == Some(RDKafkaErrorCode::SSL) || why.contains("SSL") || why.contains("security.protocol");
    let look_at = if why.contains("certificate verify failed") {
        "the broker's certificate is not signed by `kafka.tls.ca`, or not made out to the host in `kafka.brokers`"
    } else if refused_by_name {
        "look at `kafka.sasl`: mechanism, username and password"
    } else if refused_by_tls {
        "look at `kafka.tls`: the port may speak no TLS, or ask for a `certificate` and `key`"
    } else {
        return why.to_owned();
    };
    format!("{why}: {look_at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tls_or_a_name_has_to_do_with_leads_to_their_settings() {
        let check = |code: RDKafkaErrorCode, why: &str, part: &str| {
            let told = explained(Some(code), why);
            assert!(told.starts_with(why) && told[why.len()..].contains(part), "{told}");
        };
        let failed = "ssl://kafka:9093/bootstrap: SSL handshake failed";
        check(RDKafkaErrorCode::SSL, &format!("{failed}: certificate verify failed"), "made out to the host");
        check(RDKafkaErrorCode::SSL, &format!("{failed}: disconnected"), "`kafka.tls`");
        check(RDKafkaErrorCode::Authentication, "kafka:9094: SASL authentication error: Invalid", "`kafka.sasl`");
        check(RDKafkaErrorCode::BrokerTransportFailure, "Disconnected: check security.protocol", "`kafka.tls`");
        for why in ["Connect to ipv4#127.0.0.1:1 failed: Connection refused", "Failed to resolve 'kafka:9093'"] {
            assert_eq!(explained(Some(RDKafkaErrorCode::BrokerTransportFailure), why), why);
        }
    }
}
