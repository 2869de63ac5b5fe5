//! The brokers for the tests, with a namespace per test.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod group;
pub mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sagamore_database::testing::skipped;
use sagamore_kafka::{Kafka, Options};
use sagamore_transport::Transport;

const VARIABLE: &str = "SAGAMORE_TEST_KAFKA";

/// A namespace for one test. Its topics are removed at the end.
pub struct Namespace {
    pub kafka: Kafka,
    name: String,
}

/// Returns the brokers' addresses. Reports a skipped test without brokers.
pub fn brokers() -> Option<String> {
    let brokers = std::env::var(VARIABLE).ok();
    if brokers.is_none() {
        skipped("SAGAMORE_TEST_KAFKA is not set (cargo xtask services env)");
    }
    brokers
}

/// Returns options with a new namespace.
pub fn options() -> Option<Options> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let namespace =
        format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Some(Options { namespace: Some(namespace), replication: Some(1), ..Options::new(brokers()?) })
}

/// Returns a transport for one check of the contract.
pub async fn fresh() -> Option<(Arc<dyn Transport>, Namespace)> {
    let namespace = Namespace::new()?;
    Some((Arc::new(namespace.kafka.clone()), namespace))
}

impl Namespace {
    pub fn new() -> Option<Namespace> {
        Some(Namespace::with(options()?))
    }

    pub fn with(options: Options) -> Namespace {
        let name = options.namespace.clone().expect("a namespace");
        Namespace { kafka: Kafka::connect(options).expect("the options are right"), name }
    }

    /// A topic or a group, by its name on the brokers.
    pub fn on_brokers(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kafka = self.kafka.clone();
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let topics = kafka.topics().await.expect("the topics");
                let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
                if !names.is_empty() {
                    kafka.delete_topics(&names).await.expect("delete the topics");
                }
            });
        });
        assert!(
            removal.join().is_ok() || std::thread::panicking(),
            "the test's topics were not removed"
        );
    }
}
