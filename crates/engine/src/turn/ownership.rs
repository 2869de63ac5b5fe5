//! Distribution of the partitions: after each renewal's survey, free partitions are claimed and
//! surplus ones released.
//!
//! Orchestrators know each other only by rows of the database. Each takes its fair share: the
//! partitions divided by the members, rounded up.

use std::sync::atomic::Ordering;

use sagamore_core::Timestamp;
use sagamore_transport::{Error as TransportError, Subscription};

use crate::error::Error;
use crate::options::Options;
use crate::orchestrator::Orchestrator;
use crate::request::Request;
use crate::store::{Epochs, Seat, Standing, Survey};
use crate::turn::{BlockedSagas, Debts, Takeover};

impl Orchestrator {
    /// Acts on a new survey: claims and releases partitions, subscribes to those owned, and starts
    /// a takeover of each gained one.
    ///
    /// # Errors
    /// After an error the next turn reads a survey of its own.
    pub(crate) async fn update_ownership(
        &mut self,
        epochs: &mut Epochs,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(lease) = self.options.lease else { return Ok(()) };
        let survey = match self.pulse.survey() {
            _ if self.surveys_at_once => self.store.survey(&self.options.owner, lease, now).await?,
            Some(survey) => survey,
            None => return Ok(()),
        };
        self.survey_at_once();
        let lost = lost(epochs, &survey);
        let gives = self.debts.is_empty() || survey.standing == Standing::Evicted;
        let surplus = if gives { surplus(epochs, &survey) } else { Vec::new() };
        let gone: Vec<u32> = lost.into_iter().chain(surplus).collect();
        self.drop_partitions(epochs, &gone, now);
        let wanted = wanted(epochs, &survey);
        let given_up = given_up(epochs, &survey, &wanted);
        if !given_up.is_empty() {
            let released = self.store.release(&self.options.owner, &given_up).await;
            self.pulse.new_era();
            released?;
        }
        let mut gained = Vec::new();
        if !wanted.is_empty() {
            let claimed = self.store.claim(&self.options.owner, lease, now, &wanted).await;
            self.pulse.new_era();
            gained = claimed?;
        }
        for &(partition, epoch) in &gained {
            epochs.0.insert(partition, epoch);
            self.takeover.begin(partition);
        }
        if !gone.is_empty() || !gained.is_empty() {
            let (owner, owns) = (&self.options.owner, epochs.0.len());
            tracing::info!(owner, owns, ?gone, ?gained, "partitions changed");
        }
        let owned: Vec<u32> = epochs.0.keys().copied().collect();
        if self.subscribed_to != owned || !gained.is_empty() {
            let subscribed = self.subscribe_to(owned).await;
            subscribed.inspect_err(|error| self.pulse.cannot_read(error, now, lease))?;
        }
        self.gauges.partitions.store(epochs.0.len(), Ordering::Relaxed);
        metrics::gauge!("sagamore_partitions_owned")
            .set(crate::orchestrator::as_gauge(epochs.0.len()));
        metrics::counter!("sagamore_partitions_gained_total").increment(gained.len() as u64);
        self.take_handed(epochs).await?;
        self.surveys_at_once = false;
        Ok(())
    }

    /// Drops all state in memory. Waiters are queued again.
    pub(crate) fn reset(&mut self) {
        let waiting = self.live.forget();
        waiting.into_iter().for_each(|(id, rest)| self.add_request(Request::Watch { id, rest }));
        self.strays.forget();
        self.blocked = BlockedSagas::default();
        self.progress.clear();
        self.debts = Debts::default();
        self.rejections.clear();
        self.takeover = Takeover::default();
    }

    fn drop_partitions(&mut self, epochs: &mut Epochs, gone: &[u32], now: Timestamp) {
        for partition in gone {
            epochs.0.remove(partition);
        }
        if gone.is_empty() {
            return;
        }
        self.live.forget_partitions(gone);
        self.blocked.retain(|id| self.live.knows(id));
        self.takeover.forget(gone);
        // its new owner sends them
        self.debts.commands.retain(|unsent| !gone.contains(&unsent.command.reply_to.partition));
        if self.debts.commands.is_empty() && self.debts.dead_letters.is_empty() {
            self.pulse.forget_failed_turns(); // no later publish would reset the count
        }
        self.remote.poll_soon(now); // the waiters of these sagas remain
    }

    /// Subscribes to the owned partitions, from their committed offsets.
    async fn subscribe_to(&mut self, owned: Vec<u32>) -> Result<(), Error> {
        // unsubscribe first, so that a former owner takes nothing from its successor
        self.unsubscribe();
        if !owned.is_empty() {
            let subscription =
                Subscription { partitions: Some(owned.clone()), ..self.options.subscription() };
            let subscribed = match self.transport.subscribe(subscription.clone()).await {
                Err(TransportError::UnknownTopic(_)) => {
                    let Options { reply_topic, reply_partitions, .. } = &*self.options;
                    self.transport.create_topic(reply_topic, *reply_partitions).await?;
                    self.transport.subscribe(subscription).await
                }
                subscribed => subscribed,
            };
            self.replies = Some(subscribed?);
            self.subscribed_to = owned;
        }
        Ok(())
    }

    /// Drops the subscription. Replies that were taken and not committed are redelivered after the
    /// next one.
    pub(crate) fn unsubscribe(&mut self) {
        self.strays.forget();
        self.blocked.forget_replies();
        self.progress.clear();
        self.replies = None;
        self.subscribed_to.clear();
        self.survey_at_once();
    }

    /// Releases the partitions on an orderly stop, so that others need not wait for the leases to
    /// end.
    pub(crate) async fn leave(&mut self) {
        if self.options.lease.is_some()
            && let Err(error) = self.store.leave(&self.options.owner).await
        {
            tracing::warn!(%error, "cannot release the partitions before their leases end");
        }
    }

    /// Makes the next turn read a survey.
    pub(crate) fn survey_at_once(&mut self) {
        self.surveys_at_once = true;
    }
}

/// Returns partitions that another orchestrator has claimed, or that this one's renewal has
/// released.
fn lost(epochs: &Epochs, survey: &Survey) -> Vec<u32> {
    let held = survey.seats.iter().filter_map(|seat| Some((seat, epochs.0.get(&seat.partition)?)));
    held.filter(|(seat, ours)| seat.epoch != **ours || !seat.ours)
        .map(|(seat, _)| seat.partition)
        .collect()
}

/// Returns the partitions beyond the fair share, highest first.
fn surplus(epochs: &Epochs, survey: &Survey) -> Vec<u32> {
    let is_held = |seat: &&Seat| seat.ours && epochs.0.get(&seat.partition) == Some(&seat.epoch);
    let held = survey.seats.iter().filter(is_held).map(|seat| seat.partition);
    let held: Vec<u32> = held.collect();
    held.iter().rev().take(held.len().saturating_sub(share(survey))).copied().collect()
}

/// Selects free partitions up to the fair share. Only a member claims.
///
/// Rows that name this orchestrator without being held, as left by a dropped turn, come first.
fn wanted(epochs: &Epochs, survey: &Survey) -> Vec<Seat> {
    if survey.standing != Standing::Member {
        return Vec::new();
    }
    let room = share(survey).saturating_sub(epochs.0.len());
    let not_held = |seat: &&Seat| !epochs.owns(seat.partition);
    let ours = survey.seats.iter().filter(not_held).filter(|seat| seat.ours);
    let free = survey.seats.iter().filter(not_held).filter(|seat| seat.free && !seat.ours);
    ours.chain(free).take(room).cloned().collect()
}

/// Returns rows that name this orchestrator, and are neither held nor wanted. No other orchestrator
/// could claim them, since their leases are renewed.
fn given_up(epochs: &Epochs, survey: &Survey, wanted: &[Seat]) -> Vec<u32> {
    let is_wanted = |partition: u32| wanted.iter().any(|wanted| wanted.partition == partition);
    let idle = survey
        .seats
        .iter()
        .filter(|seat| seat.ours && !epochs.owns(seat.partition) && !is_wanted(seat.partition));
    idle.map(|seat| seat.partition).collect()
}

fn share(survey: &Survey) -> usize {
    if survey.standing == Standing::Evicted {
        0
    } else {
        survey.seats.len().div_ceil(survey.members.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a survey with a letter per partition: `o` ours, `f` free, `t` theirs.
    fn survey(seats: &str, members: usize) -> Survey {
        let seat = |(partition, letter): (usize, char)| Seat {
            partition: u32::try_from(partition).expect("few"),
            epoch: 1,
            ours: letter == 'o',
            free: letter == 'f',
            lease_until: 0,
        };
        Survey {
            seats: seats.chars().enumerate().map(seat).collect(),
            members,
            standing: Standing::Member,
        }
    }

    fn held(partitions: &[(u32, i64)]) -> Epochs {
        Epochs(partitions.iter().copied().collect())
    }

    #[test]
    fn each_member_claims_its_fair_share_of_free_partitions() {
        let check = |seats: &str, members, held_now: &[(u32, i64)], expected: &[u32]| {
            let wanted = wanted(&held(held_now), &survey(seats, members));
            assert_eq!(
                wanted.iter().map(|seat| seat.partition).collect::<Vec<_>>(),
                expected,
                "{seats}"
            );
        };
        check("ffff", 1, &[], &[0, 1, 2, 3]);
        check("ffff", 2, &[], &[0, 1]);
        check("fffff", 2, &[], &[0, 1, 2]);
        check("tfft", 2, &[], &[1, 2]);
        check("offt", 3, &[(0, 1)], &[1]);
        check("foot", 1, &[], &[1, 2, 0]); // own rows first, and none of another owner
        check("tttt", 3, &[], &[]);
    }

    #[test]
    fn idle_rows_that_name_this_orchestrator_are_released() {
        let check = |seats: &str, members, held_now: &[(u32, i64)], expected: &[u32]| {
            let (epochs, survey) = (held(held_now), survey(seats, members));
            assert_eq!(given_up(&epochs, &survey, &wanted(&epochs, &survey)), expected, "{seats}");
        };
        check("oo", 1, &[], &[]); // after a dropped turn both are claimed again
        check("oo", 2, &[], &[1]); // with a second member only one of them is
        check("oooo", 2, &[(0, 1), (1, 1)], &[2, 3]);
        check("ottf", 2, &[(0, 1)], &[]);
    }

    #[test]
    fn surplus_partitions_are_released_and_lost_ones_dropped() {
        let four = held(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(surplus(&four, &survey("oooo", 1)), [] as [u32; 0]);
        assert_eq!(surplus(&four, &survey("oooo", 2)), [3, 2]);
        assert_eq!(surplus(&four, &survey("oooo", 3)), [3, 2]);
        let stale = held(&[(0, 1), (1, 0)]);
        assert_eq!(lost(&stale, &survey("otff", 2)), [1]);
        assert_eq!(
            lost(&held(&[(0, 1), (1, 1)]), &survey("of", 2)),
            [1],
            "released by the renewal"
        );
    }

    #[test]
    fn only_a_member_claims_and_an_evicted_one_releases_everything() {
        let check = |standing, wanted_then: usize, surplus_then: &[u32]| {
            let (epochs, survey) = (held(&[(0, 1)]), Survey { standing, ..survey("off", 1) });
            assert_eq!(wanted(&epochs, &survey).len(), wanted_then, "{standing:?}");
            assert_eq!(surplus(&epochs, &survey), surplus_then, "{standing:?}");
        };
        check(Standing::Member, 2, &[]);
        check(Standing::Joining, 0, &[]);
        check(Standing::CannotPublish, 0, &[]);
        check(Standing::Evicted, 0, &[0]);
    }
}
