//! The work on one reaction, until it is at rest or must be retried. Each step is one call or one
//! publish, followed by one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use metrics::{counter, histogram};
use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Direction, Name, StepKey, Timestamp, TraceContext};
use sagamore_database::Clock;
use sagamore_transport::wire::{dead_letter_topic, decode_event};
use sagamore_transport::{Delivery, Error as TransportError, Record, Scope, Transport};

use super::letter::bury;
use crate::answer;
use crate::binding::{Binding, Unfit};
use crate::client::{Client, Failure};
use crate::error::Error;
use crate::local::{LocalAnswer, LocalCall, LocalParticipant};
use crate::reaction::{Context, Next, Reaction, ReactionEnd, ReactionResult, StoredRecord, read};
use crate::reaction_store::{FailedAttempt, ReactionKey, ReactionStore};
use crate::request;

const REACTION: HeaderName = HeaderName::from_static("sagamore-reaction");
const DIRECTION: HeaderName = HeaderName::from_static("sagamore-direction");
/// The media type of several events.
const BATCH: &str = "application/cloudevents-batch+json";

/// A participant with the transport of its events, shared by the tasks.
#[derive(Clone)]
pub(super) struct Caller {
    pub callee: Callee,
    pub transport: Arc<dyn Transport>,
    pub clock: Clock,
}

/// A participant.
#[derive(Clone)]
pub(super) enum Callee {
    /// An HTTP service, with its settings.
    Http(Client, Arc<Binding>),
    /// One in this process.
    Local(Arc<dyn LocalParticipant>),
}

/// The work on one reaction.
pub(super) struct Work {
    pub caller: Caller,
    pub store: ReactionStore,
    pub participant: Name,
    pub plan: Arc<Plan>,
    pub key: ReactionKey,
    pub lease: Duration,
    /// Partitions of topics that the reactor creates.
    pub partitions: u32,
}

impl Callee {
    pub fn of(binding: Binding) -> Result<Callee, Unfit> {
        Ok(Callee::Http(Client::of(&binding)?, Arc::new(binding)))
    }
}

impl Caller {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }
}

impl Work {
    /// Does the work after this many failed attempts.
    pub async fn run(self, reaction: Reaction, attempts: u32) {
        let mut attempt = attempts.saturating_add(1);
        if let Err(error) = self.drive(reaction, &mut attempt).await {
            // otherwise the lease ends, and the work is repeated
            let (why, now) = (error.to_string(), self.caller.now());
            let failed = FailedAttempt::of(attempt, &why);
            let postponed = self.store.postpone(&self.key, failed, now).await;
            let (chain, step) = (&self.key.chain, &self.key.step);
            let is_stored = postponed.is_ok();
            tracing::warn!(%chain, %step, %error, is_stored, "reaction failed, retrying");
        }
    }

    async fn drive(&self, mut reaction: Reaction, attempt: &mut u32) -> Result<(), Error> {
        let Some(part) = self.plan.parts().find(|part| *part.name == self.key.step) else {
            return Err(Error::UnknownPlan {
                chain: self.key.chain.to_string(),
                version: self.plan.version,
            });
        };
        loop {
            reaction = match reaction.next(&part) {
                // an event may have arrived since: the row decides
                Next::Rest => {
                    let rested = self.update(&part, |_, _| {}).await?;
                    if matches!(rested.next(&part), Next::Rest) {
                        return Ok(());
                    }
                    rested
                }
                Next::Publish(direction, record) => {
                    self.publish(record.record()).await?;
                    self.update(&part, |reaction, _| reaction.mark_sent(direction)).await?
                }
                Next::Call(direction, events) => {
                    match self.act(part, &reaction, (direction, &events), attempt).await? {
                        Some(changed) => changed,
                        None => return Ok(()),
                    }
                }
            };
        }
    }

    /// Calls the participant and records its answer. `None`: the call is repeated later.
    async fn act(
        &self,
        part: Part<'_>,
        reaction: &Reaction,
        (direction, events): (Direction, &[StoredRecord]),
        attempt: &mut u32,
    ) -> Result<Option<Reaction>, Error> {
        let (context, token) = (self.context(&part), fastrand::u64(..));
        if direction == Direction::Action && reaction.stores_calls(&context) {
            let begin = |reaction: &mut Reaction| reaction.begin_call(token);
            let begun = self.store.mark(&self.key, begin).await?;
            if !matches!(begun.next(&part), Next::Call(Direction::Action, _)) {
                return Ok(Some(begun)); // the deadline's event was first
            }
        }
        let (end, trace) = self.call(part, direction, *attempt, events).await;
        let (why, delay) = match end {
            ReactionEnd::Result(result) => {
                let sized = self.check_size(&part, reaction, (direction, &result, &trace));
                if let Err(error) = sized {
                    let why = error.to_string();
                    let failed = FailedAttempt::of(*attempt, &why);
                    return self.retry(failed).await.map(|()| None);
                }
                *attempt = 1;
                let settle = |reaction: &mut Reaction, context: &Context<'_>| {
                    reaction.settle(context, direction, result, trace);
                };
                return Ok(Some(self.update(&part, settle).await?));
            }
            ReactionEnd::Retry(why, delay) => (why, delay),
            ReactionEnd::Unsent(why) => {
                let context = self.context(&part);
                let end = |reaction: &mut Reaction| reaction.end_unsent_call(&context, token);
                let ended = self.store.mark(&self.key, end).await?;
                if !matches!(ended.next(&part), Next::Call(..)) {
                    return Ok(Some(ended)); // the deadline has given it up
                }
                (why, None)
            }
        };
        self.retry(FailedAttempt { number: *attempt, why: &why, delay }).await?;
        Ok(None)
    }

    /// Publishes an event durably. One that the transport rejects for its own sake becomes a dead
    /// letter, and a repeat of its trigger publishes it again.
    async fn publish(&self, record: Record) -> Result<(), Error> {
        let transport = self.caller.transport.as_ref();
        match transport.publish(vec![record.clone()]).await {
            Err(error) if error.is_rejection() && error.scope() == Scope::Record => {
                let topic = dead_letter_topic(&record.topic);
                transport.create_topic(&topic, self.partitions).await?;
                let event = Delivery { record, partition: 0, offset: 0, unreadable: None };
                bury(transport, &event, &format!("it cannot be published: {error}")).await?;
            }
            published => published?,
        }
        Ok(transport.synced().await?)
    }

    /// Returns the error with which the transport would reject the event of a result, so that the
    /// result is not recorded.
    fn check_size(
        &self,
        part: &Part<'_>,
        reaction: &Reaction,
        (direction, result, trace): (Direction, &ReactionResult, &Option<TraceContext>),
    ) -> Result<(), TransportError> {
        let mut settled = reaction.clone();
        settled.settle(&self.context(part), direction, result.clone(), trace.clone());
        match settled.next(part) {
            Next::Publish(_, record) => self.caller.transport.check_size(&record.record()),
            Next::Call(..) | Next::Rest => Ok(()),
        }
    }

    /// Changes the reaction, which stays leased while it has work.
    async fn update(
        &self,
        part: &Part<'_>,
        change: impl FnOnce(&mut Reaction, &Context<'_>),
    ) -> Result<Reaction, Error> {
        let context = self.context(part);
        let lease_until = context.now.plus(self.lease);
        let changed = self.store.update(&self.key, lease_until, |reaction| {
            change(reaction, &context);
            !matches!(reaction.next(part), Next::Rest)
        });
        Ok(changed.await?)
    }

    fn context<'a>(&'a self, part: &Part<'a>) -> Context<'a> {
        Context { plan: &self.plan, part: *part, now: self.caller.now() }
    }

    async fn retry(&self, failed: FailedAttempt<'_>) -> Result<(), Error> {
        let FailedAttempt { number: attempts, why, .. } = failed;
        let pause = self.store.postpone(&self.key, failed, self.caller.now()).await?;
        let (participant, chain, step) = (&self.participant, &self.key.chain, &self.key.step);
        tracing::warn!(
            %participant, %chain, %step, attempts, ?pause, why, "reaction without result"
        );
        Ok(())
    }

    /// Calls the participant.
    async fn call(
        &self,
        part: Part<'_>,
        direction: Direction,
        attempt: u32,
        events: &[StoredRecord],
    ) -> (ReactionEnd, Option<TraceContext>) {
        match &self.caller.callee {
            Callee::Http(client, binding) => {
                self.post(client, binding, &part, direction, events).await
            }
            Callee::Local(local) => {
                let decoded = events.iter().filter_map(|event| decode_event(&event.record()).ok());
                let events = decoded.map(|event| event.body).collect();
                let call = LocalCall { plan: &self.plan, part, direction, attempt, events };
                (local.react(call).await.into(), None)
            }
        }
    }

    /// Sends a request. Each repeat has the same key.
    async fn post(
        &self,
        client: &Client,
        binding: &Binding,
        part: &Part<'_>,
        direction: Direction,
        events: &[StoredRecord],
    ) -> (ReactionEnd, Option<TraceContext>) {
        let (begun, now) = (Instant::now(), self.caller.now());
        let (saga, step) = (self.key.chain.clone(), self.key.step.clone());
        let id = StepKey { saga, step, direction, generation: 1 }.command_id();
        let record = of_events(events);
        let mut request = request::of(&record, &id, None, binding, now);
        if events.len() > 1 {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(BATCH));
        }
        request.headers_mut().insert(REACTION, request::value(self.key.step.as_str()));
        request.headers_mut().insert(DIRECTION, request::value(direction.as_str()));
        let ended = match client.call(request).await {
            Ok(response) => {
                let trace = answer::trace(&response.headers);
                (read(&response, part, direction), trace)
            }
            Err(failure @ Failure::Connect(_)) => (ReactionEnd::Unsent(failure.to_string()), None),
            Err(failure @ Failure::Unanswered(_)) => {
                (ReactionEnd::Retry(failure.to_string(), None), None)
            }
        };
        self.count(&ended.0, begun.elapsed());
        ended
    }

    fn count(&self, end: &ReactionEnd, took: Duration) {
        let outcome = match end {
            ReactionEnd::Result(ReactionResult::Done(_)) => "done",
            ReactionEnd::Result(ReactionResult::Failed(..) | ReactionResult::Refused(_)) => {
                "refused"
            }
            ReactionEnd::Retry(..) | ReactionEnd::Unsent(_) => "fault",
        };
        let participant = self.participant.to_string();
        histogram!("sagamore_gateway_call_seconds", "participant" => participant.clone())
            .record(took.as_secs_f64());
        counter!("sagamore_gateway_calls_total", "participant" => participant, "outcome" => outcome)
            .increment(1);
    }
}

impl From<LocalAnswer> for ReactionEnd {
    fn from(answer: LocalAnswer) -> ReactionEnd {
        let result = match answer {
            LocalAnswer::Done(event) => ReactionResult::Done(event),
            LocalAnswer::Failed(name, body) => ReactionResult::Failed(name, body),
            LocalAnswer::Refused(refusal) => ReactionResult::Refused(refusal),
            LocalAnswer::Fault(why) => return ReactionEnd::Retry(why, None),
        };
        ReactionEnd::Result(result)
    }
}

/// Returns the record that defines headers and body of the request: the event itself, or a batch of
/// several events with the trace of the last one.
fn of_events(events: &[StoredRecord]) -> Record {
    let Some(last) = events.last() else {
        let (topic, headers) = (Arc::from(""), Vec::new());
        return Record { topic, partition: None, key: Bytes::new(), headers, body: Bytes::new() };
    };
    if events.len() == 1 {
        return last.record();
    }
    let texts: Vec<String> = events.iter().map(StoredRecord::structured).collect();
    let mut record = last.record();
    record.headers.retain(|(name, _)| matches!(name.as_ref(), "traceparent" | "tracestate"));
    record.body = format!("[{}]", texts.join(",")).into_bytes().into();
    record
}
