//! Group commit: one batch serves many concurrent callers.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::decided::Fault;

/// Collects concurrent requests into batches. Requests that arrive during one batch form the next
/// one.
///
/// A commit costs the same for one order as for five hundred, and a single caller never waits for
/// others. Clones share the batches.
///
/// The idea is from databases: DeWitt et al., Implementation Techniques for Main Memory Database
/// Systems, 1984.
///
/// ```
/// # use sagamore_sdk::{GroupCommit, Submission};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sagamore_sdk::Fault> {
/// let squares = GroupCommit::of(500, |batch: Vec<Submission<u64, u64>>| async move {
///     for submission in batch {
///         let square = submission.request * submission.request; // usually one transaction
///         submission.answer(square);
///     }
/// });
/// assert_eq!(squares.submit(7).await?, 49);
/// # Ok(())
/// # }
/// ```
pub struct GroupCommit<T, R> {
    submissions: mpsc::Sender<Submission<T, R>>,
}

/// The request of one caller. A submission that is dropped without an answer gives its caller a
/// fault.
pub struct Submission<T, R> {
    /// The content of the request.
    pub request: T,
    answer: oneshot::Sender<R>,
}

impl<T: Send + 'static, R: Send + 'static> GroupCommit<T, R> {
    /// Starts a task on the current tokio runtime that passes batches to `work`, until the last
    /// clone is dropped.
    ///
    /// A batch has at most `most` requests, in order of arrival. At most twice as many may wait.
    pub fn of<F, Fut>(most: usize, mut work: F) -> GroupCommit<T, R>
    where
        F: FnMut(Vec<Submission<T, R>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let most = most.max(1);
        let (submissions, mut arriving) = mpsc::channel(most * 2);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while arriving.recv_many(&mut batch, most).await > 0 {
                let batch = std::mem::take(&mut batch);
                // callers of a batch that panics get a fault, because their requests are dropped
                let _ = AssertUnwindSafe(async { work(batch).await }).catch_unwind().await;
            }
        });
        GroupCommit { submissions }
    }

    /// Submits a request and waits for its answer. The request is executed even if the caller stops
    /// waiting.
    ///
    /// # Errors
    /// - Too many requests wait: nothing was done.
    /// - The batch failed: the request may have been executed.
    ///
    /// Both are transient: repeat the request if a repeat is harmless.
    pub async fn submit(&self, request: T) -> Result<R, Fault> {
        let (answer, answered) = oneshot::channel();
        self.submissions.try_send(Submission { request, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Fault::passing("too many requests wait: nothing was done"),
            TrySendError::Closed(_) => Fault::new("the batch task has ended: nothing was done"),
        })?;
        answered.await.map_err(|_| {
            Fault::passing("the batch failed: whether this request was executed is not known")
        })
    }
}

impl<T, R> Submission<T, R> {
    /// Answers the caller, if it still waits.
    pub fn answer(self, answer: R) {
        drop(self.answer.send(answer));
    }
}

impl<T, R> Clone for GroupCommit<T, R> {
    fn clone(&self) -> GroupCommit<T, R> {
        GroupCommit { submissions: self.submissions.clone() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn requests_during_a_batch_form_the_next_one() {
        let (sizes, mut told) = mpsc::unbounded_channel();
        let grouped = GroupCommit::of(10, move |batch: Vec<Submission<usize, usize>>| {
            let _ = sizes.send(batch.len());
            async move {
                tokio::task::yield_now().await;
                for submission in batch {
                    let answer = submission.request + 100;
                    submission.answer(answer);
                }
            }
        });
        let answers = join_all((0..20).map(|n| grouped.submit(n))).await;
        let answers: Vec<usize> =
            answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(answers, (100..120).collect::<Vec<_>>(), "each caller gets its own answer");
        drop(grouped);
        let mut seen = Vec::new();
        while let Some(size) = told.recv().await {
            seen.push(size);
        }
        assert_eq!(seen, [10, 10]);
    }

    #[tokio::test]
    async fn callers_of_a_failed_batch_get_a_fault_and_the_next_batch_runs() {
        let grouped = GroupCommit::of(10, |batch: Vec<Submission<u32, u32>>| async move {
            assert!(!batch.iter().any(|submission| submission.request == 13), "an unlucky one");
            for submission in batch.into_iter().filter(|submission| submission.request != 7) {
                submission.answer(0);
            }
        });
        for nobody_answers in [13, 7] {
            let fault = grouped.submit(nobody_answers).await.expect_err("there is no answer");
            assert!(fault.is_transient() && fault.to_string().contains("not known"), "{fault}");
        }
        assert_eq!(grouped.submit(1).await.expect("an answer"), 0);
    }

    #[tokio::test]
    async fn a_request_beyond_the_bound_fails_at_once() {
        let open = std::sync::Arc::new(Semaphore::new(0));
        let of_work = open.clone();
        let grouped = GroupCommit::of(1, move |batch: Vec<Submission<(), ()>>| {
            let open = of_work.clone();
            async move {
                open.acquire().await.expect("it is never closed").forget();
                batch.into_iter().for_each(|submission| submission.answer(()));
            }
        });
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(grouped.submit(()))).collect();
        for asked in &mut waiting {
            assert!(asked.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        let fault = grouped.submit(()).await.expect_err("one is executing, and two wait");
        assert!(fault.is_transient() && fault.to_string().contains("nothing was done"), "{fault}");
        open.add_permits(3);
        assert!(join_all(waiting).await.into_iter().all(|answer| answer.is_ok()));
    }
}
