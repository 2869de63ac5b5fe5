//! A transport whose futures are pending once before and once after their work, so that a turn can
//! be dropped at these points.

use std::pin::Pin;
use std::task::{Context, Poll};

use sagamore::transport::port::BoxFuture;
use sagamore::transport::{
    Consumer, Delivery, Error, Log, Mark, Reach, Record, Subscription, Transport,
};

pub struct YieldingTransport(pub Log);

struct Reader(Box<dyn Consumer>);

/// A future that is pending on its first poll.
#[derive(Default)]
struct YieldOnce {
    polled: bool,
}

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn halting<'a, T: Send + 'a>(doing: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(async move {
        YieldOnce::default().await;
        let done = doing.await;
        YieldOnce::default().await;
        done
    })
}

impl Transport for YieldingTransport {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.0.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        halting(self.0.publish_each(records))
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.0.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let consumer = self.0.subscribe(subscription).await?;
            Ok(Box::new(Reader(consumer)) as Box<dyn Consumer>)
        })
    }
}

impl Consumer for Reader {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        halting(self.0.poll(max))
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.0.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        halting(self.0.commit(marks))
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.rewind()
    }

    fn lag(&self) -> u64 {
        self.0.lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        self.0.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.0.marks()
    }
}
