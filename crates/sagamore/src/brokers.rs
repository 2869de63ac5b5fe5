//! The health of Kafka, for the server.

use sagamore_kafka::Kafka;
use sagamore_server::BrokerHealth;
use sagamore_server::parts::BrokerAnswer;

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
        let denied = self.0.denials().into_iter().map(|denied| denied.to_string());
        let wrong: Vec<String> =
            denied.chain(self.0.stalls().iter().map(ToString::to_string)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}
