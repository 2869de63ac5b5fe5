//! Operators decide about stuck steps and lasting faults: they retry, skip or resolve. Each acts on
//! a view that may be stale, concurrently with another operator.

use std::sync::Arc;

use sagamore_core::SagaId;
use sagamore_core::saga::{Rescue, Verb};
use sagamore_engine::VerbError;

use crate::client::{PATIENCE_MS, handle, name};
use crate::party::Outside;
use crate::site::Site;
use crate::theme::Theme;

/// The maximum age of an operator's view.
const STALE_MS_MAX: i64 = 3_000;

/// The steps of errands that an operator does not retry.
const NEVER_REPEATED: [&str; 3] = ["wrap-parcel", "insure-parcel", "settle-policy"];

/// Runs the operator with this number.
pub async fn operator(site: Arc<Site>, outside: Outside, number: usize) {
    let world = site.world.clone();
    let mut verbs = 0;
    loop {
        let pause = if world.theme == Theme::Verbs {
            world.between(2_000, 9_000)
        } else {
            world.between(1_000, 6_000)
        };
        world.sleep(pause).await;
        if site.is_operator_away() {
            continue;
        }
        let seen = world.checker().awaiting_operator(world.now());
        for (id, is_stuck, steps) in seen {
            let id: SagaId = id.parse().expect("the checker has valid ids");
            let step = steps.get(world.below(steps.len() as u64) as usize);
            let Some(step) = step else {
                world.violate("hopeless", format!("{id} is stuck, but no step needs an operator"));
                continue;
            };
            let waits = if world.theme == Theme::Verbs { 20 } else { 70 };
            if !is_stuck && world.percent(waits) {
                continue; // the fault may end without an operator
            }
            if world.percent(30) {
                world.sleep(world.between(1, STALE_MS_MAX)).await;
            }
            verbs += 1;
            let reason = format!("operator {number}, verb {verbs}");
            decide(&site, &outside, &id, step, reason).await;
        }
    }
}

async fn decide(site: &Site, outside: &Outside, id: &SagaId, step: &str, reason: String) {
    let world = &site.world;
    let verb = match world.below(4) {
        0 => Verb::Skip,
        1 => Verb::Resolve,
        _ => Verb::Retry,
    };
    let verb = match verb {
        // it may have run, and would run again
        Verb::Retry if NEVER_REPEATED.contains(&step) => Verb::Resolve,
        verb => verb,
    };
    if verb == Verb::Retry && world.percent(80) {
        outside.repair(id.key());
    }
    let rescue = Rescue::new(name(step), verb, reason.clone());
    let handle = handle(site).await;
    site.nudge();
    let answer = world.patience(PATIENCE_MS, handle.rescue(id.clone(), rescue)).await;
    world.log(|| format!("{reason}: {} {id} {step}: {answer:?}", verb.as_str()));
    match answer {
        Some(Ok(_)) => world.checker().verb_accepted(world, &reason),
        Some(Err(VerbError::Ignored(_))) => {
            world.count("verb of an old view refused");
            world.checker().verb_refused(world, &reason);
        }
        Some(Err(_)) | None => world.count("verb with an unknown result"),
    }
}
