//! The end of a turn: acknowledge replies and answer callers. A crash may lose either, because the
//! sagas' rows contain the outcome.

use sagamore_core::saga::{Saga, Status};
use sagamore_transport::Mark;

use super::Answer;
use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::request::summary;

impl Orchestrator {
    /// Commits the offsets of finished replies, up to the first unfinished one.
    pub(crate) async fn acknowledge(&mut self) -> Result<(), Error> {
        let mut marks = Vec::with_capacity(self.progress.len());
        for (&partition, &next) in &self.progress {
            let waiting = [self.strays.lowest(partition), self.blocked.lowest(partition)];
            let next = waiting.into_iter().flatten().fold(next, u64::min);
            marks.push(Mark { topic: self.options.reply_topic.as_str().into(), partition, next });
        }
        if marks.is_empty() {
            return Ok(());
        }
        if let Some(replies) = &mut self.replies {
            replies.commit(marks).await?;
        }
        if self.strays.next_due().is_none() && self.blocked.holds_no_reply() {
            self.progress.clear(); // every taken reply is committed
        }
        Ok(())
    }

    /// Wakes the waiters of a saga that is at rest.
    pub(crate) fn wake_if_at_rest(&mut self, saga: &Saga) {
        if saga.status.has_ended() || saga.status == Status::Stuck {
            self.live.wake(summary(saga));
        }
    }

    /// Sends the answers. A caller may have dropped its receiver.
    pub(crate) fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Start(to, answer) => drop(to.send(answer)),
                Answer::Verb(to, answer) => drop(to.send(answer)),
                Answer::Rest(summary) => self.live.wake(summary),
            }
        }
    }
}
