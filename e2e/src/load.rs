//! The load of a campaign: clients that place orders, repeat them, read them, and remember every answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::random::Random;
use crate::site::{ORCHESTRATORS, Response, Site};

/// Customers with money enough.
pub const CUSTOMERS: u64 = 200;
/// Products with stock enough.
pub const PRODUCTS: u64 = 60;
/// Clients at the usual load.
const CLIENTS: u64 = 8;
/// Clients while the system is overloaded.
pub const CLIENTS_OVERLOADED: u64 = 80;
/// Pause of a client between two orders: 8 clients place about 16 orders a second.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a client waits for an outcome.
const WAIT_S: u64 = 5;

/// What clients know of one order.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// The body it was placed with.
    pub body: String,
    /// Whether any response accepted it.
    pub accepted: bool,
    /// The final status that a client was told: completed or compensated.
    pub outcome: Option<String>,
    /// The highest revision that was read.
    pub revision: u64,
}

/// What all clients know, and every contradiction that one of them saw.
#[derive(Default)]
pub struct Ledger {
    promises: Mutex<BTreeMap<String, Promise>>,
    violations: Mutex<Vec<String>>,
    /// Requests by what came of them.
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
    number: AtomicU64,
}

/// Clients at work until it is dropped.
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Ledger {
    /// A copy of what is known.
    pub fn promises(&self) -> BTreeMap<String, Promise> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a contradiction, with the invariant's name first.
    pub fn violate(&self, what: String) {
        println!("   VIOLATION {what}");
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// All contradictions so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One more of this kind.
    pub fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// Orders placed so far, answered or not.
    pub fn placed(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// An accepted order whose outcome no client knows yet, if there is one.
    pub fn some_open(&self, random: &mut Random) -> Option<String> {
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<&String> = promises
            .iter()
            .filter(|(_, promise)| promise.accepted && promise.outcome.is_none())
            .map(|(id, _)| id)
            .collect();
        let at = random.below(open.len().max(1) as u64);
        open.get(usize::try_from(at).unwrap_or(0)).map(|id| (*id).clone())
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Promise)) {
        change(
            self.promises
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(id.to_owned())
                .or_default(),
        );
    }

    /// Compares what a response says of an order with what was said before.
    fn hear(&self, id: &str, response: &Response) {
        let Ok(said) = serde_json::from_str::<Value>(&response.body) else { return };
        let (status, revision) =
            (said["status"].as_str().unwrap_or_default(), said["revision"].as_u64());
        let mut contradiction = None;
        self.update(id, |promise| {
            promise.accepted = true;
            let is_final = matches!(status, "completed" | "compensated");
            match &promise.outcome {
                Some(outcome) if outcome != status => {
                    contradiction =
                        Some(format!("split-outcome: {id} was {outcome} and is {status}"));
                }
                _ if is_final => promise.outcome = Some(status.to_owned()),
                _ => {}
            }
            promise.revision = promise.revision.max(revision.unwrap_or(0));
        });
        contradiction.into_iter().for_each(|what| self.violate(what));
    }
}

impl Load {
    /// Starts so many clients, each with a pause between two orders.
    pub fn start(
        site: &Arc<Site>,
        ledger: &Arc<Ledger>,
        seed: u64,
        clients: u64,
        pause: Duration,
    ) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|number| {
            let (site, ledger, ends) = (site.clone(), ledger.clone(), ends.clone());
            let random = Random::new(seed ^ (number + 1).wrapping_mul(0x9e37_79b9));
            std::thread::spawn(move || Client { site, ledger, random, pause }.work(&ends))
        });
        Load { clients: clients.collect(), ends }
    }

    /// The usual load.
    pub fn usual(site: &Arc<Site>, ledger: &Arc<Ledger>, seed: u64) -> Load {
        Load::start(site, ledger, seed, CLIENTS, PAUSE)
    }

    /// Has every client end after its order.
    pub fn stop(self) {
        self.ends.store(true, Ordering::SeqCst);
        for client in self.clients {
            let _ = client.join(); // one that panicked has printed why
        }
    }
}

struct Client {
    site: Arc<Site>,
    ledger: Arc<Ledger>,
    random: Random,
    pause: Duration,
}

impl Client {
    fn work(mut self, ends: &AtomicBool) {
        while !ends.load(Ordering::SeqCst) {
            let number = self.ledger.number.fetch_add(1, Ordering::Relaxed);
            let id = format!("o-{number}");
            let body = self.order(&id, 1);
            self.place(&id, &body);
            match self.random.below(20) {
                0..=2 => self.place_again(&id, &body),
                3 => self.place_another(&id),
                4..=8 => self.read(&id),
                _ => {}
            }
            std::thread::sleep(self.pause);
        }
    }

    /// Orders of which about one in five is refused: no money, no stock, no carrier.
    fn order(&mut self, id: &str, quantity: u64) -> String {
        let customer = match self.random.below(100) {
            0..=6 => "poor".to_owned(),
            _ => format!("c{}", self.random.below(CUSTOMERS)),
        };
        let sku = match self.random.below(100) {
            0..=5 => "rare".to_owned(),
            _ => format!("s{}", self.random.below(PRODUCTS)),
        };
        let country = if self.random.below(100) < 7 { "Nowhere" } else { "France" };
        let lines = json!([
            { "sku": sku, "quantity": quantity, "unitPriceCents": 100 + self.random.below(900) },
            { "sku": format!("s{}", self.random.below(PRODUCTS)), "quantity": 1 + self.random.below(3), "unitPriceCents": 250 },
        ]);
        let ship_to = json!({ "name": "N", "address": "1", "city": "C", "region": null, "postalCode": null, "country": country });
        json!({ "orderId": id, "customerId": customer, "lines": lines, "shipTo": ship_to })
            .to_string()
    }

    fn orchestrator(&mut self) -> &'static str {
        ORCHESTRATORS[usize::try_from(self.random.below(2)).unwrap_or(0)]
    }

    /// Places an order, again and again until it is accepted or ten attempts are over.
    fn place(&mut self, id: &str, body: &str) {
        self.ledger.update(id, |promise| promise.body = body.to_owned());
        for _ in 0..10 {
            let begun = Instant::now();
            let at = self.orchestrator();
            match self.site.http(at, "POST", "/orders", body, Some(WAIT_S)) {
                Ok(response) if response.code == 200 || response.code == 202 => {
                    self.ledger.count(if response.code == 200 {
                        "placed: outcome told"
                    } else {
                        "placed: accepted"
                    });
                    self.ledger.hear(id, &response);
                    return;
                }
                Ok(response) if response.code == 429 || response.code == 503 => {
                    self.ledger.count(if response.code == 429 {
                        "placed: 429"
                    } else {
                        "placed: 503"
                    });
                    if !response.head.to_lowercase().contains("retry-after:") {
                        self.ledger.violate(format!(
                            "no-retry-after: {} at {at}: {}",
                            response.code, response.body
                        ));
                    }
                }
                Ok(response) => {
                    let (code, text) = (response.code, response.body);
                    self.ledger.violate(format!(
                        "unexpected-answer: POST /orders of {id} at {at}: {code} {text}"
                    ));
                    return;
                }
                Err(_) => self.ledger.count("placed: no answer"),
            }
            std::thread::sleep(Duration::from_millis(300).saturating_sub(begun.elapsed()));
        }
        self.ledger.count("placed: given up");
    }

    /// The same order once more is the same saga.
    fn place_again(&mut self, id: &str, body: &str) {
        let at = self.orchestrator();
        let Ok(response) = self.site.http(at, "POST", "/orders", body, None) else { return };
        match response.code {
            200 | 202 => {
                self.ledger.count("repeated");
                self.ledger.hear(id, &response);
            }
            429 | 503 => {}
            code => self
                .ledger
                .violate(format!("key-reuse: {id} repeated at {at}: {code} {}", response.body)),
        }
    }

    /// Another order with an accepted order's id is refused.
    fn place_another(&mut self, id: &str) {
        if !self
            .ledger
            .promises
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .is_some_and(|it| it.accepted)
        {
            return;
        }
        let (at, other) = (self.orchestrator(), self.order(id, 99));
        match self.site.http(at, "POST", "/orders", &other, None) {
            Ok(Response { code: 409, .. }) => self.ledger.count("another body refused"),
            Ok(Response { code: 429 | 503, .. }) | Err(_) => {}
            Ok(Response { code, body, .. }) => {
                self.ledger
                    .violate(format!("key-reuse: {id} with another body at {at}: {code} {body}"));
            }
        }
    }

    /// Reads an order's saga: revisions never go backward.
    fn read(&mut self, id: &str) {
        let before =
            match self.ledger.promises.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
                Some(promise) if promise.accepted => promise.revision,
                _ => return,
            };
        let at = self.orchestrator();
        match self.site.http(at, "GET", &format!("/api/v1/sagas/checkout:{id}"), "", None) {
            Ok(response @ Response { code: 200, .. }) => {
                let said: Value = serde_json::from_str(&response.body).unwrap_or_default();
                let now = said["revision"].as_u64().unwrap_or(0);
                if now < before {
                    self.ledger.violate(format!(
                        "time-travel: {id} at {at}: revision {now} after {before}"
                    ));
                }
                self.ledger.count("read");
                self.ledger.hear(id, &response);
            }
            Ok(Response { code: 404, body, .. }) => {
                self.ledger
                    .violate(format!("lost-saga: {id} was accepted, and {at} answers 404: {body}"));
            }
            _ => {}
        }
    }
}
