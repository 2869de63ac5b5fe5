//! The health of Kafka, for the server.

use sagamore_engine::announcements::GROUP_SUFFIX;
use sagamore_kafka::Kafka;
use sagamore_server::BrokerHealth;
use sagamore_server::parts::BrokerAnswer;
use sagamore_transport::wire::PARTICIPANTS_TOPIC;
use sagamore_transport::{Error, Resource};

/// The health of Kafka, from the point of view of one process.
pub struct KafkaHealth(Kafka);

impl KafkaHealth {
    /// Creates the health of this connection.
    pub fn of(kafka: &Kafka) -> KafkaHealth {
        KafkaHealth(kafka.clone())
    }
}

impl BrokerHealth for KafkaHealth {
    fn answer(&self) -> BrokerAnswer<'_> {
        Box::pin(async move {
            self.0.brokers().await.map(drop).map_err(|error| format!("kafka: {error}"))
        })
    }

    fn advance(&self) -> Result<(), String> {
        let denied = self.0.denials().into_iter().filter(is_needed);
        let denied = denied.map(|denied| denied.to_string());
        let stalls = self.0.stalls().into_iter().filter(|stall| stall.topic != PARTICIPANTS_TOPIC);
        let wrong: Vec<String> = denied.chain(stalls.map(|stall| stall.to_string())).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}

/// Whether a process needs the missing right. Only warnings depend on announcements.
fn is_needed(denied: &Error) -> bool {
    match denied {
        Error::Denied { resource: Resource::Topic(topic), .. } => {
            !topic.ends_with(PARTICIPANTS_TOPIC)
        }
        Error::Denied { resource: Resource::Group(group), .. } => !group.ends_with(GROUP_SUFFIX),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_without_the_rights_to_read_announcements() {
        let denied = |resource| Error::Denied { operation: "READ", resource };
        let topic = |name: &str| denied(Resource::Topic(name.to_owned()));
        let group = |name: &str| denied(Resource::Group(name.to_owned()));
        assert!(is_needed(&topic("sagamore.replies")) && is_needed(&group("sagamore.observer")));
        assert!(!is_needed(&topic("staging.sagamore.participants")));
        assert!(!is_needed(&group("staging.sagamore.orchestrator.participants")));
    }
}
