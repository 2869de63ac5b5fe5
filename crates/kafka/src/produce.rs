//! The producer that everybody shares: a batch is put in line at once, and is done when each record has its receipt.

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

/// The pause before a record that found no place in line is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// Publishes; made anew after an error that no retry mends.
pub(crate) struct Producer {
    options: Options,
    names: Names,
    current: Mutex<Option<Arc<ThreadedProducer<Receipts>>>>,
}

/// What one batch still waits for.
struct Batch {
    waiting: AtomicUsize,
    worst: Mutex<Option<Error>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// Hands the brokers' receipts to the batches.
#[derive(Default)]
struct Receipts {
    complaints: Complaints,
}

impl Producer {
    pub fn new(options: Options, names: Names) -> Producer {
        Producer { options, names, current: Mutex::default() }
    }

    /// Publishes all records and waits for their receipts. The worst error is told: those of a single record last.
    pub async fn publish(&self, records: &[Record]) -> Result<(), Error> {
        if let Some(error) = records.iter().find_map(too_large) {
            return Err(error); // nothing of the batch was sent
        }
        let producer = self.current()?;
        let (told, done) = oneshot::channel();
        let batch = Arc::new(Batch {
            waiting: AtomicUsize::new(records.len() + 1), // and this loop itself
            worst: Mutex::default(),
            done: Mutex::new(Some(told)),
        });
        let until = Instant::now() + self.options.delivered_within;
        for record in records {
            let topic = self.names.there(&record.topic);
            let mut waits = as_kafka(record, &topic, batch.clone());
            loop {
                match producer.send(waits) {
                    Ok(()) => break,
                    Err((error, again)) if is_full(&error) && Instant::now() < until => {
                        waits = again;
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    Err((error, _)) => {
                        batch.note(fault::of_record(&record.topic, size(record), &error));
                        batch.count_down();
                        break;
                    }
                }
            }
        }
        batch.count_down();
        let _ = done.await; // the sender goes only with the last receipt
        let worst = batch.worst.lock().unwrap_or_else(PoisonError::into_inner).take();
        metrics::counter!("sagamore_kafka_published_total").increment(records.len() as u64);
        match worst {
            None => Ok(()),
            Some(error) => {
                self.replace_if_dead(&producer);
                Err(error)
            }
        }
    }

    fn current(&self) -> Result<Arc<ThreadedProducer<Receipts>>, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*current {
            return Ok(producer.clone());
        }
        let made = ThreadedProducer::from_config_and_context(&config::producer(&self.options)?, Receipts::default());
        let made = Arc::new(made.map_err(|error| fault::unavailable("make a producer", &error))?);
        *current = Some(made.clone());
        Ok(made)
    }

    fn replace_if_dead(&self, producer: &Arc<ThreadedProducer<Receipts>>) {
        let Some((code, why)) = producer.client().fatal_error() else { return };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer)) {
            tracing::warn!(%code, why, "the producer is made anew");
            metrics::counter!("sagamore_kafka_producers_replaced_total").increment(1);
            *current = None;
        }
    }
}

impl Batch {
    fn note(&self, error: Error) {
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        if worst.as_ref().is_none_or(|known| severity(known) < severity(&error)) {
            *worst = Some(error);
        }
    }

    fn count_down(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = done.send(()); // whoever published may have gone
        }
    }
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        fault::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.tell("producer", &error, reason);
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        if let Err((error, message)) = result {
            batch.note(fault::of_record(message.topic(), message.payload_len(), error));
        }
        batch.count_down();
    }
}

fn as_kafka<'a>(record: &'a Record, topic: &'a str, batch: Arc<Batch>) -> BaseRecord<'a, [u8], [u8], Arc<Batch>> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: Some(&value[..]) });
    }
    let made = BaseRecord::with_opaque_to(topic, batch).key(&record.key[..]).payload(&record.body[..]).headers(headers);
    match record.partition.map(i32::try_from) {
        Some(partition) => made.partition(partition.unwrap_or(i32::MAX)),
        None => made,
    }
}

fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    record.key.len() + record.body.len() + headers
}

/// The library adds some bytes to each record, and counts them.
fn too_large(record: &Record) -> Option<Error> {
    let bytes = size(record) + 100;
    let topic = record.topic.to_string();
    (bytes > RECORD_BYTES_MAX).then_some(Error::TooLarge { topic, bytes, bytes_max: RECORD_BYTES_MAX })
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

fn severity(error: &Error) -> u8 {
    match error {
        Error::TooLarge { .. } => 0,
        Error::UnknownTopic(_) => 1,
        Error::Unavailable(_) | Error::Full(_) | Error::Fenced(_) | Error::InUse(_) | Error::Damaged(_) => 2,
    }
}
