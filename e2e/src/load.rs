//! The load of a campaign: clients that place, repeat and read orders, and record every response.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::random::Random;
use crate::site::{ORCHESTRATORS, Response, Site};

/// Customers with enough money.
pub const CUSTOMERS: u64 = 200;
/// Products with enough stock.
pub const PRODUCTS: u64 = 60;
/// Clients under normal load.
const CLIENTS: u64 = 8;
/// Clients under overload.
pub const CLIENTS_OVERLOADED: u64 = 80;
/// The pause of a client between two orders. 8 clients place about 16 orders a second.
const PAUSE: Duration = Duration::from_millis(500);
/// The wait for an outcome, in seconds.
const WAIT_S: u64 = 5;

/// The responses of one order.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// The body of the order.
    pub body: String,
    /// Whether a response accepted it.
    pub accepted: bool,
    /// The final status in a response: completed or compensated.
    pub outcome: Option<String>,
    /// The highest revision in a response.
    pub revision: u64,
}

/// The responses that all clients received, and the violations.
#[derive(Default)]
pub struct Ledger {
    promises: Mutex<BTreeMap<String, Promise>>,
    violations: Mutex<Vec<String>>,
    /// Requests by outcome.
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
    number: AtomicU64,
}

/// Running clients.
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Ledger {
    /// Returns a copy of all promises.
    pub fn promises(&self) -> BTreeMap<String, Promise> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a violation. The text starts with the invariant's name.
    pub fn violate(&self, what: String) {
        println!("   VIOLATION {what}");
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Returns all violations so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one outcome of this kind.
    pub fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// Returns the number of orders so far, answered or not.
    pub fn placed(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Returns an accepted order without a known outcome, if there is one.
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

    /// Compares the status in a response with earlier ones.
    fn compare(&self, id: &str, response: &Response) {
        let Ok(saga) = serde_json::from_str::<Value>(&response.body) else { return };
        let (status, revision) =
            (saga["status"].as_str().unwrap_or_default(), saga["revision"].as_u64());
        let mut contradiction = None;
        self.update(id, |promise| {
            promise.accepted = true;
            let is_final = matches!(status, "completed" | "compensated");
            match &promise.outcome {
                Some(outcome) if outcome != status => {
                    contradiction =
                        Some(format!("split-outcome: {id} was {outcome}, but is {status} now"));
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
    /// Starts clients, each with a pause between two orders.
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

    /// Starts the normal load.
    pub fn usual(site: &Arc<Site>, ledger: &Arc<Ledger>, seed: u64) -> Load {
        Load::start(site, ledger, seed, CLIENTS, PAUSE)
    }

    /// Stops every client after its current order.
    pub fn stop(self) {
        self.ends.store(true, Ordering::SeqCst);
        for client in self.clients {
            let _ = client.join(); // a panicking client has printed the reason
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

    /// Draws an order. About one in five is refused for lack of money, stock or a carrier.
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
            { "sku": format!("s{}", self.random.below(PRODUCTS)),
              "quantity": 1 + self.random.below(3), "unitPriceCents": 250 },
        ]);
        let ship_to = json!({ "name": "N", "address": "1", "city": "C", "country": country });
        json!({ "orderId": id, "customerId": customer, "lines": lines, "shipTo": ship_to })
            .to_string()
    }

    fn orchestrator(&mut self) -> &'static str {
        ORCHESTRATORS[usize::try_from(self.random.below(2)).unwrap_or(0)]
    }

    /// Places an order, with at most ten attempts until it is accepted.
    fn place(&mut self, id: &str, body: &str) {
        self.ledger.update(id, |promise| promise.body = body.to_owned());
        for _ in 0..10 {
            let begun = Instant::now();
            let at = self.orchestrator();
            match self.site.http(at, "POST", "/orders", body, Some(WAIT_S)) {
                Ok(response) if response.code == 200 || response.code == 202 => {
                    self.ledger.count(if response.code == 200 {
                        "placed: with outcome"
                    } else {
                        "placed: accepted"
                    });
                    self.ledger.compare(id, &response);
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
                Err(_) => self.ledger.count("placed: no response"),
            }
            std::thread::sleep(Duration::from_millis(300).saturating_sub(begun.elapsed()));
        }
        self.ledger.count("placed: given up");
    }

    /// Repeats an order, which must find the same saga.
    fn place_again(&mut self, id: &str, body: &str) {
        let at = self.orchestrator();
        let Ok(response) = self.site.http(at, "POST", "/orders", body, None) else { return };
        match response.code {
            200 | 202 => {
                self.ledger.count("repeated");
                self.ledger.compare(id, &response);
            }
            429 | 503 => {}
            code => self
                .ledger
                .violate(format!("key-reuse: {id} repeated at {at}: {code} {}", response.body)),
        }
    }

    /// Sends another order with an accepted order's id, which must be refused.
    fn place_another(&mut self, id: &str) {
        if !self
            .ledger
            .promises
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .is_some_and(|promise| promise.accepted)
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

    /// Reads an order's saga. Its revision must not decrease.
    fn read(&mut self, id: &str) {
        let before =
            match self.ledger.promises.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
                Some(promise) if promise.accepted => promise.revision,
                _ => return,
            };
        let at = self.orchestrator();
        match self.site.http(at, "GET", &format!("/api/v1/sagas/checkout:{id}"), "", None) {
            Ok(response @ Response { code: 200, .. }) => {
                let saga: Value = serde_json::from_str(&response.body).unwrap_or_default();
                let now = saga["revision"].as_u64().unwrap_or(0);
                if now < before {
                    self.ledger.violate(format!(
                        "time-travel: {id} at {at}: revision {now} after {before}"
                    ));
                }
                self.ledger.count("read");
                self.ledger.compare(id, &response);
            }
            Ok(Response { code: 404, body, .. }) => {
                self.ledger.violate(format!(
                    "lost-saga: {id} was accepted, but {at} returned 404: {body}"
                ));
            }
            _ => {}
        }
    }
}
