//! Conversion of the client library's errors into those of the port, and of its log into ours.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sagamore_transport::{Error, Resource};

/// The minimum interval between two logged errors of one client.
const COMPLAINTS_EVERY: Duration = Duration::from_secs(10);

/// Converts a failure that concerns no single topic. A later attempt may succeed.
pub(crate) fn unavailable(doing: &str, error: &KafkaError) -> Error {
    let why = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            return Error::Denied { operation: "IDEMPOTENT_WRITE", resource: Resource::Cluster };
        }
        Some(code) => format!("{doing}: {code}"),
        None => format!("{doing}: {error}"),
    };
    Error::Unavailable(why)
}

/// Converts a failure of one operation on a topic.
pub(crate) fn of_topic(
    doing: &str,
    operation: &'static str,
    topic: &str,
    code: RDKafkaErrorCode,
) -> Error {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => Error::denied_topic(operation, topic),
        code => Error::Unavailable(format!("{doing} topic {topic}: {code}")),
    }
}

/// Converts the failure of one record.
pub(crate) fn of_record(topic: &str, bytes: usize, error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Error::denied_topic("WRITE", topic),
        Some(
            code @ (RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::UnsupportedCompressionType
            | RDKafkaErrorCode::UnsupportedForMessageFormat),
        ) => Error::Rejected { topic: topic.to_owned(), reason: code.to_string() },
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidTopic,
        ) => Error::no_topic(topic),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge,
        ) => {
            // the topic's own limit may be lower, and the brokers do not report it
            let bytes_max = crate::config::RECORD_BYTES_MAX.min(bytes.saturating_sub(1));
            Error::TooLarge { topic: topic.to_owned(), bytes, bytes_max }
        }
        Some(_) | None => unavailable(&format!("publish to {topic}"), error),
    }
}

/// Writes the library's log to ours.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "sagamore_kafka", facility, message);
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "sagamore_kafka", facility, message);
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "sagamore_kafka", facility, message);
        }
    }
}

/// Rate-limited warnings about the brokers. While they are unavailable, the library reports errors
/// ten times a second.
#[derive(Default)]
pub(crate) struct Complaints {
    last: Mutex<Option<Instant>>,
}

impl Complaints {
    /// Logs a warning, unless the last one was recent.
    pub fn warn(&self, client: &str, error: &KafkaError, reason: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() > COMPLAINTS_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(target: "sagamore_kafka", client, %error, reason);
        }
    }
}

/// The context of clients that only send queries.
pub(crate) struct QueryContext;

impl ConsumerContext for QueryContext {}

impl ClientContext for QueryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "sagamore_kafka", %error, reason);
    }
}
