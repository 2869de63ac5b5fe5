//! Ownership of partitions: no orchestrator loses a lease that it renews.

use std::collections::BTreeMap;

use crate::world::{LATE_MS_MAX, World};

/// The minimum time by which another member's success follows the failures of an evicted member.
const NEWER_BY_MS: i64 = 3_000;
/// The time after a jump of the clock in which older transactions may still run.
const ERA_MS: i64 = 3 * LATE_MS_MAX;
/// Consecutive renewals after which an orchestrator must have read the others' rows.
const RENEWALS_MAX: u32 = 4;
/// Turns within which it must have acted on them. The first turn may have started earlier.
const TURNS_MAX: u32 = 2;

/// The row of another orchestrator.
pub(super) struct Member {
    pub owner: String,
    pub seen_until: i64,
    pub able_since: i64,
    pub failing_since: i64,
    pub published_at: i64,
}

/// An orchestrator whose publishes all fail.
#[derive(Default)]
struct FailingPublisher {
    renewals: u32,
    /// The server's time at the second renewal since the failures began. From then on, the
    /// orchestrator's row cannot claim that it publishes.
    since: i64,
    /// Consecutive renewals at which it owned partitions, although the rows show it as evicted.
    too_many: u32,
    /// Turns that have ended since the first of these renewals. A turn acts on a renewal, and may
    /// stall.
    turns: u32,
}

/// The owner of each partition, and the renewals of leases.
#[derive(Default)]
pub(super) struct Owners {
    /// The owner of each reply partition, or an empty text.
    pub seats: BTreeMap<i64, String>,
    /// The last claimant of each reply partition, released or not. Only a claim raises the epoch.
    claimed: BTreeMap<i64, String>,
    /// The time of each owner's last renewal, and the length of its lease.
    renewed: BTreeMap<String, (i64, i64)>,
    failing: BTreeMap<String, FailingPublisher>,
    pub members: Vec<Member>,
    /// Gained partitions with their tick, until a turn without a takeover has ended.
    gained: BTreeMap<i64, u64>,
    /// The time of the last jump of the leases' clock.
    jumped_at: Option<i64>,
}

impl Owners {
    /// Records a successful renewal that began at this time, by the simulation and by the server.
    pub fn renewed(
        &mut self,
        world: &World,
        owner: &str,
        (at, servers): (i64, i64),
        lease_ms: i64,
    ) {
        if self.jumped_at.is_some_and(|jumped_at| at <= jumped_at) {
            return;
        }
        let before = self.renewed.insert(owner.to_owned(), (at, lease_ms));
        let Some(failing) = self.failing.get_mut(owner) else { return };
        if before.is_none_or(|(before, _)| world.now() - before > lease_ms) {
            // the lease may have expired: the orchestrator joins again, and its failures start
            // again
            *failing = FailingPublisher::default();
        }
        failing.renewals += 1;
        if failing.renewals == 2 {
            failing.since = servers;
        }
        let shows = |member: &Member| {
            let is_able =
                member.able_since > 0 && member.failing_since == 0 && member.seen_until >= servers;
            is_able && member.published_at >= failing.since.max(member.able_since) + NEWER_BY_MS
        };
        let is_evicted = failing.renewals >= 2
            && self.members.iter().any(|member| member.owner != owner && shows(member));
        let owns = self.seats.values().any(|seat| seat == owner);
        let is_owner = is_evicted && owns;
        (failing.too_many, failing.turns) =
            if is_owner { (failing.too_many + 1, failing.turns) } else { (0, 0) };
        if is_evicted && !owns {
            world.count("orchestrator that cannot publish owns nothing");
        }
        if failing.too_many >= RENEWALS_MAX && failing.turns >= TURNS_MAX {
            world.violate(
                "mute-owner",
                format!("{owner} cannot publish but owns partitions, although others can publish"),
            );
        }
    }

    /// Records the end of a turn of this orchestrator, successful or not.
    pub fn turn_ended(&mut self, owner: &str) {
        if let Some(failing) = self.failing.get_mut(owner).filter(|failing| failing.too_many > 0) {
            failing.turns += 1;
        }
    }

    /// Records the result of an orchestrator's publish.
    pub fn publishes(&mut self, owner: &str, is_failed: bool) {
        if is_failed {
            self.failing.entry(owner.to_owned()).or_default();
        } else {
            self.failing.remove(owner);
        }
    }

    /// Whether publishes of any orchestrator fail.
    pub fn some_fail(&self) -> bool {
        !self.failing.is_empty()
    }

    /// Records a jump of the leases' clock. Leases may expire at once, and earlier times are not
    /// comparable.
    pub fn clock_jumped(&mut self, world: &World) {
        self.jumped_at = Some(world.now());
        self.renewed.clear();
        self.failing.clear();
        self.members.clear();
    }

    /// Records a committed owner of a partition.
    pub fn owned(&mut self, world: &World, partition: i64, owner: String, tick: u64) {
        if !owner.is_empty() {
            self.claimed.insert(partition, owner.clone());
        }
        let before = self.seats.insert(partition, owner.clone());
        if before.as_ref() == Some(&owner) {
            return;
        }
        self.gained.insert(partition, tick);
        let Some(before) = before else { return };
        if let Some((at, lease_ms)) = self.renewed.get(&before)
            && !owner.is_empty()
            && world.now() <= at + lease_ms
            && self.jumped_at.is_none_or(|jumped_at| world.now() - jumped_at > ERA_MS)
        {
            let ago = world.now() - at;
            let detail = format!(
                "{owner} claims partition {partition}, but {before} renewed its lease {ago} ms ago"
            );
            world.violate("lease-lost", detail);
        }
        world.count("partition changes hands");
    }

    /// Returns the partitions that this orchestrator gained, with the tick since which all
    /// outstanding commands must have been sent. Called after a turn without a takeover.
    pub fn checked(&mut self, owner: &str) -> BTreeMap<i64, u64> {
        let seats = &self.seats;
        self.gained
            .extract_if(.., |partition, _| seats.get(partition).is_some_and(|seat| seat == owner))
            .collect()
    }

    /// Whether this orchestrator was the last to claim this partition.
    pub fn claimed_last(&self, owner: &str, partition: i64) -> bool {
        self.claimed.get(&partition).is_some_and(|known| known == owner)
    }

    /// Whether this orchestrator owns this partition.
    pub fn has(&self, owner: &str, partition: i64) -> bool {
        self.seats.get(&partition).is_some_and(|known| known == owner)
    }
}
