//! A shutdown beside a transport that fails: the replies of ended calls are published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sagamore_core::Body;
use sagamore_core::message::Outcome;
use sagamore_gateway::Options;
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{
    Consumer, Delivery, Error, Log, Mark, Reach, Record, Subscription, Transport,
};
use tokio::sync::Semaphore;

use crate::harness::{DONE, HttpParticipant, Rig, action, answer, gateway_on};

/// A log whose consumers fail to poll on request.
struct DeafLog {
    log: Log,
    fault: Arc<Fault>,
}

/// A request to fail, and one permit per failed poll.
struct Fault {
    is_deaf: AtomicBool,
    failed: Semaphore,
}

struct DeafConsumer {
    inner: Box<dyn Consumer>,
    fault: Arc<Fault>,
}

impl Transport for DeafLog {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        self.log.publish_each(records)
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.log.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let (inner, fault) = (self.log.subscribe(subscription).await?, self.fault.clone());
            Ok(Box::new(DeafConsumer { inner, fault }) as Box<dyn Consumer>)
        })
    }
}

impl Consumer for DeafConsumer {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        if self.fault.is_deaf.load(Ordering::SeqCst) {
            self.fault.failed.add_permits(1);
            return Box::pin(async { Err(Error::Unavailable("connection refused".to_owned())) });
        }
        self.inner.poll(max)
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.inner.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.commit(marks)
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.rewind()
    }

    fn lag(&self) -> u64 {
        self.inner.lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        self.inner.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.inner.marks()
    }
}

/// The call ends between two turns, and the next turn fails before it collects the call.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_call_that_has_ended() {
    let fault = Arc::new(Fault { is_deaf: AtomicBool::new(false), failed: Semaphore::new(0) });
    let during_call = fault.clone();
    let participant = HttpParticipant::of(move |_, _| {
        let fault = during_call.clone();
        async move {
            fault.is_deaf.store(true, Ordering::SeqCst);
            answer(200, DONE, "{}")
        }
    })
    .await;
    let log = Rig::log().await;
    let transport = Arc::new(DeafLog { log: log.clone(), fault: fault.clone() });
    let options = Options { stop_max: Duration::from_secs(3_600), ..Options::default() };
    let gateway = gateway_on(transport, &participant.url(), options);
    let mut rig = Rig::run(log, gateway).await;
    rig.send(&[action("1")]).await;
    drop(fault.failed.acquire().await.expect("open"));
    rig.stop().await;
    assert_eq!(rig.outcome().await, Outcome::Done(Body::empty()));
}
