//! Those who place orders in a choreographed shop, place them again, and others under the same id; and those who say that an
//! order takes too long.

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

/// Orders by chance, so many.
pub fn orders(count: usize, rng: &mut fastrand::Rng) -> Vec<Order> {
    (0..count).map(|number| shop::order(&format!("{}", 10_248 + number), rng)).collect()
}

/// Places its orders, one after another or some together, and comes back to earlier ones in between.
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
                _ => look_at(&site, earlier).await,
            }
        }
    }
    site.client_is_done();
}

/// Asks until all are accepted.
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
                    return world.violate("lost-saga", format!("{id} is said never to begin"));
                }
                Some(Ok(begun @ (StartOutcome::New | StartOutcome::Before))) => {
                    world.tell(|| format!("{id} accepted: {begun:?}"));
                    world.checker().placed(world, &id);
                    if begun == StartOutcome::Before {
                        world.count("order placed again");
                    }
                }
                Some(Err(why)) => {
                    let why = format!("{id}, ordered with what it was ordered with: {why}");
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

/// The same id with another order has to be refused.
async fn order_otherwise(site: &Site, wanted: &Order) {
    let mut other = wanted.clone();
    other.ship_to.city = "Lille".to_owned();
    match ask(site, &[&other]).await.pop().flatten() {
        Some(Err(Rejected::OrderExists(_))) => site.world.count("other order refused"),
        Some(given) => {
            site.world.violate("key-reuse", format!("{}, ordered otherwise: {given:?}", id(wanted)))
        }
        None => {}
    }
}

/// What was accepted is there.
async fn look_at(site: &Site, wanted: &Order) {
    let database = site.services[0].1.for_process(&"customer".into());
    match order::order(&database, &wanted.order_id).await {
        Ok(Some(_)) => site.world.count("order read"),
        Ok(None) => {
            site.world.violate("lost-saga", format!("{} was accepted, and is gone", id(wanted)))
        }
        Err(_) => {}
    }
}

/// What comes of placing them; none where that is not known. Sometimes it is given up half-way.
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

/// Says now and then of some order that it takes too long, whether that is so or not.
pub async fn impatient(site: Arc<Site>) {
    let (world, plan) = (site.world.clone(), choreography::plan().expect("the plan is sound"));
    let transport = site.hub.for_process(&"impatient".into(), &ProcessClock::right(&world));
    let impatient = "impatient".parse().expect("a name");
    while !world.is_healed() {
        world.sleep(world.between(100, 8_000)).await;
        let begun = world.checker().begun();
        let Some(event) = begun.get(world.below(begun.len() as u64) as usize) else { continue };
        let Some(overdue) = overdue(&plan, event) else { return };
        let record = encode_event(&overdue, &impatient);
        while !insists(&site, transport.as_ref(), &record).await {
            world.count("deadline perhaps not told");
            world.sleep(world.between(10, 1_000)).await;
        }
    }
}

/// Publishes the deadline's event; whether it survives the machine. Nobody but its sender would send it again: what it led
/// to would be committed, and lost with the log.
async fn insists(site: &Site, transport: &dyn Transport, record: &Record) -> bool {
    let deaths = site.hub.deaths();
    let told = async {
        transport.create_topic(&record.topic, 2).await?;
        transport.publish(vec![record.clone()]).await
    };
    let told = told.await.is_ok();
    site.hub.sync();
    told && !site.hub.is_failing() && site.hub.deaths() == deaths
}

/// As the observer tells it.
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
