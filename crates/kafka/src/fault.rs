//! What the client library says, in the port's words; and what it tells by the way, to our log.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sagamore_transport::Error;

/// Whatever it is, it may be better later.
pub(crate) fn unavailable(doing: &str, error: &KafkaError) -> Error {
    let why = match error.rdkafka_error_code() {
        Some(code) => format!("{doing}: {code}"),
        None => format!("{doing}: {error}"),
    };
    Error::Unavailable(why)
}

/// What became of one record.
pub(crate) fn of_record(topic: &str, bytes: usize, error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidTopic,
        ) => Error::UnknownTopic(topic.to_owned()),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge,
        ) => Error::TooLarge { topic: topic.to_owned(), bytes, bytes_max: crate::config::RECORD_BYTES_MAX },
        Some(_) | None => unavailable(&format!("publish to {topic}"), error),
    }
}

/// The library's own log, as lines of ours.
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

/// The context of clients that only ask.
pub(crate) struct Asking;

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "sagamore_kafka", %error, reason);
    }
}
