//! The parts of a process that work side by side until it is told to stop, or until one of them stops by itself.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::stack::Error;

/// How long a stop may take before the process ends all the same: nothing is lost by it.
pub const STOP_MAX: Duration = Duration::from_secs(10);

/// Parts at work.
pub struct Crew {
    tasks: JoinSet<(String, Result<(), Error>)>,
    stop: watch::Sender<bool>,
}

impl Crew {
    /// Nobody yet.
    pub fn new() -> Crew {
        Crew { tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// Sets a part to work; it is given what ends when it is to stop.
    pub fn spawn<F>(&mut self, name: impl Into<String>, work: impl FnOnce(Stopped) -> F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut stopping = self.stop.subscribe();
        let stopped: Stopped = Box::pin(async move {
            // an error means that the crew was dropped: that is a stop as well
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        let (name, work) = (name.into(), work(stopped));
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits until some part stops although nobody asked it to.
    pub async fn broken(&mut self) -> Error {
        match self.tasks.join_next().await {
            Some(Ok((_, Err(error)))) => error,
            Some(Ok((name, Ok(())))) => Error::Stopped(name),
            Some(Err(error)) => Error::Stopped(format!("a part ({error})")),
            None => Error::Stopped("everything".into()),
        }
    }

    /// Has everybody finish what has begun.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), Error> {
        self.stop.send_replace(true);
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let slow = tokio::time::timeout(limit, all_ended).await.is_err();
        self.tasks.abort_all();
        if slow { Err(Error::Slow) } else { Ok(()) }
    }
}

/// Ends when the stop comes.
pub type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
