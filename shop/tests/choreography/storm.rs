//! Chains under a seed: turns are dropped between any two awaits, events are redelivered late and
//! reordered, and orders become overdue. In the end every chain has ended as its plan allows, and
//! no cent or piece is lost or duplicated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sagamore::core::message::Event;
use sagamore::core::plan::{Chain, Plan, Seen, State};
use sagamore::sdk::Timestamp;
use sagamore_shop::order::Status;
use sagamore_shop::{choreography, order};

use crate::an_order;
use crate::street::Street;

const SEEDS: u64 = 150;
const ORDERS: usize = 6;
const ACTS: usize = 60;

/// Polls a future a number of times and then drops it, like a crash. Returns whether it completed.
fn poll_and_drop(future: impl Future, stops: usize) -> bool {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..=stops).any(|_| matches!(future.as_mut().poll(&mut context), Poll::Ready(_)))
}

async fn storm(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut street = Street::small_in_memory().await;
    street.add_customer("RICH", 2_000).await;
    let mut placed = 0;
    for _ in 0..ACTS {
        let service = rng.usize(0..4);
        match rng.u8(0..10) {
            0 | 1 if placed < ORDERS => {
                let customer = ["VINET", "TOMSP", "RICH", "NOBODY"][rng.usize(0..4)];
                let country = ["France", "France", "Ireland"][rng.usize(0..3)];
                let order = an_order(&placed.to_string(), customer, rng.i64(1..4), country);
                street.place(order).await.expect("the order is valid");
                placed += 1;
            }
            2 if rng.bool() => street.publish_again(&mut rng).await,
            2 => street.overdue(&rng.usize(0..ORDERS).to_string()).await,
            3 => street.restart(service),
            4 => street.advance(rng.u64(1..90_000)),
            5..=7 => {
                let stops = rng.usize(0..12);
                if !poll_and_drop(street.turn_of(service), stops) && rng.bool() {
                    street.restart(service); // the process dies too, not only its turn
                }
            }
            _ => street.turn_of(service).await,
        }
    }
    for _ in 0..40 {
        street.settle().await;
        street.advance(61_000); // retries are due within a minute
    }
    judge(&mut street, placed, seed).await;
}

async fn judge(street: &mut Street, placed: usize, seed: u64) {
    let plan = Arc::new(choreography::plan().unwrap_or_else(|error| panic!("{error}")));
    let mut chains: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in street.events().await {
        chains.entry(event.chain().key().to_owned()).or_default().push(event);
    }
    let (mut spent, mut sold) = (0, 0);
    for id in (0..placed).map(|number| number.to_string()) {
        let order =
            order::order(&street.shop.order, &id).await.expect("read").expect("the order exists");
        let state = fold(&plan, chains.get(&id).map(Vec::as_slice).unwrap_or_default());
        let wanted = match order.status {
            Status::Confirmed => State::Completed,
            Status::Cancelled => State::Compensated,
            Status::Pending => {
                panic!("seed {seed}: order {id} is left pending, its chain {state:?}")
            }
        };
        assert_eq!(state, wanted, "seed {seed}: order {id} is {}", order.status);
        if order.status == Status::Confirmed {
            spent += order.total_cents;
            sold += order.total_cents / 100; // 100 cents per piece
        }
    }
    assert_eq!(street.cents().await + spent, 1_050 + 2_000, "seed {seed}: money");
    assert_eq!(street.pieces().await + sold, 10, "seed {seed}: pieces");
    assert_eq!(street.waiting().await, 0, "seed {seed}: an inbox is not empty");
}

fn fold(plan: &Arc<Plan>, events: &[Event]) -> State {
    let mut chain = Chain::new(plan.clone());
    let overdue = events
        .iter()
        .filter_map(|event| event.causation.clone())
        .find(|cause| cause.contains("/fulfilment.overdue/"));
    if let (Some(id), Some(begun)) = (overdue, events.iter().find(|event| event.hop == 0)) {
        let name = "fulfilment.overdue".parse().expect("the name is valid");
        chain.take(Seen {
            id,
            name,
            causation: Some(begun.id()),
            hop: 1,
            at: begun.at,
            seen_at: begun.at,
        });
    }
    for event in events {
        let (causation, hop, at) = (event.causation.clone(), event.hop, event.at);
        chain.take(Seen {
            id: event.id(),
            name: event.name.clone(),
            causation,
            hop,
            at,
            seen_at: at,
        });
    }
    chain.state(Timestamp(0))
}

#[tokio::test]
async fn every_chain_reaches_an_end_of_its_plan_despite_crashes() {
    for seed in 0..SEEDS {
        storm(seed).await;
    }
}
