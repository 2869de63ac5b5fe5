//! Calling: commands become HTTP requests, which run concurrently, one per step at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{Outcome, Reply, ReplyOutcome};
use sagamore_core::{Direction, Name, ReplyTo, StepKey, Timestamp, TraceContext};
use sagamore_database::Clock;
use sagamore_transport::Record;
use tokio::task::{Id, JoinError, JoinSet};

use super::Gateway;
use super::receive::CommandItem;
use crate::answer::{self, Terms};
use crate::binding::Binding;
use crate::client::{Client, Failure};
use crate::request;
use crate::sent::Sent;
use crate::token::{Permit, ReplyKeys};

/// The client of a participant with its settings, shared by the running calls.
#[derive(Clone)]
pub(super) struct Caller {
    pub participant: Name,
    pub binding: Arc<Binding>,
    pub client: Client,
    pub reply_keys: Option<ReplyKeys>,
    pub clock: Clock,
    pub sent: Option<Sent>,
}

/// A command to send.
#[derive(Clone, Copy)]
struct Call<'a> {
    record: &'a Record,
    key: &'a StepKey,
    reply_to: &'a ReplyTo,
    terms: Terms<'a>,
}

/// The running calls.
pub(super) struct Calls {
    caller: Caller,
    tasks: JoinSet<CallEnd>,
    items: HashMap<Id, CommandItem>,
    ended: Vec<(CommandItem, CallEnd)>,
}

/// The result of a call.
pub(super) struct CallEnd {
    pub outcome: ReplyOutcome,
    /// The trace of the response.
    pub trace: Option<TraceContext>,
    /// Whether a connection to the participant was made; `None` if none was attempted.
    pub is_reached: Option<bool>,
    pub took: Duration,
}

impl Caller {
    /// Calls the participant, unless the command must not be sent twice and may have been sent.
    async fn call(
        &self,
        record: &Record,
        key: &StepKey,
        reply_to: &ReplyTo,
        contract: &ParticipantContract,
    ) -> CallEnd {
        let begun = Instant::now();
        let terms = Terms { direction: key.direction, contract };
        let call = Call { record, key, reply_to, terms };
        let mut end = match (contract.repeat, key.direction) {
            (Repeat::Barrier | Repeat::ByKey, _) => self.send(call).await,
            (Repeat::Never, Direction::Query) => self.query(call).await,
            (Repeat::Never, Direction::Action | Direction::Compensation) => {
                self.send_once(call).await
            }
        };
        end.took = begun.elapsed();
        end
    }

    /// Sends a command whose row is new. The row is removed if the call had no effect.
    async fn send_once(&self, call: Call<'_>) -> CallEnd {
        let Some(sent) = &self.sent else { return CallEnd::without_database() };
        let id = call.key.command_id();
        let claim = match sent.claim(&id, call.key.saga.as_str(), self.binding.timeout).await {
            Ok(Some(claim)) => claim,
            Ok(None) => {
                return CallEnd::of(ReplyOutcome::Unknown(
                    "the command was sent before, and must not be sent twice".into(),
                ));
            }
            Err(error) => {
                return CallEnd::fault(format!("cannot store that the command is sent: {error}"));
            }
        };
        let end = match sent.may_begin(&claim) {
            true => self.send(call).await,
            false => CallEnd::fault("it took too long to store that the command is sent".into()),
        };
        if let ReplyOutcome::Final(Outcome::Fault(_)) = end.outcome
            && let Err(error) = sent.release(&claim).await
        {
            // the resend finds the row and is unknown, which is safe
            tracing::warn!(command = id, %error, "cannot remove a sent command");
        }
        end
    }

    /// Queries an action, which is never sent again afterwards. While its call may be open, the
    /// answer `absent` is not final.
    async fn query(&self, call: Call<'_>) -> CallEnd {
        let Some(sent) = &self.sent else { return CallEnd::without_database() };
        let action = StepKey { direction: Direction::Action, ..call.key.clone() };
        let (id, saga, timeout) = (action.command_id(), action.saga.as_str(), self.binding.timeout);
        let open = match sent.block(&id, saga, timeout).await {
            Ok(open) => open,
            Err(error) => {
                return CallEnd::fault(format!("cannot store that the action is queried: {error}"));
            }
        };
        let mut end = self.send(call).await;
        if let (ReplyOutcome::Absent, Some(open)) = (&end.outcome, open) {
            end.outcome = ReplyOutcome::Pending(open);
        }
        end
    }

    async fn send(&self, call: Call<'_>) -> CallEnd {
        let Call { record, key, reply_to, terms } = call;
        let (id, now) = (key.command_id(), self.now());
        let token = self.reply_keys.as_ref().map(|keys| {
            let (key, reply_to) = (key.clone(), reply_to.clone());
            keys.sign(&Permit { key, reply_to, participant: self.participant.clone() }, now)
        });
        let request = request::of(record, &id, token.as_deref(), &self.binding, now);
        match self.client.call(request).await {
            Ok(response) => CallEnd {
                trace: answer::trace(&response.headers),
                is_reached: Some(true),
                ..CallEnd::of(answer::read(&response, terms))
            },
            Err(failure @ Failure::Connect(_)) => {
                CallEnd { is_reached: Some(false), ..CallEnd::fault(failure.to_string()) }
            }
            // a query has no effect, so it is repeated
            Err(failure @ Failure::Unanswered(_)) if terms.direction == Direction::Query => {
                CallEnd::fault(failure.to_string())
            }
            Err(failure @ Failure::Unanswered(_)) => {
                CallEnd::of(ReplyOutcome::Unknown(failure.to_string()))
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }
}

impl CallEnd {
    fn of(outcome: ReplyOutcome) -> CallEnd {
        CallEnd { outcome, trace: None, is_reached: None, took: Duration::ZERO }
    }

    fn fault(text: String) -> CallEnd {
        CallEnd::of(Outcome::Fault(text).into())
    }

    fn without_database() -> CallEnd {
        CallEnd::fault(
            "the gateway has no database, which `repeat: never` needs: configure one".into(),
        )
    }
}

impl Calls {
    pub fn of(caller: Caller) -> Calls {
        Calls { caller, tasks: JoinSet::new(), items: HashMap::new(), ended: Vec::new() }
    }

    /// Returns the number of calls that are not collected.
    pub fn running(&self) -> usize {
        self.items.len() + self.ended.len()
    }

    pub fn sent(&self) -> Option<Sent> {
        self.caller.sent.clone()
    }

    fn start(&mut self, item: CommandItem) {
        let (caller, key) = (self.caller.clone(), item.key.clone());
        let (record, reply_to) = (item.delivery.record.clone(), item.reply_to.clone());
        let contract = item.contract.clone();
        let call = async move { caller.call(&record, &key, &reply_to, &contract).await };
        let task = self.tasks.spawn(call);
        self.items.insert(task.id(), item);
    }

    /// Returns whether a call has ended that is not collected.
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Waits until a call ends; forever if none runs.
    pub async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.end(joined),
            None => std::future::pending().await,
        }
    }

    fn end(&mut self, joined: Result<(Id, CallEnd), JoinError>) {
        let (id, end) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                (error.id(), CallEnd::of(ReplyOutcome::Unknown(format!("the call: {error}"))))
            }
        };
        self.ended.extend(self.items.remove(&id).map(|item| (item, end)));
    }

    /// Removes and returns the calls that have ended.
    fn take_ended(&mut self) -> Vec<(CommandItem, CallEnd)> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.end(joined);
        }
        std::mem::take(&mut self.ended)
    }
}

impl Gateway {
    /// Collects the calls that have ended, and starts those that may begin.
    pub(super) fn call(&mut self) {
        self.collect();
        while self.calls.running() < self.concurrency
            && let Some(item) = self.lanes.next()
        {
            self.calls.start(item);
        }
    }

    /// Turns ended calls into replies.
    pub(super) fn collect(&mut self) {
        for (item, end) in self.calls.take_ended() {
            self.lanes.end(&item.key);
            self.bytes -= item.bytes();
            self.observe(&item, &end);
            self.settle(item, end);
        }
    }

    /// Owes the reply of an ended call. The orchestrator's pauses are the only retry loop.
    fn settle(&mut self, item: CommandItem, end: CallEnd) {
        let CommandItem { delivery, key, reply_to, trace, .. } = item;
        let reply = Reply { key, outcome: end.outcome, trace: end.trace.or(trace) };
        self.owe(&delivery, reply, &reply_to);
    }
}
