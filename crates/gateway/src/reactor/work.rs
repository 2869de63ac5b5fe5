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
use sagamore_transport::{Record, Transport};

use crate::answer;
use crate::binding::{Binding, Unfit};
use crate::client::{Client, Failure};
use crate::error::Error;
use crate::reaction::{Context, Next, Reaction, ReactionEnd, ReactionResult, StoredRecord, read};
use crate::reaction_store::{ReactionKey, ReactionStore};
use crate::request;

const REACTION: HeaderName = HeaderName::from_static("sagamore-reaction");
const DIRECTION: HeaderName = HeaderName::from_static("sagamore-direction");
/// The media type of several events.
const BATCH: &str = "application/cloudevents-batch+json";

/// The client of a participant with its settings, shared by the tasks.
#[derive(Clone)]
pub(super) struct Caller {
    binding: Arc<Binding>,
    client: Client,
    transport: Arc<dyn Transport>,
    clock: Clock,
}

/// The work on one reaction.
pub(super) struct Work {
    pub caller: Caller,
    pub store: ReactionStore,
    pub participant: Name,
    pub plan: Arc<Plan>,
    pub key: ReactionKey,
    pub lease: Duration,
}

impl Caller {
    pub fn of(
        binding: Binding,
        transport: Arc<dyn Transport>,
        clock: Clock,
    ) -> Result<Caller, Unfit> {
        let client = Client::of(&binding)?;
        Ok(Caller { client, binding: Arc::new(binding), transport, clock })
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }
}

impl Work {
    pub async fn run(self, reaction: Reaction) {
        if let Err(error) = self.drive(reaction).await {
            // the lease ends, and the work is repeated
            let postponed =
                self.store.postpone(&self.key, &error.to_string(), None, self.caller.now()).await;
            let (chain, step) = (&self.key.chain, &self.key.step);
            let is_stored = postponed.is_ok();
            tracing::warn!(%chain, %step, %error, is_stored, "reaction failed, retrying");
        }
    }

    async fn drive(&self, mut reaction: Reaction) -> Result<(), Error> {
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
                    self.caller.transport.publish(vec![record.record()]).await?;
                    self.caller.transport.synced().await?;
                    self.update(&part, |reaction, _| reaction.mark_sent(direction)).await?
                }
                Next::Call(direction, events) => {
                    let (end, trace) = self.call(&part, direction, &events).await;
                    match end {
                        ReactionEnd::Result(result) => {
                            self.update(&part, |reaction, context| {
                                reaction.settle(context, direction, result, trace);
                            })
                            .await?
                        }
                        ReactionEnd::Retry(why, delay) => return self.retry(&why, delay).await,
                    }
                }
            };
        }
    }

    /// Changes the reaction, which stays leased while it has work.
    async fn update(
        &self,
        part: &Part<'_>,
        change: impl FnOnce(&mut Reaction, &Context<'_>),
    ) -> Result<Reaction, Error> {
        let now = self.caller.now();
        let context = Context { plan: &self.plan, part: *part, now };
        let changed = self.store.update(&self.key, now.plus(self.lease), |reaction| {
            change(reaction, &context);
            !matches!(reaction.next(part), Next::Rest)
        });
        Ok(changed.await?)
    }

    async fn retry(&self, why: &str, delay: Option<Duration>) -> Result<(), Error> {
        let (pause, attempts) =
            self.store.postpone(&self.key, why, delay, self.caller.now()).await?;
        let (participant, chain, step) = (&self.participant, &self.key.chain, &self.key.step);
        tracing::warn!(
            %participant, %chain, %step, attempts, ?pause, why, "reaction without result"
        );
        Ok(())
    }

    /// Calls the participant. Each repeat has the same key.
    async fn call(
        &self,
        part: &Part<'_>,
        direction: Direction,
        events: &[StoredRecord],
    ) -> (ReactionEnd, Option<TraceContext>) {
        let (begun, now) = (Instant::now(), self.caller.now());
        let (saga, step) = (self.key.chain.clone(), self.key.step.clone());
        let id = StepKey { saga, step, direction, generation: 1 }.command_id();
        let record = of_events(events);
        let mut request = request::of(&record, &id, None, &self.caller.binding, now);
        if events.len() > 1 {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(BATCH));
        }
        request.headers_mut().insert(REACTION, request::value(self.key.step.as_str()));
        request.headers_mut().insert(DIRECTION, request::value(direction.as_str()));
        let ended = match self.caller.client.call(request).await {
            Ok(response) => {
                let trace = answer::trace(&response.headers);
                (read(&response, part, direction), trace)
            }
            Err(failure @ (Failure::Connect(_) | Failure::Unanswered(_))) => {
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
            ReactionEnd::Retry(..) => "fault",
        };
        let participant = self.participant.to_string();
        histogram!("sagamore_gateway_call_seconds", "participant" => participant.clone())
            .record(took.as_secs_f64());
        counter!("sagamore_gateway_calls_total", "participant" => participant, "outcome" => outcome)
            .increment(1);
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
