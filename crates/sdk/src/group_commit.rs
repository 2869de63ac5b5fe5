//! What many callers ask for, done for all of them at once.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::decided::Fault;

/// Collects what many callers ask for at the same time: what comes while one batch is under way makes the next one.
///
/// A commit costs the same whether it holds one order or five hundred, and alone nobody waits for others. The idea is the
/// databases' own (group commit: DeWitt et al., Implementation Techniques for Main Memory Database Systems, 1984). Clones ask
/// for the same batches.
///
/// ```
/// # use sagamore_sdk::{GroupCommit, Wanted};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sagamore_sdk::Fault> {
/// let squares = GroupCommit::of(500, |batch: Vec<Wanted<u64, u64>>| async move {
///     for wanted in batch {
///         let square = wanted.what * wanted.what; // in one transaction, were it worth one
///         wanted.answer(square);
///     }
/// });
/// assert_eq!(squares.ask(7).await?, 49);
/// # Ok(())
/// # }
/// ```
pub struct GroupCommit<T, R> {
    asked: mpsc::Sender<Wanted<T, R>>,
}

/// What one caller asked for. Dropped without an answer, the caller has a fault.
pub struct Wanted<T, R> {
    /// What.
    pub what: T,
    answer: oneshot::Sender<R>,
}

impl<T: Send + 'static, R: Send + 'static> GroupCommit<T, R> {
    /// `work` is given what was asked for, in the order in which it came, at most `most` at a time, and answers each. It runs as
    /// a task of the current tokio runtime, until the last clone is dropped. Twice as many may wait for it.
    pub fn of<F, Fut>(most: usize, mut work: F) -> GroupCommit<T, R>
    where
        F: FnMut(Vec<Wanted<T, R>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let most = most.max(1);
        let (asked, mut coming) = mpsc::channel(most * 2);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while coming.recv_many(&mut batch, most).await > 0 {
                let batch = std::mem::take(&mut batch);
                // a panic is told to those of its batch, who have no answer then
                let _ = AssertUnwindSafe(async { work(batch).await }).catch_unwind().await;
            }
        });
        GroupCommit { asked }
    }

    /// Asks, and waits for the answer. Once it was asked for it is done also when nobody waits for it any more. A fault, and
    /// nothing is done, when too many wait already; a fault as well when the batch came to nothing, and then it is not known
    /// whether it was done. Both pass: it may be asked for again, if that does no harm.
    pub async fn ask(&self, what: T) -> Result<R, Fault> {
        let (answer, answered) = oneshot::channel();
        self.asked.try_send(Wanted { what, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Fault::passing("too many ask for the same at once: nothing was done"),
            TrySendError::Closed(_) => Fault::new("there is nobody left to do it: nothing was done"),
        })?;
        answered.await.map_err(|_| Fault::passing("the batch came to nothing: whether this was done is not known"))
    }
}

impl<T, R> Wanted<T, R> {
    /// Tells the caller, if it waits still.
    pub fn answer(self, answer: R) {
        drop(self.answer.send(answer));
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
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_comes_while_a_batch_is_under_way_makes_the_next_one() {
        let (sizes, mut told) = mpsc::unbounded_channel();
        let grouped = GroupCommit::of(10, move |batch: Vec<Wanted<usize, usize>>| {
            let _ = sizes.send(batch.len());
            async move {
                tokio::task::yield_now().await;
                for wanted in batch {
                    let answer = wanted.what + 100;
                    wanted.answer(answer);
                }
            }
        });
        let answers = join_all((0..20).map(|n| grouped.ask(n))).await;
        let answers: Vec<usize> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(answers, (100..120).collect::<Vec<_>>(), "each its own");
        drop(grouped);
        let mut seen = Vec::new();
        while let Some(size) = told.recv().await {
            seen.push(size);
        }
        assert_eq!(seen, [10, 10]);
    }

    #[tokio::test]
    async fn a_batch_that_panics_or_forgets_somebody_is_told_and_the_next_one_is_done() {
        let grouped = GroupCommit::of(10, |batch: Vec<Wanted<u32, u32>>| async move {
            assert!(!batch.iter().any(|wanted| wanted.what == 13), "an unlucky one");
            for wanted in batch.into_iter().filter(|wanted| wanted.what != 7) {
                wanted.answer(0);
            }
        });
        for nobody_answers in [13, 7] {
            let fault = grouped.ask(nobody_answers).await.expect_err("there is no answer");
            assert!(fault.is_transient() && fault.to_string().contains("not known"), "{fault}");
        }
        assert_eq!(grouped.ask(1).await.expect("an answer"), 0);
    }

    #[tokio::test]
    async fn when_too_many_wait_the_next_one_is_told_so_at_once() {
        let open = std::sync::Arc::new(Semaphore::new(0));
        let of_work = open.clone();
        let grouped = GroupCommit::of(1, move |batch: Vec<Wanted<(), ()>>| {
            let open = of_work.clone();
            async move {
                open.acquire().await.expect("it is never closed").forget();
                batch.into_iter().for_each(|wanted| wanted.answer(()));
            }
        });
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(grouped.ask(()))).collect();
        for asked in &mut waiting {
            assert!(asked.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        let fault = grouped.ask(()).await.expect_err("one works, and two wait");
        assert!(fault.is_transient() && fault.to_string().contains("nothing was done"), "{fault}");
        open.add_permits(3);
        assert!(join_all(waiting).await.into_iter().all(|answer| answer.is_ok()));
    }
}
