//! The tasks beside the turn loop: the renewal of leases and membership, and the probe that proves that publishes are
//! acknowledged. Both stand still when they are not driven; neither decides about a saga.

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
use crate::pulse::{Publisher, Publishing, Pulse};
use crate::store::{Renewing, Standing, Store};

/// How often leases are renewed in the length of one.
const RENEWALS: u32 = 6;
/// How long a publish is under way without an acknowledgement until it counts as failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Renews the leases and the membership of one orchestrator while its turn loop makes progress.
pub struct Renewal {
    pub(crate) options: Arc<Options>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
}

/// Publishes to [`wire::PROBE_TOPIC`] where turns have published nothing.
pub struct Probe {
    pub(crate) options: Arc<Options>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) acknowledged_seen: u64,
}

impl Renewal {
    /// Renews once, and hands what the rows show to the next turn. Renews nothing while a turn hangs. Without a lease
    /// there is nothing to do.
    pub async fn renew(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(lease) = self.options.lease else { return Ok(()) };
        if planted(Bug::RenewalWaitsForTurn) && self.pulse.is_turning() {
            return Ok(());
        }
        if self.pulse.hangs(now, self.options.turn_max) {
            tracing::error!(owner = %self.options.owner, "the turn hangs: leases are not renewed");
            return Ok(());
        }
        let publishing = match self.pulse.publishing(now, PATIENCE) {
            _ if planted(Bug::MembershipIgnoresPublishing) => Publishing::Acknowledged,
            publishing => publishing,
        };
        let era = self.pulse.era();
        let renewing = Renewing { owner: &self.options.owner, lease, publishing };
        self.store.renew(renewing, now).await?;
        let survey = self.store.survey(&self.options.owner, lease, now).await?;
        let fails = matches!(survey.standing, Standing::CannotPublish | Standing::Evicted);
        metrics::gauge!("sagamore_publishes_fail").set(f64::from(u8::from(fails)));
        self.pulse.report(survey, era);
        Ok(())
    }

    /// How long to wait between two renewals.
    pub fn pause(&self) -> Duration {
        pause(&self.options)
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            if let Err(error) = self.renew(Timestamp(self.clock.now_ms())).await {
                tracing::warn!(%error, "renew the leases");
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
    /// Publishes one record, unless a publish of a turn was acknowledged since the last call and the last probe did not fail.
    /// The next renewal reports the outcome. Without a lease there is nothing to do.
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

    /// How long to wait between two probes.
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

/// Both tasks, as `run` has them. Dropped, they are aborted.
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

    /// Ends both. A renewal under way is waited for: afterwards nothing names this orchestrator a member again.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.probe.abort();
        let _ = (&mut self.renewal).await; // one that panicked renews nothing either
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.renewal.abort();
        self.probe.abort();
    }
}
