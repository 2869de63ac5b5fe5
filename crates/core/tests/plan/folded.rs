//! Chains folded from observed events, in any order and with repeats.

use std::sync::Arc;

use sagamore_core::plan::{Anomaly, Chain, Seen, State, Taken, UNEXPECTED_MAX};
use sagamore_core::{Plan, Timestamp};
use serde_json::json;

use crate::fixture::{DEADLINE_MS, name, shop, shop_with, visit};
use crate::run::{Outcome, Run, STARTED_AT};

/// Returns events one second apart, each caused by the event of the given name.
fn seen(events: &[(&str, &str)]) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for (index, (event, cause)) in events.iter().enumerate() {
        let hop = all.iter().find(|seen| seen.id == *cause).map_or(0, |cause| cause.hop + 1);
        let causation = (!cause.is_empty()).then(|| (*cause).to_owned());
        let (event, number) = event.split_once('#').unwrap_or((event, ""));
        let at = Timestamp(STARTED_AT.0 + 1_000 * index as i64);
        all.push(Seen {
            id: format!("{event}{number}"),
            name: name(event),
            causation,
            hop,
            at,
            seen_at: at,
        });
    }
    all
}

fn chain(plan: Plan, events: Vec<Seen>) -> Chain {
    let mut chain = Chain::new(Arc::new(plan));
    for seen in events {
        chain.take(seen);
    }
    chain
}

fn after(ms: u64) -> Timestamp {
    Timestamp(STARTED_AT.0 + i64::try_from(ms).unwrap())
}

const CREATED: (&str, &str) = ("order.created", "");
const PAID: (&str, &str) = ("payment.success", "order.created");
const RESERVED: (&str, &str) = ("inventory.updated", "payment.success");
const SCHEDULED: (&str, &str) = ("shipping.scheduled", "inventory.updated");
const CONFIRMED: (&str, &str) = ("order.confirmed", "shipping.scheduled");
const NOT_RESERVED: (&str, &str) = ("inventory.failed", "payment.success");
const REFUNDED: (&str, &str) = ("payment.refunded", "inventory.failed");
const CANCELLED: (&str, &str) = ("order.cancelled", "inventory.failed");

#[test]
fn the_end_is_the_same_for_every_order_of_deliveries() {
    let plan = Arc::new(shop());
    let (mut completed, mut compensated) = (0, 0);
    for seed in 0..2_000 {
        let (mut events, outcome) = Run::to_the_end(&plan, seed, seed % 2 == 0);
        let mut rng = fastrand::Rng::with_seed(seed);
        let repeats = rng.choose_multiple(events.clone(), 3);
        let expected_repeats = repeats.len() as u64;
        let events_told = events.len();
        events.extend(repeats);
        rng.shuffle(&mut events);

        let mut chain = Chain::new(Arc::clone(&plan));
        for seen in events {
            let before = chain.state(after(0));
            assert!(!matches!(before, State::Anomalous(_)), "seed {seed}: {before:?}");
            chain.take(seen);
        }
        assert_eq!((chain.repeats(), chain.dropped()), (expected_repeats, 0), "seed {seed}");
        assert_eq!((chain.deadline(), chain.waits_for()), (None, vec![]), "seed {seed}");
        assert_eq!(chain.tree().len(), events_told, "seed {seed}");
        match (chain.state(after(10 * DEADLINE_MS)), outcome) {
            (State::Completed, Outcome::Completed) => completed += 1,
            (State::Compensated, Outcome::Compensated) => compensated += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(
        completed > 100 && compensated > 100,
        "{completed} completed, {compensated} compensated"
    );
}

#[test]
fn random_runs_of_a_rejected_plan_leave_a_part_done() {
    let check = |pointer: &str, left: &[&str], stays: &str| {
        let plan = shop_with(&[(pointer, json!(left))]);
        let half = (0..2_000).map(|seed| Run::to_the_end(&plan, seed, false).1);
        let half = half.filter(
            |outcome| matches!(outcome, Outcome::Half(names) if names.contains(&name(stays))),
        );
        assert!(half.count() > 10 && !sagamore_core::plan::check(&plan).is_empty());
    };
    check("/begins/undo/on", &["payment.failed", "inventory.failed"], "create");
    check("/reactions/0/undo/on", &["inventory.failed"], "charge");
    check("/reactions/0/undo/on", &["shipping.failed"], "charge");
}

#[track_caller]
fn check(events: &[(&str, &str)], soon: State, late: State) {
    let forward = chain(shop(), seen(events));
    let backward = chain(shop(), seen(events).into_iter().rev().collect());
    for chain in [forward, backward] {
        assert_eq!(chain.state(after(8_000)), soon);
        assert_eq!(chain.state(after(3 * DEADLINE_MS)), late);
    }
}

#[test]
fn a_chain_goes_forward_until_no_service_can_act() {
    check(&[], State::Running, State::Running);
    check(&[CREATED], State::Running, State::Stuck);
    check(&[CREATED, PAID, RESERVED, SCHEDULED], State::Running, State::Stuck);
    check(&[CREATED, PAID, RESERVED, SCHEDULED, CONFIRMED], State::Completed, State::Completed);
}

#[test]
fn a_chain_compensates_until_no_undo_is_owed() {
    check(&[CREATED, PAID, NOT_RESERVED], State::Compensating, State::HalfCompensated);
    check(&[CREATED, PAID, NOT_RESERVED, CANCELLED], State::Compensating, State::HalfCompensated);
    check(
        &[CREATED, PAID, NOT_RESERVED, CANCELLED, REFUNDED],
        State::Compensated,
        State::Compensated,
    );
}

#[test]
fn the_deadline_alone_may_fail_the_pivot() {
    let overdue = ("shop.overdue", "");
    let failed = ("shipping.failed", "shop.overdue");
    let undone = ["order.cancelled", "payment.refunded", "inventory.released"]
        .map(|event| (event, "shipping.failed"));
    check(&[CREATED, overdue], State::Running, State::Stuck);
    check(&[CREATED, overdue, failed], State::Compensating, State::HalfCompensated);
    let all = [&[CREATED, overdue, failed][..], &undone].concat();
    check(&all, State::Compensated, State::Compensated);
}

#[test]
fn a_contradiction_to_the_plan_is_reported_at_once() {
    let check = |events: &[(&str, &str)], anomaly: Anomaly| {
        let anomalous = State::Anomalous(anomaly);
        check(events, anomalous.clone(), anomalous);
    };
    check(
        &[CREATED, ("order.lost", "order.created")],
        Anomaly::Unexpected { event: name("order.lost") },
    );
    check(
        &[CREATED, PAID, ("payment.success#2", "order.created")],
        Anomaly::Double { event: name("payment.success") },
    );
    check(
        &[CREATED, PAID, ("payment.failed", "order.created")],
        Anomaly::BothOutcomes {
            reaction: name("charge"),
            first: name("payment.success"),
            second: name("payment.failed"),
        },
    );
    check(
        &[CREATED, PAID, RESERVED, SCHEDULED, ("payment.refunded", "inventory.updated")],
        Anomaly::BackAfterPivot {
            pivot: name("shipping.scheduled"),
            back: name("payment.refunded"),
        },
    );
}

#[test]
fn a_lost_event_is_reported_once_the_chain_is_late() {
    let orphan = |event, causation: &str| {
        State::Anomalous(Anomaly::Orphan { event: name(event), causation: causation.to_owned() })
    };
    check(
        &[CREATED, RESERVED, SCHEDULED, CONFIRMED],
        State::Running,
        orphan("inventory.updated", "payment.success"),
    );
    check(
        &[CREATED, NOT_RESERVED, CANCELLED, REFUNDED],
        State::Compensating,
        orphan("inventory.failed", "payment.success"),
    );
    check(&[PAID, RESERVED], State::Running, orphan("payment.success", "order.created"));
    let undone = ["order.cancelled", "payment.refunded", "inventory.released"]
        .map(|event| (event, "shipping.failed"));
    let all_but_overdue = [&[CREATED, ("shipping.failed", "shop.overdue")][..], &undone].concat();
    check(&all_but_overdue, State::Compensating, orphan("shipping.failed", "shop.overdue"));
    let gap = State::Anomalous(Anomaly::Gap { event: name("payment.success") });
    check(
        &[CREATED, ("inventory.updated", "order.created"), SCHEDULED, CONFIRMED],
        State::Running,
        gap,
    );
}

#[test]
fn without_a_deadline_nothing_is_late() {
    let chain = chain(visit(), seen(&[("bell.rung", "")]));
    assert_eq!((chain.deadline(), chain.state(Timestamp(i64::MAX))), (None, State::Running));
}

#[test]
fn a_chain_of_an_unknown_version_is_stored_without_checks() {
    let mut chain = Chain::of_unknown_version(7);
    for seen in seen(&[CREATED, PAID, ("order.lost", "")]) {
        assert_eq!(chain.take(seen), Taken::New);
    }
    assert_eq!(chain.state(after(DEADLINE_MS)), State::UnknownVersion(7));
    assert_eq!(
        (chain.tree().len(), chain.waits_for().len(), chain.anomalies(after(0)).len()),
        (3, 0, 0)
    );
}

#[test]
fn awaited_services_are_listed_with_the_start_of_the_wait() {
    let check = |events: &[(&str, &str)], waits: &[(&str, &str, &[&str], u64)], owed: usize| {
        let chain = chain(shop(), seen(events));
        let told: Vec<_> = chain
            .waits_for()
            .into_iter()
            .map(|wait| (wait.service, wait.reaction, wait.events, wait.since))
            .collect();
        let expected: Vec<_> = waits
            .iter()
            .map(|(service, reaction, events, ms)| {
                (
                    name(service),
                    name(reaction),
                    events.iter().map(|event| name(event)).collect::<Vec<_>>(),
                    after(*ms),
                )
            })
            .collect();
        assert_eq!(told, expected);
        assert_eq!(chain.owed().len(), owed);
    };
    check(&[CREATED], &[("payment", "charge", &["payment.success", "payment.failed"], 0)], 0);
    check(
        &[CREATED, PAID],
        &[("inventory", "reserve", &["inventory.updated", "inventory.failed"], 1_000)],
        0,
    );
    check(
        &[CREATED, PAID, RESERVED, SCHEDULED],
        &[("order", "confirm", &["order.confirmed"], 3_000)],
        0,
    );
    check(&[CREATED, PAID, RESERVED, SCHEDULED, CONFIRMED], &[], 0);
    let cancel = ("order", "create", &["order.cancelled"][..], 2_000);
    check(
        &[CREATED, PAID, NOT_RESERVED],
        &[cancel, ("payment", "charge", &["payment.refunded"], 2_000)],
        2,
    );
    check(&[CREATED, PAID, NOT_RESERVED, REFUNDED], &[cancel], 1);
    check(
        &[CREATED, RESERVED],
        &[
            ("payment", "charge", &["payment.success", "payment.failed"], 0),
            ("shipping", "ship", &["shipping.scheduled", "shipping.failed"], 1_000),
        ],
        0,
    );
    check(
        &[CREATED, REFUNDED],
        &[
            ("inventory", "reserve", &["inventory.failed"], 1_000),
            ("shipping", "ship", &["shipping.failed"], 1_000),
        ],
        0,
    );
}

#[test]
fn each_part_has_a_status() {
    let check = |events: &[(&str, &str)], wanted: [&str; 5]| {
        let chain = chain(shop(), seen(events));
        let stages = chain.stages();
        let told = stages
            .iter()
            .map(|stage| format!("{:?}", stage.status).to_lowercase())
            .collect::<Vec<_>>();
        assert_eq!(told, wanted, "{events:?}");
        for stage in stages.iter().filter(|stage| stage.told.is_some()) {
            assert!(
                stage.part.role(&stage.told.expect("told").name).is_some(),
                "{}",
                stage.part.name
            );
        }
    };
    check(&[CREATED], ["done", "asked", "waiting", "waiting", "waiting"]);
    check(&[CREATED, PAID], ["done", "done", "asked", "waiting", "waiting"]);
    check(&[CREATED, RESERVED], ["done", "asked", "done", "asked", "waiting"]);
    check(&[CREATED, PAID, NOT_RESERVED], ["undoing", "undoing", "refused", "waiting", "waiting"]);
    check(
        &[CREATED, PAID, NOT_RESERVED, REFUNDED, CANCELLED],
        ["undone", "undone", "refused", "waiting", "waiting"],
    );
    check(&[CREATED, PAID, RESERVED, SCHEDULED, CONFIRMED], ["done"; 5]);
    let kinds: Vec<_> = shop().parts().map(|part| part.kind().as_str().to_owned()).collect();
    assert_eq!(kinds, ["compensatable", "compensatable", "compensatable", "pivot", "retriable"]);
}

#[test]
fn an_undo_that_waits_for_another_is_owed_with_it() {
    let plan = shop_with(&[("/begins/undo/on", json!(["payment.failed", "payment.refunded"]))]);
    let owed = chain(plan, seen(&[CREATED, PAID, NOT_RESERVED])).owed();
    let events: Vec<_> = owed.iter().map(|wait| (wait.events[0].as_str(), wait.since)).collect();
    assert_eq!(events, [("payment.refunded", after(2_000)), ("order.cancelled", after(2_000))]);
}

#[test]
fn an_undo_may_take_as_long_as_a_chain_counted_from_its_failure() {
    let check = |events: &[(&str, &str)], deadline: Option<u64>| {
        let chain = chain(shop(), seen(events));
        assert_eq!(chain.deadline(), deadline.map(after));
        if let Some(deadline) = deadline {
            assert_eq!((chain.due(after(deadline - 1)), chain.due(after(deadline))), (false, true));
        }
    };
    check(&[], None);
    check(&[CREATED, PAID], Some(DEADLINE_MS));
    check(&[CREATED, PAID, NOT_RESERVED, CANCELLED], Some(DEADLINE_MS + 2_000));
    check(&[CREATED, PAID, NOT_RESERVED, CANCELLED, REFUNDED], None);
}

#[test]
fn the_tree_is_ordered_by_causes_and_hops() {
    let check = |events: Vec<Seen>, expected: &[&str]| {
        let chain = chain(shop(), events);
        let lines: Vec<_> = chain
            .tree()
            .iter()
            .map(|branch| format!("{}{}", " ".repeat(branch.depth), branch.seen.name))
            .collect();
        assert_eq!(lines, expected);
    };
    let events = seen(&[CREATED, PAID, NOT_RESERVED, REFUNDED, CANCELLED]);
    let whole = [
        "order.created",
        " payment.success",
        "  inventory.failed",
        "   order.cancelled",
        "   payment.refunded",
    ];
    check(events.clone(), &whole);
    check(events.clone().into_iter().rev().collect(), &whole);
    let without_paid =
        events.into_iter().filter(|seen| seen.name != name("payment.success")).collect();
    check(
        without_paid,
        &["order.created", "inventory.failed", " order.cancelled", " payment.refunded"],
    );
    check(
        seen(&[("order.created", "payment.success"), PAID]),
        &["order.created", " payment.success"],
    );
}

#[test]
fn surplus_events_are_counted_and_not_stored() {
    let mut chain = Chain::new(Arc::new(shop()));
    let event = |name_of: &str, id: &str| Seen {
        id: id.into(),
        name: name(name_of),
        causation: None,
        hop: 0,
        at: after(0),
        seen_at: after(0),
    };
    assert_eq!(chain.take(event("order.created", "1")), Taken::New);
    assert_eq!(chain.take(event("order.created", "1")), Taken::Repeat);
    assert_eq!(chain.take(event("order.created", "2")), Taken::New);
    assert_eq!(chain.take(event("order.created", "3")), Taken::Dropped);
    for index in 0..UNEXPECTED_MAX {
        assert_eq!(
            chain.take(event(&format!("lost.{index}"), &format!("lost/{index}"))),
            Taken::New
        );
    }
    assert_eq!(chain.take(event("lost.more", "lost/more")), Taken::Dropped);
    assert_eq!((chain.repeats(), chain.dropped(), chain.seen().len()), (1, 2, 2 + UNEXPECTED_MAX));
}
