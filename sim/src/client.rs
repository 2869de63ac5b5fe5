//! Clients that start, repeat, cancel and read sagas. The checker compares the system with the
//! responses that they received.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::saga::IgnoreReason;
use sagamore_core::{Body, Name, SagaId};
use sagamore_engine::{Handle, Start, StartError, VerbError};

use crate::errand::Errand;
use crate::feast::Feast;
use crate::party::Party;
use crate::shop;
use crate::site::Site;
use crate::theme::Theme;

/// The time that a client waits for a response before it retries.
pub const PATIENCE_MS: i64 = 20_000;

/// A saga that a client starts.
#[derive(Clone, Debug)]
pub struct Wish {
    definition: Name,
    key: String,
    input: Body,
    other: Body,
    idempotency_key: Option<String>,
}

impl Wish {
    /// Draws an order, a party or a feast.
    pub fn draw(number: usize, theme: Theme, rng: &mut fastrand::Rng) -> Wish {
        let idempotency_key = rng.bool().then(|| format!("request-{number}"));
        let key = format!("{}", 10_248 + number);
        let of = |value: Result<Body, _>| {
            value.unwrap_or_else(|_: sagamore_core::body::Unreadable| Body::empty())
        };
        // orders out of ten wishes, and feasts out of eight others
        let (orders, feasts) = match theme {
            Theme::Verbs => (1, 5),
            Theme::Retention => (4, 1),
            Theme::General | Theme::Clocks | Theme::Leases | Theme::Outbox => (6, 1),
            Theme::Outsiders => (1, 0),
        };
        if theme == Theme::Outsiders && rng.u8(0..10) > 0 {
            let of_note = |note: &str| Errand { errand_id: key.clone(), note: note.to_owned() };
            let (input, other) = (of(Body::of(&of_note("a"))), of(Body::of(&of_note("b"))));
            return Wish { definition: name("errand"), key, input, other, idempotency_key };
        }
        if rng.u8(0..10) < orders {
            let order = shop::order(&key, rng);
            let mut other = order.clone();
            other.ship_to.city = "Lille".to_owned();
            let (input, other) = (of(Body::of(&order)), of(Body::of(&other)));
            return Wish { definition: name("checkout"), key, input, other, idempotency_key };
        }
        if rng.u8(0..8) < feasts {
            let feast = Feast::draw(&key, theme, rng);
            let other = Feast { refused: !feast.refused, ..feast.clone() };
            let (input, other) = (of(Body::of(&feast)), of(Body::of(&other)));
            return Wish { definition: name("feast"), key, input, other, idempotency_key };
        }
        let party = Party::draw(&key, theme, rng);
        let mut other = party.clone();
        other.band = other.band.other();
        let (input, other) = (of(Body::of(&party)), of(Body::of(&other)));
        Wish { definition: name("party"), key, input, other, idempotency_key }
    }

    fn id(&self) -> SagaId {
        SagaId::new(&self.definition, &self.key).expect("the key is valid")
    }

    fn start(&self) -> Start {
        let start = Start::new(self.definition.clone(), &self.key, self.input.clone());
        start.idempotency_key(self.idempotency_key.clone())
    }
}

/// Starts the sagas one after another, and repeats, cancels or reads earlier ones in between.
pub async fn client(site: Arc<Site>, wishes: Vec<Wish>) {
    let world = site.world.clone();
    let mut revisions = BTreeMap::new();
    for (index, wish) in wishes.iter().enumerate() {
        world.sleep(world.between(0, 1_500)).await;
        if world.percent(8) {
            cancel(&site, wish).await;
        }
        start(&site, wish).await;
        if wish.definition.as_str() == "feast" && world.percent(30) {
            world.sleep(world.between(0, 400)).await;
            cancel(&site, wish).await; // while commands are in flight
        }
        while world.percent(60) {
            world.sleep(world.between(0, 800)).await;
            let earlier = &wishes[world.below(index as u64 + 1) as usize];
            match world.below(10) {
                0 | 1 => start(&site, earlier).await,
                2 | 3 => start_otherwise(&site, earlier).await,
                4 | 5 => cancel(&site, earlier).await,
                _ => show(&site, earlier, &mut revisions).await,
            }
        }
    }
    site.client_is_done();
}

/// Repeats a start until it is accepted.
async fn start(site: &Site, wish: &Wish) {
    let (world, id) = (&site.world, wish.id());
    loop {
        let handle = handle(site).await;
        site.nudge();
        match world.patience(PATIENCE_MS, handle.start(wish.start())).await {
            Some(Ok(started)) => {
                world.log(|| format!("start of {id} accepted, existed: {}", started.existed));
                world.checker().accepted(world, id.as_str());
                if started.id != id {
                    world.violate("key-reuse", format!("a start of {id} returned {}", started.id));
                }
                if started.existed {
                    world.count("start repeated");
                }
                return;
            }
            None => world.count("start abandoned by its client and retried"),
            Some(Err(StartError::Unavailable(_) | StartError::Busy { .. })) => {
                world.count("start made again")
            }
            Some(Err(why)) => {
                world.violate("key-reuse", format!("{id} was refused for its own input: {why}"));
                return;
            }
        }
        world.sleep(world.between(10, 1_000)).await;
    }
}

/// Sends the same key with another input, which must be refused unless the saga was cancelled
/// before its start.
async fn start_otherwise(site: &Site, wish: &Wish) {
    let (world, id) = (&site.world, wish.id());
    let handle = handle(site).await;
    let mut start = Start { input: wish.other.clone(), ..wish.start() };
    if world.percent(50) {
        start.idempotency_key = Some(format!("other-{}", world.below(u64::MAX)));
    }
    let key = start.idempotency_key.clone();
    site.nudge();
    match world.patience(PATIENCE_MS, handle.start(start)).await {
        Some(Ok(_)) if world.checker().was_cancelled_early(id.as_str()) => {}
        Some(Ok(_)) => {
            world.violate("key-reuse", format!("a start with another body returned {id}"))
        }
        Some(Err(StartError::OtherInput(_))) => {
            world.count("other body refused");
            if let Some(key) = key.filter(|key| key.starts_with("other")) {
                world.checker().key_refused(&key);
            }
        }
        Some(Err(StartError::OtherRequest)) => world.count("other request refused"),
        Some(Err(_)) | None => {}
    }
}

async fn cancel(site: &Site, wish: &Wish) {
    let (world, id) = (&site.world, wish.id());
    let handle = handle(site).await;
    site.nudge();
    match world.patience(PATIENCE_MS, handle.cancel(id.clone())).await {
        Some(Ok(status)) => {
            world.log(|| format!("cancel of {id} accepted: {}", status.as_str()));
            world.count("cancel accepted");
            if world.checker().was_cancelled_early(id.as_str()) {
                world.count("cancel before the start");
            }
            // A stuck saga that goes forward cannot be cancelled, and a compensating one already
            // compensates.
            world.checker().cancel_accepted(id.as_str());
        }
        Some(Err(VerbError::Ignored(IgnoreReason::TooLate))) => world.count("cancel too late"),
        Some(Err(_)) | None => {}
    }
}

/// Reads a saga. Its revision must not decrease.
async fn show(site: &Site, wish: &Wish, revisions: &mut BTreeMap<String, u64>) {
    let (world, id) = (&site.world, wish.id());
    let handle = handle(site).await;
    if let Some(Ok(Some(detail))) = world.patience(PATIENCE_MS, handle.show(&id)).await {
        let known = revisions.entry(id.to_string()).or_insert(0);
        if detail.header.revision < *known {
            world.violate(
                "time-travel",
                format!("{id} was read at revision {known}, then at {}", detail.header.revision),
            );
        }
        *known = detail.header.revision;
        world.count("saga read");
    }
}

/// Returns a handle of an open orchestrator, usually of the youngest one.
pub async fn handle(site: &Site) -> Handle {
    loop {
        if let Some(handle) = site.handle() {
            return handle;
        }
        site.world.sleep(20).await;
    }
}

/// Parses a valid name.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("the name is valid")
}
