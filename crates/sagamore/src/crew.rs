//! The concurrent tasks of a process, which run until a stop is requested or one of them ends
//! unexpectedly.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;

/// Running tasks.
pub struct Crew {
    tasks: JoinSet<(String, Result<(), Error>)>,
    stop: watch::Sender<bool>,
}

impl Crew {
    /// Creates an empty crew.
    pub fn new() -> Crew {
        Crew { tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// Starts a task. It receives a future that ends when the stop is requested.
    pub fn spawn<F>(&mut self, name: impl Into<String>, work: impl FnOnce(StopSignal) -> F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut stopping = self.stop.subscribe();
        let stopped: StopSignal = Box::pin(async move {
            // an error means that the crew was dropped, which is a stop as well
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        let (name, work) = (name.into(), work(stopped));
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits until a task ends without a request to stop.
    pub async fn broken(&mut self) -> Error {
        match self.tasks.join_next().await {
            Some(Ok((_, Err(error)))) => error,
            Some(Ok((name, Ok(())))) => Error::Stopped(name),
            Some(Err(error)) => Error::Stopped(format!("a task ({error})")),
            None => Error::Stopped("every task".into()),
        }
    }

    /// Requests the stop, and waits until all tasks have ended.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), Error> {
        self.stop.send_replace(true);
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let slow = tokio::time::timeout(limit, all_ended).await.is_err();
        self.tasks.abort_all();
        if slow { Err(Error::Slow) } else { Ok(()) }
    }
}

/// A future that ends when the stop is requested.
pub type StopSignal = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
