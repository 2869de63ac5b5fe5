//! Sharing the partitions: leases are prolonged, what nobody has is claimed, what is too much is given away.
//!
//! Orchestrators know each other by rows of the database alone. Each takes its fair share: the partitions by the number of
//! orchestrators that are there, rounded up.

use std::sync::atomic::Ordering;

use sagamore_core::Timestamp;
use sagamore_transport::Subscription;

use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::request::Request;
use crate::store::{Epochs, Survey};
use crate::turn::Debts;

/// A lease is prolonged this often before it would end.
const RENEWALS: u32 = 6;

impl Orchestrator {
    /// Looks around when it is time to: afterwards `epochs` holds what is owned, its sagas are in memory, what they have
    /// outstanding is sent again, and replies come from these partitions.
    pub(crate) async fn keep_ownership(&mut self, epochs: &mut Epochs, now: Timestamp) -> Result<(), Error> {
        let Some(lease) = self.options.lease else { return Ok(()) };
        if now < self.survey_due {
            return Ok(());
        }
        let survey = self.store.renew(&self.options.owner, lease, now).await?;
        let lost = lost(epochs, &survey);
        let surplus = if self.debts.is_empty() { surplus(epochs, &survey) } else { Vec::new() };
        let gone: Vec<u32> = lost.into_iter().chain(surplus).collect();
        self.let_go(epochs, &gone, now);
        let wanted = wanted(epochs, &survey);
        let given_up = given_up(epochs, &survey, &wanted);
        if !given_up.is_empty() {
            self.store.release(&self.options.owner, &given_up).await?;
            self.live.forget_partitions(&given_up); // a turn that was given up may have read some of them
        }
        let mut gained = Vec::new();
        if !wanted.is_empty() {
            gained = self.store.claim(&self.options.owner, lease, now, &wanted).await?;
        }
        for &(partition, epoch) in &gained {
            self.take_up(partition, now).await?; // one that fails here is ours in the rows, and is claimed again
            epochs.0.insert(partition, epoch);
        }
        if !gone.is_empty() || !gained.is_empty() {
            tracing::info!(owner = %self.options.owner, owns = epochs.0.len(), ?gone, ?gained, "partitions");
        }
        let owned: Vec<u32> = epochs.0.keys().copied().collect();
        if self.listening != owned || !gained.is_empty() {
            self.listen(owned).await?;
        }
        self.gauges.partitions.store(epochs.0.len(), Ordering::Relaxed);
        metrics::gauge!("sagamore_partitions_owned").set(crate::orchestrator::as_gauge(epochs.0.len()));
        metrics::counter!("sagamore_partitions_gained_total").increment(gained.len() as u64);
        self.take_handed(epochs).await?;
        self.survey_due = now.plus(lease / RENEWALS);
        Ok(())
    }

    /// Everything is forgotten; who waits asks again.
    pub(crate) fn forget_all(&mut self) {
        let waiting = self.live.forget();
        waiting.into_iter().for_each(|(id, rest)| self.add_request(Request::Watch { id, rest }));
        self.strays.forget();
        self.progress.clear();
        self.debts = Debts::default();
    }

    fn let_go(&mut self, epochs: &mut Epochs, gone: &[u32], now: Timestamp) {
        for partition in gone {
            epochs.0.remove(partition);
        }
        if !gone.is_empty() {
            self.live.forget_partitions(gone);
            self.abroad.look_soon(now); // who waited for them goes on waiting
        }
    }

    /// Replies come from the partitions that are owned, from what is committed of each.
    async fn listen(&mut self, owned: Vec<u32>) -> Result<(), Error> {
        self.hang_up(); // first: who is no owner any more takes nothing from its successor
        if !owned.is_empty() {
            let subscription = Subscription { partitions: Some(owned.clone()), ..self.options.subscription() };
            self.replies = Some(self.transport.subscribe(subscription).await?);
            self.listening = owned;
        }
        Ok(())
    }

    /// No reply is taken until partitions are listened to anew; what was taken and not marked comes again then.
    pub(crate) fn hang_up(&mut self) {
        self.strays.forget();
        self.progress.clear();
        self.replies = None;
        self.listening.clear();
        self.survey_at_once();
    }

    /// The end of a good stop: others need not wait for the leases to end.
    pub(crate) async fn leave(&mut self) {
        if self.options.lease.is_some()
            && let Err(error) = self.store.leave(&self.options.owner).await
        {
            tracing::warn!(%error, "the partitions are free when their leases end");
        }
    }

    /// What another orchestrator's word on who owns what means for the next turn: look around first.
    pub(crate) fn survey_at_once(&mut self) {
        self.survey_due = Timestamp(i64::MIN);
    }
}

/// Partitions that somebody else has taken.
fn lost(epochs: &Epochs, survey: &Survey) -> Vec<u32> {
    let theirs =
        survey.seats.iter().filter(|seat| epochs.0.get(&seat.partition).is_some_and(|ours| *ours != seat.epoch));
    theirs.map(|seat| seat.partition).collect()
}

/// What is more than the fair share, the highest partitions first.
fn surplus(epochs: &Epochs, survey: &Survey) -> Vec<u32> {
    let ours = survey.seats.iter().filter(|seat| epochs.0.get(&seat.partition) == Some(&seat.epoch)).count();
    epochs.0.keys().rev().take(ours.saturating_sub(share(survey))).copied().collect()
}

/// What is free, and not more than the fair share; rows that name us and are not held (after a turn that was given up)
/// first.
fn wanted(epochs: &Epochs, survey: &Survey) -> Vec<(u32, i64)> {
    let room = share(survey).saturating_sub(epochs.0.len());
    let not_held = |seat: &&crate::store::Seat| !epochs.owns(seat.partition);
    let ours = survey.seats.iter().filter(not_held).filter(|seat| seat.ours);
    let free = survey.seats.iter().filter(not_held).filter(|seat| seat.free && !seat.ours);
    ours.chain(free).take(room).map(|seat| (seat.partition, seat.epoch)).collect()
}

/// Rows that name us, and that are neither held nor wanted: too much, or left from a turn that was given up. Nobody else
/// would ever claim them, since our leases are prolonged.
fn given_up(epochs: &Epochs, survey: &Survey, wanted: &[(u32, i64)]) -> Vec<u32> {
    let is_wanted = |partition: u32| wanted.iter().any(|(wanted, _)| *wanted == partition);
    let idle =
        survey.seats.iter().filter(|seat| seat.ours && !epochs.owns(seat.partition) && !is_wanted(seat.partition));
    idle.map(|seat| seat.partition).collect()
}

fn share(survey: &Survey) -> usize {
    survey.seats.len().div_ceil(survey.members.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Seat;

    /// Each letter is a partition: `o` ours, `f` free, `t` theirs.
    fn survey(seats: &str, members: usize) -> Survey {
        let seat = |(partition, letter): (usize, char)| Seat {
            partition: u32::try_from(partition).expect("few"),
            epoch: 1,
            ours: letter == 'o',
            free: letter == 'f',
        };
        Survey { seats: seats.chars().enumerate().map(seat).collect(), members }
    }

    fn held(partitions: &[(u32, i64)]) -> Epochs {
        Epochs(partitions.iter().copied().collect())
    }

    #[test]
    fn everybody_takes_a_fair_share_of_what_is_free() {
        let check = |seats: &str, members, held_now: &[(u32, i64)], expected: &[u32]| {
            let wanted = wanted(&held(held_now), &survey(seats, members));
            assert_eq!(wanted.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), expected, "{seats}");
        };
        check("ffff", 1, &[], &[0, 1, 2, 3]);
        check("ffff", 2, &[], &[0, 1]);
        check("fffff", 2, &[], &[0, 1, 2]);
        check("tfft", 2, &[], &[1, 2]);
        check("offt", 3, &[(0, 1)], &[1]);
        check("foot", 1, &[], &[1, 2, 0]); // what names us first; and nothing that is another's
        check("tttt", 3, &[], &[]);
    }

    #[test]
    fn what_names_us_and_nobody_works_on_is_given_up() {
        let check = |seats: &str, members, held_now: &[(u32, i64)], expected: &[u32]| {
            let (epochs, survey) = (held(held_now), survey(seats, members));
            assert_eq!(given_up(&epochs, &survey, &wanted(&epochs, &survey)), expected, "{seats}");
        };
        check("oo", 1, &[], &[]); // after a turn that was given up both are claimed again
        check("oo", 2, &[], &[1]); // and with another one there only one of them
        check("oooo", 2, &[(0, 1), (1, 1)], &[2, 3]);
        check("ottf", 2, &[(0, 1)], &[]);
    }

    #[test]
    fn what_is_too_much_is_given_away_and_what_is_lost_is_let_go() {
        let four = held(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(surplus(&four, &survey("oooo", 1)), [] as [u32; 0]);
        assert_eq!(surplus(&four, &survey("oooo", 2)), [3, 2]);
        assert_eq!(surplus(&four, &survey("oooo", 3)), [3, 2]);
        let stale = held(&[(0, 1), (1, 0)]);
        assert_eq!(lost(&stale, &survey("otff", 2)), [1]);
    }
}
