//! Virtual time: actors sleep on a clock that jumps to the next moment at which one of them wakes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sagamore_core::Timestamp;

/// The moment at which every virtual clock starts.
pub const BEGINNING: Timestamp = Timestamp(1_000_000);
/// Polls of all actors per moment: one actor may unblock another.
const ROUNDS: usize = 3;

/// An actor: a future that waits only for the clock or another actor.
pub type Actor<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A virtual clock. Clones share it.
#[derive(Clone)]
pub struct Clock {
    now: Arc<AtomicI64>,
    /// The wake-up times of the actors that slept at their last poll.
    wakes: Arc<Mutex<Vec<i64>>>,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { now: Arc::new(AtomicI64::new(BEGINNING.0)), wakes: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// Returns the time since the clock's start.
    pub fn elapsed(&self) -> Duration {
        self.now().since(BEGINNING)
    }

    pub async fn sleep(&self, time: Duration) {
        let until = self.now().plus(time).0;
        std::future::poll_fn(|_| {
            if self.now().0 >= until {
                return Poll::Ready(());
            }
            self.wakes.lock().expect("no panic").push(until);
            Poll::Pending
        })
        .await;
    }

    /// Polls the actors until `is_over`, or until the clock has run for `limit`. Returns whether
    /// `is_over` held.
    pub fn run(
        &self,
        actors: &mut Vec<Actor<'_>>,
        limit: Duration,
        mut is_over: impl FnMut() -> bool,
    ) -> bool {
        let until = self.now().plus(limit);
        while self.now() < until {
            self.poll_all(actors);
            if is_over() {
                return true;
            }
            let next = self.wakes.lock().expect("no panic").iter().copied().min();
            let Some(next) = next else { return false };
            self.now.fetch_max(next, Ordering::Relaxed);
        }
        false
    }

    fn poll_all(&self, actors: &mut Vec<Actor<'_>>) {
        for _ in 0..ROUNDS {
            self.wakes.lock().expect("no panic").clear();
            let mut context = Context::from_waker(Waker::noop());
            actors.retain_mut(|actor| actor.as_mut().poll(&mut context).is_pending());
        }
    }
}
