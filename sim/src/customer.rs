//! Customers of the choreographed shop: they place orders, repeat them, and place others under the
//! same id. An impatient one reports orders as overdue.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::plan::Plan;
use sagamore_core::{Event, StepKey};
use sagamore_sdk::StartOutcome;
use sagamore_shop::order::Rejected;
use sagamore_shop::order::choreographed::place_each;
use sagamore_shop::{Order, choreography, order};
use sagamore_transport::wire::encode_event;
use sagamore_transport::{Record, Transport};

use crate::clocks::ProcessClock;
use crate::shop;
use crate::site::Site;
use crate::theme::Theme;

/// Draws orders.
pub fn orders(count: usize, rng: &mut fastrand::Rng) -> Vec<Order> {
    (0..count).map(|number| shop::order(&format!("{}", 10_248 + number), rng)).collect()
}

/// Places the orders, singly or several together, and repeats or reads earlier ones in between.
pub async fn customer(site: Arc<Site>, orders: Vec<Order>) {
    let world = site.world.clone();
    let mut placed = 0;
    let pause_max = if world.theme == Theme::Outbox { 200 } else { 1_500 };
    while placed < orders.len() {
        world.sleep(world.between(0, pause_max)).await;
        let together = if world.percent(30) { 2 + world.below(3) as usize } else { 1 };
        let wanted = &orders[placed..orders.len().min(placed + together)];
        insist(&site, wanted).await;
        placed += wanted.len();
        while world.percent(40) {
            world.sleep(world.between(0, 800)).await;
            let earlier = &orders[world.below(placed as u64) as usize];
            match world.below(3) {
                0 => insist(&site, std::slice::from_ref(earlier)).await,
                1 => order_otherwise(&site, earlier).await,
                _ => read_order(&site, earlier).await,
            }
        }
    }
    site.client_is_done();
}

/// Repeats orders until all are accepted.
async fn insist(site: &Site, wanted: &[Order]) {
    let world = &site.world;
    let mut wanted: Vec<&Order> = wanted.iter().collect();
    while !wanted.is_empty() {
        let answers = ask(site, &wanted).await;
        let mut left = Vec::new();
        for (order, answer) in wanted.into_iter().zip(answers) {
            let id = id(order);
            match answer {
                Some(Ok(StartOutcome::Never)) => {
                    return world
                        .violate("lost-saga", format!("{id} is refused as one that never starts"));
                }
                Some(Ok(begun @ (StartOutcome::New | StartOutcome::Before))) => {
                    world.log(|| format!("{id} accepted: {begun:?}"));
                    world.checker().order_accepted(world, &id);
                    if begun == StartOutcome::Before {
                        world.count("order placed again");
                    }
                }
                Some(Err(why)) => {
                    let why = format!("{id} was refused for its own order: {why}");
                    return world.violate("key-reuse", why);
                }
                None => left.push(order),
            }
        }
        wanted = left;
        if !wanted.is_empty() {
            world.sleep(world.between(10, 1_000)).await;
        }
    }
}

/// Places another order under the same id, which must be refused.
async fn order_otherwise(site: &Site, wanted: &Order) {
    let mut other = wanted.clone();
    other.ship_to.city = "Lille".to_owned();
    match ask(site, &[&other]).await.pop().flatten() {
        Some(Err(Rejected::OrderExists(_))) => site.world.count("other order refused"),
        Some(given) => site
            .world
            .violate("key-reuse", format!("another order under {} returned {given:?}", id(wanted))),
        None => {}
    }
}

/// Reads an accepted order, which must exist.
async fn read_order(site: &Site, wanted: &Order) {
    let database = site.services[0].1.for_process(&"customer".into());
    match order::order(&database, &wanted.order_id).await {
        Ok(Some(_)) => site.world.count("order read"),
        Ok(None) => {
            site.world.violate("lost-saga", format!("{} was accepted, but is missing", id(wanted)))
        }
        Err(_) => {}
    }
}

/// Places orders and returns the results, `None` where the result is unknown. Sometimes gives up
/// half-way.
async fn ask(site: &Site, wanted: &[&Order]) -> Vec<Option<Result<StartOutcome, Rejected>>> {
    let world = &site.world;
    let (database, outbox) = (site.services[0].1.for_process(&"customer".into()), site.outbox());
    let patience = if world.percent(30) { world.between(1, 40) } else { 20_000 };
    let orders = wanted.iter().copied().cloned().collect();
    if wanted.len() > 1 {
        world.count("orders placed together");
    }
    let placed = place_each(&database, &outbox, orders, world.clock(0));
    let answers = world.patience(patience, placed).await;
    world.nudge();
    let answers = answers.map(|answers| answers.into_iter().map(Result::ok).collect());
    let answers: Vec<_> = answers.unwrap_or_else(|| wanted.iter().map(|_| None).collect());
    answers
        .iter()
        .filter(|answer| answer.is_none())
        .for_each(|_| world.count("order to be placed again"));
    answers
}

/// Publishes the overdue event of random orders from time to time, regardless of their age.
pub async fn impatient(site: Arc<Site>) {
    let (world, plan) = (site.world.clone(), choreography::plan().expect("the plan is valid"));
    let transport = site.hub.for_process(&"impatient".into(), &ProcessClock::right(&world));
    let impatient = "impatient".parse().expect("the name is valid");
    while !world.is_healed() {
        world.sleep(world.between(100, 8_000)).await;
        let begun = world.checker().first_events();
        let Some(event) = begun.get(world.below(begun.len() as u64) as usize) else { continue };
        let Some(overdue) = overdue(&plan, event) else { return };
        let record = encode_event(&overdue, &impatient);
        while !insists(&site, transport.as_ref(), &record).await {
            world.count("overdue event perhaps not published");
            world.sleep(world.between(10, 1_000)).await;
        }
    }
}

/// Publishes the deadline's event. Returns whether it is durable: no other process would publish it
/// again, and its effects would be lost with the log.
async fn insists(site: &Site, transport: &dyn Transport, record: &Record) -> bool {
    let deaths = site.hub.deaths();
    let published = async {
        transport.create_topic(&record.topic, 2).await?;
        transport.publish(vec![record.clone()]).await
    };
    let published = published.await.is_ok();
    site.hub.sync();
    published && !site.hub.is_failing() && site.hub.deaths() == deaths
}

/// Builds the event that the observer would publish.
fn overdue(plan: &Plan, begun: &Event) -> Option<Event> {
    let name = plan.overdue.clone()?;
    Some(Event {
        key: StepKey { step: name.clone(), ..begun.key.clone() },
        name,
        causation: Some(begun.id()),
        hop: begun.hop + 1,
        at: begun.at.plus(Duration::from_millis(plan.deadline_ms?)),
        ..begun.clone()
    })
}

fn id(order: &Order) -> String {
    format!("{}:{}", choreography::NAME, order.order_id)
}
