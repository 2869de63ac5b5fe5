//! The state shared by the turn loop, the renewal and the probe: whether turns progress, whether
//! publishes are acknowledged, and the last survey. Times are arguments, and no clock is read.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_transport::{Error as TransportError, Scope};
use tokio::sync::Notify;

use crate::error::Error;
use crate::reads::Reads;
use crate::store::{PublishHealth, Standing, Survey};

/// The state shared by the tasks of one orchestrator.
#[derive(Default)]
pub(crate) struct Pulse {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    is_turning: bool,
    /// Incremented by every step of a turn.
    beats: u64,
    /// The beats at the last renewal that saw them change, and its time.
    beats_seen: Option<(u64, Timestamp)>,
    /// Whether the turn hung at the last renewal.
    is_hung: bool,
    turns: Publishes,
    probes: Publishes,
    reads: Reads,
    /// The error of the last publish, if it was not acknowledged.
    fault: Option<String>,
    /// The reason why replies cannot be consumed.
    read_fault: Option<String>,
    standing: Standing,
    survey: Option<Survey>,
    /// Incremented by every change of this orchestrator's partition rows, which voids older
    /// surveys.
    era: u64,
}

/// The publishes of one task, of which at most one is pending.
#[derive(Default)]
struct Publishes {
    begun: u64,
    is_pending: bool,
    has_failed: bool,
    acknowledged: u64,
    /// The value of `acknowledged` at the last renewal.
    acknowledged_seen: u64,
    /// The publish that was pending at the last renewal, and the time since when.
    pending_seen: Option<(u64, Timestamp)>,
}

/// The task that publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    Turn,
    Probe,
}

/// Marks a turn as running until it is dropped.
pub(crate) struct TurnGuard<'a>(&'a Pulse);

/// Marks a publish as pending until it is dropped.
pub(crate) struct Attempt<'a>(&'a Pulse, Publisher);

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a turn.
    pub fn turn(&self) -> TurnGuard<'_> {
        let mut state = self.state();
        state.is_turning = true;
        state.beats += 1;
        TurnGuard(self)
    }

    /// Records a step of the running turn.
    pub fn beat(&self) {
        self.state().beats += 1;
    }

    /// Whether a turn is running.
    pub fn is_turning(&self) -> bool {
        self.state().is_turning
    }

    /// Whether the running turn has made no step for `turn_max`, as far as calls of this function
    /// have seen.
    pub fn hangs(&self, now: Timestamp, turn_max: Duration) -> bool {
        let mut state = self.state();
        let beats = state.beats;
        state.is_hung = match state.beats_seen {
            Some((seen, since)) if state.is_turning && seen == beats => now.since(since) > turn_max,
            Some(_) | None => {
                state.beats_seen = Some((beats, now));
                false
            }
        };
        state.is_hung
    }

    /// Returns whether the turn hung at the last renewal and has made no step since.
    pub fn is_hung(&self) -> bool {
        let state = self.state();
        state.is_hung && state.beats_seen.is_some_and(|(seen, _)| seen == state.beats)
    }

    /// Begins a publish of this task.
    pub fn publish(&self, publisher: Publisher) -> Attempt<'_> {
        let mut state = self.state();
        let publishes = state.of(publisher);
        publishes.begun += 1;
        publishes.is_pending = true;
        Attempt(self, publisher)
    }

    /// Returns the result of the publishes since the last call. One that has been pending for
    /// `patience` counts as failed, and so does every publish while replies cannot be consumed.
    pub fn publishing(&self, now: Timestamp, patience: Duration, lease: Duration) -> PublishHealth {
        let mut state = self.state();
        let reads_fail = state.reads.fail(now, lease);
        let (turns, probes) =
            (state.turns.since_last(now, patience), state.probes.since_last(now, patience));
        match (turns, probes) {
            _ if reads_fail => PublishHealth::Failing,
            (PublishHealth::Failing, _) | (_, PublishHealth::Failing) => PublishHealth::Failing,
            (PublishHealth::Acknowledged, _) | (_, PublishHealth::Acknowledged) => {
                PublishHealth::Acknowledged
            }
            (PublishHealth::Idle, PublishHealth::Idle) => PublishHealth::Idle,
        }
    }

    /// Records that the replies of owned partitions cannot be consumed.
    pub fn cannot_read(&self, error: &Error, now: Timestamp, lease: Duration) {
        let mut state = self.state();
        state.reads.failed(now, lease);
        state.read_fault = Some(error.to_string());
    }

    /// Records a poll of replies without error.
    pub fn has_read(&self, has_records: bool, now: Timestamp, lease: Duration) {
        let mut state = self.state();
        state.reads.succeeded(has_records, now, lease);
        if !state.reads.fail(now, lease) {
            state.read_fault = None;
        }
    }

    /// Resets the failure of turns' publishes, because another orchestrator now sends their
    /// commands.
    pub fn forget_failed_turns(&self) {
        self.state().turns.has_failed = false;
    }

    /// Whether a probe is due: no turn's publish was acknowledged since the call that set `seen`,
    /// or the last probe failed.
    ///
    /// Only a probe clears the failure of a probe.
    pub fn needs_probe(&self, seen: &mut u64) -> bool {
        let state = self.state();
        let is_idle = std::mem::replace(seen, state.turns.acknowledged) == state.turns.acknowledged;
        is_idle || state.probes.has_failed
    }

    /// Returns this orchestrator's standing at the last renewal.
    pub fn standing(&self) -> Standing {
        self.state().standing
    }

    /// Returns the error of the last publish, if it was not acknowledged.
    pub fn fault(&self) -> Option<String> {
        let state = self.state();
        state.read_fault.clone().or_else(|| state.fault.clone())
    }

    /// Returns the era in which a survey begins.
    pub fn era(&self) -> u64 {
        self.state().era
    }

    /// Invalidates every survey that began earlier.
    pub fn new_era(&self) {
        let mut state = self.state();
        state.era += 1;
        state.survey = None;
    }

    /// Stores the survey for the next turn, unless it was voided since it began in `era`.
    pub fn report(&self, survey: Survey, era: u64) {
        let mut state = self.state();
        state.standing = survey.standing;
        if state.era == era {
            state.survey = Some(survey);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Takes the last survey, at most once.
    pub fn survey(&self) -> Option<Survey> {
        self.state().survey.take()
    }

    /// Waits for a survey.
    pub async fn surveyed(&self) {
        self.news.notified().await;
    }
}

impl State {
    fn of(&mut self, publisher: Publisher) -> &mut Publishes {
        match publisher {
            Publisher::Turn => &mut self.turns,
            Publisher::Probe => &mut self.probes,
        }
    }
}

impl Publishes {
    fn since_last(&mut self, now: Timestamp, patience: Duration) -> PublishHealth {
        let has_acknowledged = self.acknowledged > self.acknowledged_seen;
        self.acknowledged_seen = self.acknowledged;
        self.pending_seen = match self.pending_seen {
            _ if !self.is_pending => None,
            Some((begun, since)) if begun == self.begun => Some((begun, since)),
            Some(_) | None => Some((self.begun, now)),
        };
        let is_late = self.pending_seen.is_some_and(|(_, since)| now.since(since) >= patience);
        match (self.has_failed || is_late, has_acknowledged) {
            (true, _) => PublishHealth::Failing,
            (false, true) => PublishHealth::Acknowledged,
            (false, false) => PublishHealth::Idle,
        }
    }
}

impl Attempt<'_> {
    /// Ends the publish and returns its outcomes.
    ///
    /// An error about one record or topic proves that the brokers answer. So does any error beside
    /// an acknowledgement, such as that of a partition without a leader.
    pub fn end(self, outcomes: Vec<Result<(), TransportError>>) -> Vec<Result<(), TransportError>> {
        let worst = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .max_by_key(|error| error.scope());
        let mut state = self.0.state();
        state.beats += u64::from(self.1 == Publisher::Turn); // a probe is no step of a turn
        state.fault = worst.map(ToString::to_string);
        let publishes = state.of(self.1);
        let has_acknowledged = outcomes.iter().any(Result::is_ok);
        publishes.has_failed =
            !has_acknowledged && worst.is_some_and(|error| error.scope() == Scope::Transport);
        publishes.acknowledged += u64::from(has_acknowledged);
        drop(state);
        outcomes
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_turning = false;
        state.beats += 1;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.state().of(self.1).is_pending = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000)
    }

    #[test]
    fn a_turn_hangs_when_it_makes_no_step_for_longer_than_the_bound() {
        let pulse = Pulse::default();
        let turning = pulse.turn();
        assert!(!pulse.hangs(at(0), SECOND));
        assert!(!pulse.hangs(at(1), SECOND));
        assert!(pulse.hangs(at(2), SECOND));
        pulse.publish(Publisher::Probe).end(vec![Ok(())]);
        assert!(pulse.hangs(at(2), SECOND), "a probe is no step of the turn");
        assert!(pulse.is_hung());
        pulse.beat();
        assert!(!pulse.is_hung());
        assert!(!pulse.hangs(at(3), SECOND));
        drop(turning);
        assert!(!pulse.hangs(at(4), SECOND));
        assert!(!pulse.hangs(at(9), SECOND), "between two turns nothing hangs");
    }

    #[test]
    fn publishing_fails_by_an_error_of_the_brokers_or_by_silence_and_not_by_an_error_of_one_record()
    {
        let pulse = Pulse::default();
        let publish = |publisher, outcome| drop(pulse.publish(publisher).end(vec![outcome]));
        assert_eq!(pulse.publishing(at(0), SECOND, SECOND), PublishHealth::Idle);
        publish(Publisher::Probe, Ok(()));
        assert_eq!(pulse.publishing(at(0), SECOND, SECOND), PublishHealth::Acknowledged);
        assert_eq!(pulse.publishing(at(0), SECOND, SECOND), PublishHealth::Idle);
        publish(Publisher::Turn, Err(TransportError::Unavailable("no broker".into())));
        publish(Publisher::Probe, Ok(()));
        assert_eq!(
            pulse.publishing(at(1), SECOND, SECOND),
            PublishHealth::Failing,
            "a probe does not clear the failure of a turn"
        );
        publish(Publisher::Turn, Err(TransportError::denied_topic("WRITE", "a")));
        assert_eq!(pulse.publishing(at(2), SECOND, SECOND), PublishHealth::Idle);
        let attempt = pulse.publish(Publisher::Turn);
        assert_eq!(pulse.publishing(at(3), SECOND, SECOND), PublishHealth::Idle);
        assert_eq!(pulse.publishing(at(4), SECOND, SECOND), PublishHealth::Failing);
        attempt.end(vec![Err(TransportError::no_topic("a")), Ok(())]);
        assert_eq!(pulse.publishing(at(5), SECOND, SECOND), PublishHealth::Acknowledged);
        let leaderless = Err(TransportError::Unavailable("the partition has no leader".into()));
        pulse.publish(Publisher::Turn).end(vec![leaderless, Ok(())]);
        assert_eq!(pulse.publishing(at(6), SECOND, SECOND), PublishHealth::Acknowledged);
    }

    #[test]
    fn a_failed_probe_is_repeated_while_turns_publish() {
        let (pulse, mut seen) = (Pulse::default(), 0);
        let publish = |publisher, outcome| drop(pulse.publish(publisher).end(vec![outcome]));
        assert!(pulse.needs_probe(&mut seen), "nothing was published yet");
        publish(Publisher::Probe, Err(TransportError::Unavailable("no broker".into())));
        publish(Publisher::Turn, Ok(()));
        assert!(pulse.needs_probe(&mut seen));
        publish(Publisher::Probe, Ok(()));
        publish(Publisher::Turn, Ok(()));
        assert!(!pulse.needs_probe(&mut seen));
        assert!(pulse.needs_probe(&mut seen), "no turn has published since");
        assert_eq!(pulse.publishing(at(0), SECOND, SECOND), PublishHealth::Acknowledged);
    }

    #[test]
    fn a_survey_from_before_a_claim_is_void() {
        let pulse = Pulse::default();
        let era = pulse.era();
        pulse.report(Survey::default(), era);
        pulse.new_era();
        assert!(pulse.survey().is_none());
        pulse.report(Survey::default(), era);
        assert!(pulse.survey().is_none());
        pulse.report(Survey::default(), pulse.era());
        assert!(pulse.survey().is_some() && pulse.survey().is_none());
    }
}
