//! The tasks beside the turn loop: the renewal of leases and membership, and the probe of the
//! transport. Neither decides on a saga.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};
use sagamore_database::Clock;
use sagamore_transport::{Transport, wire};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::options::Options;
use crate::pulse::{Publisher, Pulse};
use crate::store::{PublishHealth, RenewalRequest, Standing, Store};

/// Renewals per length of a lease.
const RENEWALS: u32 = 6;
/// The time after which a pending publish counts as failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Renews the leases and the membership of one orchestrator while its turn loop makes progress.
pub struct Renewal {
    pub(crate) options: Arc<Options>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
}

/// Publishes to [`wire::PROBE_TOPIC`] when turns have published nothing.
pub struct Probe {
    pub(crate) options: Arc<Options>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) acknowledged_seen: u64,
}

impl Renewal {
    /// Renews once, and passes a survey to the next turn. Does nothing while a turn hangs, or
    /// without a lease.
    pub async fn renew(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(lease) = self.options.lease else { return Ok(()) };
        if planted(Bug::RenewalWaitsForTurn) && self.pulse.is_turning() {
            return Ok(());
        }
        if self.pulse.hangs(now, self.options.turn_max) {
            tracing::error!(owner = %self.options.owner, "the turn hangs: leases are not renewed");
            return Ok(());
        }
        let publishing = match self.pulse.publishing(now, PATIENCE, lease) {
            _ if planted(Bug::MembershipIgnoresPublishing) => PublishHealth::Acknowledged,
            publishing => publishing,
        };
        let era = self.pulse.era();
        let renewal = RenewalRequest { owner: &self.options.owner, lease, publishing };
        self.store.renew(renewal, now).await?;
        let survey = self.store.survey(&self.options.owner, lease, now).await?;
        let fails = matches!(survey.standing, Standing::CannotPublish | Standing::Evicted);
        metrics::gauge!("sagamore_publishes_fail").set(f64::from(u8::from(fails)));
        self.pulse.report(survey, era);
        Ok(())
    }

    /// Returns the pause between two renewals.
    pub fn pause(&self) -> Duration {
        pause(&self.options)
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            if let Err(error) = self.renew(Timestamp(self.clock.now_ms())).await {
                tracing::warn!(%error, "cannot renew the leases, retrying");
            }
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                () = tokio::time::sleep(self.pause()) => {}
            }
        }
    }
}

impl Probe {
    /// Publishes one record, unless a turn's publish was acknowledged since the last call and the
    /// last probe succeeded. The next renewal reports the outcome. Does nothing without a lease.
    pub async fn probe(&mut self) {
        if self.options.lease.is_none() || !self.pulse.needs_probe(&mut self.acknowledged_seen) {
            return;
        }
        let attempt = self.pulse.publish(Publisher::Probe);
        let published = self.transport.publish_each(vec![wire::probe(&self.options.owner)]).await;
        for error in attempt.end(published).into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "the probe was not acknowledged");
        }
    }

    /// Returns the pause between two probes.
    pub fn pause(&self) -> Duration {
        pause(&self.options)
    }

    async fn run(mut self) {
        loop {
            self.probe().await;
            tokio::time::sleep(self.pause()).await;
        }
    }
}

fn pause(options: &Options) -> Duration {
    options.lease.unwrap_or(Duration::from_secs(3600)) / RENEWALS
}

/// Both tasks, as spawned by `run`. Aborted on drop.
pub(crate) struct Keepers {
    renewal: JoinHandle<()>,
    probe: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Keepers {
    pub fn spawn(renewal: Renewal, probe: Probe) -> Keepers {
        let (stop, stopped) = oneshot::channel();
        Keepers {
            renewal: tokio::spawn(renewal.run(stopped)),
            probe: tokio::spawn(probe.run()),
            stop: Some(stop),
        }
    }

    /// Ends both tasks. Waits for a running renewal, so that none re-adds this orchestrator as a
    /// member afterwards.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.probe.abort();
        let _ = (&mut self.renewal).await; // a panicked renewal has stopped too
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.renewal.abort();
        self.probe.abort();
    }
}
