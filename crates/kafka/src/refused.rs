//! The reason of a rejected connection. A metadata request only reports a failure; the reason is an
//! event of the client, so a separate client waits for it.
//!
//! That takes seconds: it is used at a start and by `doctor`, never within a lease.

use std::net::{TcpStream, ToSocketAddrs};
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
/// Maximum time of one TCP connection attempt.
const CONNECT_MAX: Duration = Duration::from_millis(500);

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
            let (code, why) = heard;
            let is_tls = options.security.tls.is_some();
            return Some(explained(code, &why, is_tls, || accepts_connections(&options.brokers)));
        }
    }
    None
}

/// Stores the first rejection about a connection.
#[derive(Default)]
struct FirstError {
    heard: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientContext for FirstError {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if code != RDKafkaErrorCode::AllBrokersDown {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.get_or_insert_with(|| (code, reason.to_owned()));
        }
    }
}

impl ProducerContext for FirstError {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {}
}

/// The settings to check when a TLS connection fails.
const TLS_HINT: &str = "check `kafka.tls`: the broker's certificate must be signed by `ca` and \
    name the host in `kafka.brokers`; the port must speak TLS, and may require a `certificate` and \
    `key`";

/// Adds the settings to check to a rejection about TLS or authentication, by its code alone. The
/// code of a failed transport is ambiguous, so `connects` decides: a broker that accepts plain TCP
/// connections ended this one for its protocol.
fn explained(
    code: RDKafkaErrorCode,
    why: &str,
    is_tls: bool,
    connects: impl FnOnce() -> bool,
) -> String {
    let hint = match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "check `kafka.sasl`: mechanism, username and password"
        }
        RDKafkaErrorCode::SSL => TLS_HINT,
        RDKafkaErrorCode::BrokerTransportFailure if connects() => match is_tls {
            true => TLS_HINT,
            false => {
                "the port accepts connections: it may require TLS (`kafka.tls`), or not speak SASL \
                 (`kafka.sasl`)"
            }
        },
        _ => return why.to_owned(),
    };
    format!("{why}: {hint}")
}

/// Returns whether one of the brokers accepts a TCP connection.
fn accepts_connections(brokers: &str) -> bool {
    let accepts = |broker: &str| {
        let mut addresses = broker.trim().to_socket_addrs().ok()?;
        addresses.find(|address| TcpStream::connect_timeout(address, CONNECT_MAX).is_ok())
    };
    brokers.split(',').any(|broker| accepts(broker).is_some())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_code_of_a_rejection_selects_the_settings_to_check() {
        let check_with = |code, is_tls: bool, connects: bool, hint: Option<&str>| {
            let told = explained(code, "it failed", is_tls, || connects);
            match hint {
                Some(hint) => {
                    assert!(told.starts_with("it failed: ") && told.contains(hint), "{told}")
                }
                None => assert_eq!(told, "it failed"),
            }
        };
        let check = |code, connects, hint| check_with(code, false, connects, hint);
        check(RDKafkaErrorCode::SSL, true, Some("`kafka.tls`"));
        check(RDKafkaErrorCode::Authentication, true, Some("`kafka.sasl`"));
        check(RDKafkaErrorCode::SaslAuthenticationFailed, true, Some("`kafka.sasl`"));
        check(RDKafkaErrorCode::BrokerTransportFailure, true, Some("may require TLS"));
        check_with(RDKafkaErrorCode::BrokerTransportFailure, true, true, Some("signed by `ca`"));
        check(RDKafkaErrorCode::BrokerTransportFailure, false, None);
        check(RDKafkaErrorCode::Resolve, true, None);
    }

    #[test]
    fn only_a_listening_port_accepts_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let open = listener.local_addr().expect("address").to_string();
        assert!(accepts_connections(&format!("127.0.0.1:1, {open}")));
        drop(listener);
        assert!(!accepts_connections(&open));
    }
}
