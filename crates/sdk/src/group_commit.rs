//! What many callers ask for, done for all of them at once.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::decided::Fault;

/// Collects what many callers ask for at the same time: what comes while one batch is under way makes the next one.
///
/// A commit costs the same whether it holds one order or five hundred, and alone nobody waits for others. The idea is the
/// databases' own (group commit: DeWitt et al., Implementation Techniques for Main Memory Database Systems, 1984). Clones ask
/// for the same batches.
///
/// ```
/// # use sagamore_sdk::GroupCommit;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sagamore_sdk::Fault> {
/// let squares = GroupCommit::of(500, |numbers: Vec<u64>| async move { numbers.iter().map(|n| n * n).collect() });
/// assert_eq!(squares.ask(7).await?, 49);
/// # Ok(())
/// # }
/// ```
pub struct GroupCommit<T, R> {
    asked: mpsc::Sender<(T, oneshot::Sender<R>)>,
}

impl<T: Send + 'static, R: Send + 'static> GroupCommit<T, R> {
    /// `work` is given what was asked for, in the order in which it came, at most `most` at a time, and gives an answer to each
    /// in that order. It runs as a task of the current tokio runtime, until the last clone is dropped.
    pub fn of<F, Fut>(most: usize, mut work: F) -> GroupCommit<T, R>
    where
        F: FnMut(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<R>> + Send,
    {
        let (asked, mut coming) = mpsc::channel(most.max(1));
        tokio::spawn(async move {
            let mut batch: Vec<(T, oneshot::Sender<R>)> = Vec::new();
            while coming.recv_many(&mut batch, most.max(1)).await > 0 {
                let (wanted, waiting): (Vec<T>, Vec<oneshot::Sender<R>>) = batch.drain(..).unzip();
                let done = AssertUnwindSafe(async { work(wanted).await }).catch_unwind().await;
                let Ok(answers) = done else { continue }; // it panicked: who waits is told that there is no answer
                waiting.into_iter().zip(answers).for_each(|(waiting, answer)| drop(waiting.send(answer)));
            }
        });
        GroupCommit { asked }
    }

    /// Asks, and waits for the answer. What was asked for is done even when nobody waits for it any more.
    pub async fn ask(&self, wanted: T) -> Result<R, Fault> {
        let (answer, answered) = oneshot::channel();
        let gone = || Fault::new("the batch came to nothing: whether this was done is not known");
        self.asked.send((wanted, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl<T, R> Clone for GroupCommit<T, R> {
    fn clone(&self) -> GroupCommit<T, R> {
        GroupCommit { asked: self.asked.clone() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_comes_while_a_batch_is_under_way_makes_the_next_one() {
        let (sizes, mut told) = mpsc::unbounded_channel();
        let grouped = GroupCommit::of(10, move |wanted: Vec<usize>| {
            let _ = sizes.send(wanted.len());
            async move {
                tokio::task::yield_now().await;
                wanted.into_iter().map(|n| n + 100).collect()
            }
        });
        let answers = join_all((0..25).map(|n| grouped.ask(n))).await;
        let answers: Vec<usize> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(answers, (100..125).collect::<Vec<_>>(), "each its own");
        drop(grouped);
        let mut seen = Vec::new();
        while let Some(size) = told.recv().await {
            seen.push(size);
        }
        assert_eq!(seen.iter().sum::<usize>(), 25);
        assert!(seen.len() < 25 && seen.iter().all(|size| *size <= 10), "{seen:?}");
    }

    #[tokio::test]
    async fn a_batch_that_panics_or_forgets_somebody_is_told_and_the_next_one_is_done() {
        let grouped = GroupCommit::of(10, |wanted: Vec<u32>| async move {
            assert!(!wanted.contains(&13), "an unlucky one");
            wanted.into_iter().filter(|n| *n != 7).collect::<Vec<u32>>()
        });
        assert!(grouped.ask(13).await.is_err());
        assert!(grouped.ask(7).await.is_err());
        assert_eq!(grouped.ask(1).await.expect("an answer"), 1);
    }
}
