//! The shared producer. A batch is queued at once, and is complete with the receipt of each record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use sagamore_transport::{Error, Record};
use tokio::sync::oneshot;

use crate::config::{self, RECORD_BYTES_MAX};
use crate::fault::{self, Complaints};
use crate::names::Names;
use crate::options::Options;

/// The pause before a record is retried after the queue was full.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// Publishes records. The client is replaced after a fatal error.
pub(crate) struct Producer {
    options: Options,
    names: Names,
    current: Mutex<Option<Arc<ThreadedProducer<Receipts>>>>,
}

/// The outstanding receipts of one batch.
struct Batch {
    waiting: AtomicUsize,
    /// `None` before the record's receipt.
    outcomes: Mutex<Vec<Option<Result<(), Error>>>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// One record of a batch, until its receipt.
struct Receipt {
    batch: Arc<Batch>,
    index: usize,
    bytes: usize,
}

/// Passes the brokers' receipts to the batches.
#[derive(Default)]
struct Receipts {
    complaints: Complaints,
}

impl Producer {
    pub fn new(options: Options, names: Names) -> Producer {
        Producer { options, names, current: Mutex::default() }
    }

    /// Publishes records and waits for their receipts. Returns an outcome per record.
    pub async fn publish(&self, records: &[&Record]) -> Vec<Result<(), Error>> {
        let mut outcomes = self.attempt(records).await;
        let is_large = |at: usize| {
            matches!(outcomes[at], Err(Error::TooLarge { .. })) && too_large(records[at]).is_none()
        };
        let large: Vec<usize> = (0..records.len()).filter(|at| is_large(*at)).collect();
        if large.len() > 1 {
            // the brokers limit the sum of a batch: each record is sent again alone
            for at in large {
                outcomes[at] = self.attempt(&records[at..=at]).await.remove(0);
            }
        }
        let published = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        metrics::counter!("sagamore_kafka_published_total").increment(published as u64);
        outcomes
    }

    /// Refreshes the client's view of a new topic. A client that considers the topic missing
    /// rejects its records without a request to the brokers.
    pub async fn refresh(&self, topic: &str) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(producer) = current else { return };
        let (topic, limit) = (self.names.there(topic).into_owned(), self.options.answered_within);
        let query = move || producer.client().fetch_metadata(Some(&topic), limit).map(drop);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(query).await {
            tracing::debug!(%error, "cannot refresh the producer's view of a topic");
        }
    }

    /// Publishes records once. A client without a receipt after twice its delivery timeout is
    /// replaced. Its threads wait by the machine's clock, and may hang when that clock is set back.
    async fn attempt(&self, records: &[&Record]) -> Vec<Result<(), Error>> {
        self.attempt_within(self.options.delivered_within * 2, records).await
    }

    async fn attempt_within(&self, limit: Duration, records: &[&Record]) -> Vec<Result<(), Error>> {
        let producer = match self.current() {
            Ok(producer) => producer,
            Err(error) => return vec![Err(error); records.len()],
        };
        let (told, done) = oneshot::channel();
        let batch = Arc::new(Batch {
            waiting: AtomicUsize::new(records.len() + 1), // plus this loop itself
            outcomes: Mutex::new(vec![None; records.len()]),
            done: Mutex::new(Some(told)),
        });
        let until = Instant::now() + self.options.delivered_within;
        for (index, record) in records.iter().enumerate() {
            let receipt = Receipt { batch: batch.clone(), index, bytes: size(record) };
            if let Err(error) = self.put_in_line(&producer, record, receipt, until).await {
                batch.settle(index, Err(error));
            }
        }
        batch.count_down();
        // the sender is dropped with the last receipt
        let has_receipts = tokio::time::timeout(limit, done).await.is_ok();
        let outcomes =
            std::mem::take(&mut *batch.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
        if !has_receipts {
            self.replace(&producer, "no receipt");
            retire(producer);
        } else if outcomes.iter().any(|outcome| matches!(outcome, Some(Err(_)))) {
            self.replace_if_dead(&producer);
        }
        let missing =
            || Err(Error::Unavailable(format!("no receipt of the Kafka client within {limit:?}")));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    async fn put_in_line(
        &self,
        producer: &ThreadedProducer<Receipts>,
        record: &Record,
        receipt: Receipt,
        until: Instant,
    ) -> Result<(), Error> {
        if let Some(error) = too_large(record) {
            return Err(error);
        }
        let topic = self.names.there(&record.topic);
        let mut waits = as_kafka(record, &topic, Box::new(receipt));
        loop {
            match producer.send(waits) {
                Ok(()) => return Ok(()),
                Err((error, again)) if is_full(&error) && Instant::now() < until => {
                    waits = again;
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(fault::of_record(&topic, size(record), &error)),
            }
        }
    }

    fn current(&self) -> Result<Arc<ThreadedProducer<Receipts>>, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*current {
            return Ok(producer.clone());
        }
        let made = ThreadedProducer::from_config_and_context(
            &config::producer(&self.options)?,
            Receipts::default(),
        );
        let made = Arc::new(made.map_err(|error| fault::unavailable("create a producer", &error))?);
        *current = Some(made.clone());
        Ok(made)
    }

    fn replace_if_dead(&self, producer: &Arc<ThreadedProducer<Receipts>>) {
        if let Some((code, why)) = producer.client().fatal_error() {
            self.replace(producer, &format!("{code}: {why}"));
        }
    }

    fn replace(&self, producer: &Arc<ThreadedProducer<Receipts>>, why: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer)) {
            tracing::warn!(why, "replacing the producer");
            metrics::counter!("sagamore_kafka_producers_replaced_total").increment(1);
            *current = None;
        }
    }
}

/// Drops a client that hangs on a thread of its own: the drop joins the client's threads, which may
/// wait for long.
fn retire(producer: Arc<ThreadedProducer<Receipts>>) {
    let thread = std::thread::Builder::new().name("kafka-retire".into());
    if let Err(error) = thread.spawn(move || drop(producer)) {
        tracing::error!(%error, "cannot start a thread to drop a producer");
    }
}

impl Batch {
    fn settle(&self, index: usize, outcome: Result<(), Error>) {
        if let Some(place) =
            self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)
        {
            *place = Some(outcome);
        }
        self.count_down();
    }

    fn count_down(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = done.send(()); // the publishing task may have been dropped
        }
    }
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        fault::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.warn("producer", &error, reason);
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, message)) => Err(fault::of_record(message.topic(), receipt.bytes, error)),
        };
        receipt.batch.settle(receipt.index, outcome);
    }
}

fn as_kafka<'a>(
    record: &'a Record,
    topic: &'a str,
    receipt: Box<Receipt>,
) -> BaseRecord<'a, [u8], [u8], Box<Receipt>> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: Some(&value[..]) });
    }
    let made = BaseRecord::with_opaque_to(topic, receipt)
        .key(&record.key[..])
        .payload(&record.body[..])
        .headers(headers);
    match record.partition.map(i32::try_from) {
        Some(partition) => made.partition(partition.unwrap_or(i32::MAX)),
        None => made,
    }
}

fn size(record: &Record) -> usize {
    let headers: usize =
        record.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    record.key.len() + record.body.len() + headers
}

/// Returns an error for a record that is too large, including the library's overhead.
pub(crate) fn too_large(record: &Record) -> Option<Error> {
    let bytes = size(record) + 100;
    let topic = record.topic.to_string();
    (bytes > RECORD_BYTES_MAX).then_some(Error::TooLarge {
        topic,
        bytes,
        bytes_max: RECORD_BYTES_MAX,
    })
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_without_receipts_is_replaced_and_holds_up_no_caller() {
        let options =
            Options { delivered_within: Duration::from_secs(600), ..Options::new("127.0.0.1:1") };
        let producer = Producer::new(options, Names::in_namespace(None));
        let topic = "t".into();
        let record = Record {
            topic,
            partition: None,
            key: "k".into(),
            headers: Vec::new(),
            body: "{}".into(),
        };
        let outcomes =
            producer.attempt_within(Duration::from_millis(100), &[&record, &record]).await;
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Unavailable(_)))),
            "{outcomes:?}"
        );
        assert!(producer.current.lock().expect("no panic").is_none());
    }
}
