//! The final checks of choreographies: the services, the events and the observer agree on every
//! order's outcome, and no event is left over.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::plan::State;
use sagamore_database::{Database, Row};

use super::chains::Chains;
use crate::rows::{get, read_rows};
use crate::world::World;

/// The state of one order in the services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ServiceView {
    /// The status in the order service.
    order: Option<String>,
    /// Whether the charge holds.
    charged: bool,
    /// Whether the reservation holds.
    reserved: bool,
    /// Whether there is a shipment.
    shipped: bool,
}

impl Chains {
    /// Compares services, events and observer. `services` are the four of the shop, in the order of
    /// the plan.
    pub(super) fn agree(&self, world: &World, services: &[Database], observer: &Database) {
        let [order, payment, inventory, shipping] = services else { return };
        let mut said = BTreeMap::<String, ServiceView>::new();
        each(order, "SELECT order_id, status FROM orders", |id, row| {
            said.entry(id).or_default().order = Some(get(row, 1));
        });
        each(payment, "SELECT order_id FROM charge WHERE refunded = FALSE", |id, _| {
            said.entry(id).or_default().charged = true;
        });
        each(inventory, "SELECT order_id FROM reservation WHERE released = FALSE", |id, _| {
            said.entry(id).or_default().reserved = true;
        });
        each(shipping, "SELECT order_id FROM shipment", |id, _| {
            said.entry(id).or_default().shipped = true
        });
        for (id, state) in self.states() {
            let key = id.split_once(':').map_or(id, |(_, key)| key);
            let said = said.remove(key).unwrap_or_default();
            let all = ServiceView {
                order: Some("confirmed".into()),
                charged: true,
                reserved: true,
                shipped: true,
            };
            let none = ServiceView { order: Some("cancelled".into()), ..ServiceView::default() };
            let agreed = match state {
                State::Completed => said == all,
                State::Compensated => said == none,
                State::Running | State::Compensating | State::Stuck | State::HalfCompensated => {
                    false
                }
                State::Anomalous(_) | State::UnknownVersion(_) => false,
            };
            let is_completed = state == State::Completed;
            world.count(if is_completed { "chain completed" } else { "chain compensated" });
            if !agreed {
                world.violate(
                    "disagreement",
                    format!("{id} is {state:?} by its events, but the services have {said:?}"),
                );
            }
            self.observer_agrees(
                world,
                observer,
                id,
                if is_completed { "completed" } else { "compensated" },
            );
        }
        if let Some((id, said)) = said.first_key_value() {
            world.violate(
                "vanished-saga",
                format!("order {id} has no chain, but the services have {said:?}"),
            );
        }
        for id in self.accepted.iter().filter(|id| !self.chains.contains_key(*id)) {
            world.violate("lost-saga", format!("{id} was acknowledged, but is missing"));
        }
        self.nothing_is_left(world, services);
    }

    fn observer_agrees(&self, world: &World, observer: &Database, id: &str, status: &str) {
        let rows = read_rows(observer, &format!("SELECT status, why FROM chain WHERE id = '{id}'"));
        let observed =
            rows.first().map(|row| (get::<String>(row, 0), get::<Option<String>>(row, 1)));
        if observed != Some((status.to_owned(), None)) {
            world.violate(
                "disagreement",
                format!("{id} is {status}, but the observer has {observed:?}"),
            );
        }
        let sql = format!(
            "SELECT e.id FROM chain_event e JOIN chain c ON c.seq = e.chain WHERE c.id = '{id}'"
        );
        let seen: BTreeSet<String> =
            read_rows(observer, &sql).iter().map(|row| get(row, 0)).collect();
        let emitted = self.events.values().filter(|event| event.chain().as_str() == id);
        let emitted: BTreeSet<String> = emitted.map(|event| event.id()).collect();
        if seen != emitted {
            let differ = seen.symmetric_difference(&emitted).collect::<Vec<_>>();
            world.violate(
                "disagreement",
                format!("{id}: services and observer differ in {differ:?}"),
            );
        }
    }

    fn nothing_is_left(&self, world: &World, services: &[Database]) {
        for database in services {
            each(database, "SELECT saga, step, event FROM inbox", |id, row| {
                let (step, event): (String, String) = (get(row, 1), get(row, 2));
                world.violate(
                    "parked-for-ever",
                    format!("{event} of {id} still waits in the inbox for {step}"),
                );
            });
            each(database, "SELECT saga, event FROM emitted WHERE sent = FALSE", |id, row| {
                world.violate(
                    "unsent-event",
                    format!("{} of {id} was never sent", get::<String>(row, 1)),
                );
            });
        }
        if let Some(((id, event), _)) = self.letters.iter().find(|(_, letters)| **letters < 0) {
            world.violate(
                "vanished-message",
                format!("{event} of {id} was removed from an inbox without a dead letter"),
            );
        }
    }
}

fn each(database: &Database, sql: &str, mut act: impl FnMut(String, &Row)) {
    read_rows(database, sql).iter().for_each(|row| act(get(row, 0), row));
}
