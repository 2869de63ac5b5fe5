//! The reason of a rejected connection. A metadata request only reports a failure; the reason is an
//! event of the client, so a separate client waits for it.
//!
//! That takes seconds: it is used at a start and by `doctor`, never within a lease.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::config;
use crate::options::Options;

/// Maximum time to wait for the reason.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Returns the library's first rejection on connecting, with the setting that is likely wrong.
/// `None` for plain connections, or without a rejection.
pub(crate) fn rejection(options: &Options) -> Option<String> {
    if options.security.tls.is_none() && options.security.sasl.is_none() {
        return None;
    }
    let config = config::common(options).ok()?;
    let listening = BaseProducer::from_config_and_context(&config, FirstError::default()).ok()?;
    let until = Instant::now() + PATIENCE_MAX.min(options.answered_within);
    while Instant::now() < until {
        if listening.client().fetch_metadata(None, POLL).is_ok() {
            return None; // the connection itself works
        }
        listening.poll(Duration::ZERO);
        if let Some(heard) =
            listening.context().heard.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Some(heard);
        }
    }
    None
}

/// Stores the first rejection about a connection.
#[derive(Default)]
struct FirstError {
    heard: Mutex<Option<String>>,
}

impl ClientContext for FirstError {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let told = explained(error.rdkafka_error_code(), reason);
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
        }
    }
}

impl ProducerContext for FirstError {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {}
}

/// Adds the settings to check to a rejection about TLS or authentication.
fn explained(code: Option<RDKafkaErrorCode>, why: &str) -> String {
    let refused_by_name =
        code == Some(RDKafkaErrorCode::Authentication) || why.contains("uthentication");
    let refused_by_tls = code == Some(RDKafkaErrorCode::SSL)
        || why.contains("SSL")
        || why.contains("security.protocol");
    let look_at = if why.contains("certificate verify failed") {
        "the broker's certificate is not signed by `kafka.tls.ca`, or is for another host than in `kafka.brokers`"
    } else if refused_by_name {
        "check `kafka.sasl`: mechanism, username and password"
    } else if refused_by_tls {
        "check `kafka.tls`: the port may not speak TLS, or may require a `certificate` and `key`"
    } else {
        return why.to_owned();
    };
    format!("{why}: {look_at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_authentication_errors_name_their_settings() {
        let check = |code: RDKafkaErrorCode, why: &str, part: &str| {
            let told = explained(Some(code), why);
            assert!(told.starts_with(why) && told[why.len()..].contains(part), "{told}");
        };
        let failed = "ssl://kafka:9093/bootstrap: SSL handshake failed";
        check(
            RDKafkaErrorCode::SSL,
            &format!("{failed}: certificate verify failed"),
            "for another host",
        );
        check(RDKafkaErrorCode::SSL, &format!("{failed}: disconnected"), "`kafka.tls`");
        check(
            RDKafkaErrorCode::Authentication,
            "kafka:9094: SASL authentication error: Invalid",
            "`kafka.sasl`",
        );
        check(
            RDKafkaErrorCode::BrokerTransportFailure,
            "Disconnected: check security.protocol",
            "`kafka.tls`",
        );
        for why in [
            "Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            "Failed to resolve 'kafka:9093'",
        ] {
            assert_eq!(explained(Some(RDKafkaErrorCode::BrokerTransportFailure), why), why);
        }
    }
}
