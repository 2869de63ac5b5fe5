//! Replies without a matching command: each is counted by its reason, and logged once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sagamore::core::message::{Outcome, Reply, ReplyTo};
use sagamore::core::{Body, Direction, StepKey, Timestamp};
use sagamore::server::http::routes::Routes;
use sagamore::server::{Client, Server};
use sagamore::transport::Record;
use sagamore::transport::wire::encode_reply;

use crate::support::an_order;

const PATIENCE: Duration = Duration::from_secs(30);

/// Counts the warnings about replies by reason.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<BTreeMap<String, u32>>>);

struct Reason(Option<String>, bool);

impl tracing::field::Visit for Reason {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "reason" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.1 |= field.name() == "message" && format!("{value:?}").starts_with("rejected reply");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut reason = Reason(None, false);
        event.record(&mut reason);
        if let Reason(Some(reason), true) = reason {
            *self.0.lock().expect("no panic").entry(reason).or_default() += 1;
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Builds a reply to the command of a step of `checkout:r1`.
fn reply(step: &str, generation: u32, source: &str) -> Record {
    let saga = "checkout:r1".parse().expect("the id is valid");
    let key = StepKey {
        saga,
        step: step.parse().expect("the name is valid"),
        direction: Direction::Action,
        generation,
    };
    let reply = Reply { key, outcome: Outcome::Done(Body::empty()).into(), trace: None };
    let to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    encode_reply(&reply, &to, &source.parse().expect("the name is valid"), Timestamp(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_reply_is_counted_by_its_reason_and_logged_once() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone())
        .expect("set the subscriber once per process");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let address = free.local_addr().expect("read the address").to_string();
    drop(free);
    let parts: Arc<OnceLock<Server>> = Arc::default();
    let taken = Arc::clone(&parts);
    let program = sagamore_shop::program().routes(move |server| {
        let _ = taken.set(server.clone());
        Routes::new()
    });
    let arguments = ["shop", "dev", "--ephemeral", "--listen", &address].map(str::to_owned);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = program.run_async(arguments, async { drop(stopped.await) });
    let test = async {
        let client = Client::new(&format!("http://{address}")).expect("the address is valid");
        let order = an_order("r1", 1).to_string();
        let begun = Instant::now();
        while client.post("/orders", order.clone(), Some(10)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "the server listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let transport =
            parts.get().expect("the routes are registered").services[0].transport.clone();
        let mut no_outcome = reply("create-order", 1, "order");
        no_outcome.headers.retain(|(name, _)| name != "ce_type");
        let no_json = Record { body: "{".into(), ..reply("create-order", 1, "order") };
        let large =
            Record { body: vec![b' '; 600 * 1024].into(), ..reply("create-order", 1, "order") };
        let records = vec![
            reply("create-order", 1, "payment"),
            reply("fold", 1, "order"),
            reply("create-order", 7, "order"),
            no_outcome,
            no_json,
            large,
        ];
        transport.publish(records).await.expect("publish");
        let wanted = ["body", "generation", "headers", "source", "step", "too-large"];
        let lines = wanted
            .map(|reason| format!("sagamore_rejected_replies_total{{reason=\"{reason}\"}} 1"));
        loop {
            let metrics = client.get("/metrics").await.expect("read the metrics");
            let metrics = String::from_utf8_lossy(&metrics);
            let missing: Vec<&String> =
                lines.iter().filter(|line| !metrics.contains(line.as_str())).collect();
            if missing.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{missing:?} is not in {metrics}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            *warnings.0.lock().expect("no panic"),
            wanted.map(|reason| (reason.to_owned(), 1)).into()
        );
        stop.send(()).expect("the program runs");
    };
    let (ran, ()) = tokio::join!(running, test);
    ran.expect("the program stops without error");
}
