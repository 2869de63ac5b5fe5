//! Ownership of partitions: no lease is lost while it is renewed.

use std::collections::BTreeMap;

use crate::world::{LATE_MS_MAX, World};

/// By how much another member's success is newer than the failures for which a member is evicted.
const NEWER_BY_MS: i64 = 3_000;
/// For so long after a jump, transactions may be under way that go by the time before it.
const ERA_MS: i64 = 3 * LATE_MS_MAX;
/// So many renewals in a row are enough to see the others' rows.
const RENEWALS_MAX: u32 = 4;
/// And so many turns to act on them: the first may have begun before.
const TURNS_MAX: u32 = 2;

/// Another orchestrator's row.
pub(super) struct Member {
    pub owner: String,
    pub seen_until: i64,
    pub able_since: i64,
    pub failing_since: i64,
    pub published_at: i64,
}

/// An orchestrator all of whose publishes fail.
#[derive(Default)]
struct Failing {
    renewals: u32,
    /// The second renewal since: its row cannot say any more that it publishes.
    since: i64,
    /// Renewals in a row at which it owned partitions that are others' by the rows.
    too_many: u32,
    /// Turns that have ended since the first of these. The turn loop acts on what a renewal shows, and it may stall.
    turns: u32,
}

/// Which orchestrator has which partition, and when each renewed its leases.
#[derive(Default)]
pub(super) struct Owners {
    /// Reply partition -> owner; without one, an empty text.
    pub seats: BTreeMap<i64, String>,
    /// Reply partition -> who has claimed it last, released or not: a claim alone raises its epoch.
    claimed: BTreeMap<i64, String>,
    /// Owner -> the moment for which it renewed last, and the length of its lease.
    renewed: BTreeMap<String, (i64, i64)>,
    failing: BTreeMap<String, Failing>,
    pub members: Vec<Member>,
    /// Partitions that were gained, with the tick, until a turn without a takeover has ended since.
    gained: BTreeMap<i64, u64>,
    /// When the clock of leases jumped last.
    jumped_at: Option<i64>,
}

impl Owners {
    /// A renewal that began at this moment, by the world and by the server, has succeeded.
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
            *failing = Failing::default(); // its lease may have ended: it joins again, and its failures begin again
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
                format!("{owner} cannot publish, others can, and it owns partitions"),
            );
        }
    }

    /// A turn of this orchestrator has ended, well or not.
    pub fn turn_ended(&mut self, owner: &str) {
        if let Some(failing) = self.failing.get_mut(owner).filter(|failing| failing.too_many > 0) {
            failing.turns += 1;
        }
    }

    /// A publish of an orchestrator has failed, or was acknowledged.
    pub fn publishes(&mut self, owner: &str, is_failed: bool) {
        if is_failed {
            self.failing.entry(owner.to_owned()).or_default();
        } else {
            self.failing.remove(owner);
        }
    }

    /// Whether publishes of some orchestrator fail.
    pub fn some_fail(&self) -> bool {
        !self.failing.is_empty()
    }

    /// The clock of leases has jumped: they may end at once, and moments from before it are not to be compared.
    pub fn clock_jumped(&mut self, world: &World) {
        self.jumped_at = Some(world.now());
        self.renewed.clear();
        self.failing.clear();
        self.members.clear();
    }

    /// A transaction was committed after which the partition has this owner.
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
                "{owner} claims partition {partition}, and {before} renewed its lease {ago} ms ago"
            );
            world.violate("lease-lost", detail);
        }
        world.count("partition changes hands");
    }

    /// A turn of this orchestrator has ended, and it takes nothing over. Returns the partitions that it gained, with the tick:
    /// everything that was outstanding in them was sent since.
    pub fn checked(&mut self, owner: &str) -> BTreeMap<i64, u64> {
        let seats = &self.seats;
        self.gained
            .extract_if(.., |partition, _| seats.get(partition).is_some_and(|seat| seat == owner))
            .collect()
    }

    /// Whether nobody has claimed this partition since this orchestrator did.
    pub fn claimed_last(&self, owner: &str, partition: i64) -> bool {
        self.claimed.get(&partition).is_some_and(|known| known == owner)
    }

    /// Whether this orchestrator owns this partition.
    pub fn has(&self, owner: &str, partition: i64) -> bool {
        self.seats.get(&partition).is_some_and(|known| known == owner)
    }
}
