//! Conditions on the services' tables, as queries that return violations.

use super::Site;
use crate::site::SERVICES;

/// The invariant's name, the meaning of a returned row, and the query.
type Condition<Text> = (&'static str, &'static str, Text);

/// Conditions on the sagas and the shop's tables. `{completed}` and `{compensated}` are the ids of
/// such orders.
const ON_ORDERS: &[Condition<&str>] = &[
    ("stuck-saga", "stuck", "SELECT id FROM {saga} WHERE status = 'stuck'"),
    (
        "half-saga",
        "completed, but not charged, or refunded",
        "SELECT id FROM {completed} s LEFT JOIN {charge} c ON c.order_id = s.id WHERE c.order_id \
         IS NULL OR c.refunded",
    ),
    (
        "half-saga",
        "completed, but not reserved, or released",
        "SELECT id FROM {completed} s LEFT JOIN {reservation} r ON r.order_id = s.id
         WHERE r.order_id IS NULL OR r.released",
    ),
    (
        "half-saga",
        "completed, but not shipped",
        "SELECT id FROM {completed} s LEFT JOIN {shipment} h ON h.order_id = s.id WHERE \
         h.order_id IS NULL",
    ),
    (
        "half-saga",
        "completed, but its order is not confirmed",
        "SELECT id FROM {completed} s LEFT JOIN {orders} o ON o.order_id = s.id
         WHERE o.status IS DISTINCT FROM 'confirmed' OR o.locked_by IS NOT NULL",
    ),
    (
        "half-saga",
        "compensated, but still charged",
        "SELECT id FROM {compensated} s JOIN {charge} c ON c.order_id = s.id WHERE NOT c.refunded",
    ),
    (
        "half-saga",
        "compensated, but still reserved",
        "SELECT id FROM {compensated} s JOIN {reservation} r ON r.order_id = s.id WHERE NOT \
         r.released",
    ),
    (
        "half-saga",
        "compensated, but shipped",
        "SELECT id FROM {compensated} s JOIN {shipment} h ON h.order_id = s.id",
    ),
    (
        "half-saga",
        "compensated, but its order is not cancelled",
        "SELECT id FROM {compensated} s JOIN {orders} o ON o.order_id = s.id
         WHERE o.status <> 'cancelled' OR o.locked_by IS NOT NULL",
    ),
];

/// Conditions on each service's barrier.
const ON_BARRIERS: &[Condition<&str>] = &[
    (
        "double-charge",
        "a step took effect twice",
        "SELECT saga || '/' || step FROM {barrier} WHERE status = 'done' GROUP BY saga, step, \
         direction HAVING count(*) > 1",
    ),
    (
        "hanging-action",
        "an action was done under a tombstone",
        "SELECT saga || '/' || step FROM {barrier} WHERE direction = 'action' GROUP BY saga, step
         HAVING bool_or(status = 'done') AND bool_or(status = 'tombstone')",
    ),
    (
        "undo-after-pivot",
        "a completed saga was undone",
        "SELECT b.saga || '/' || b.step FROM {barrier} b JOIN {saga} s ON s.id = b.saga
         WHERE s.status = 'completed' AND b.direction = 'compensation'",
    ),
    (
        "half-saga",
        "a compensated saga has an action that was not undone",
        "SELECT a.saga || '/' || a.step FROM {barrier} a JOIN {saga} s ON s.id = a.saga
         WHERE s.status = 'compensated' AND a.direction = 'action' AND a.status = 'done'
           AND NOT EXISTS (SELECT FROM {barrier} c WHERE c.saga = a.saga AND c.step = a.step
             AND c.direction = 'compensation' AND c.status = 'done')",
    ),
    (
        "zombie-write",
        "a claim without an answer was committed",
        "SELECT saga || '/' || step FROM {barrier} WHERE status = 'claimed'",
    ),
    (
        "empty-compensation",
        "an undo was refused, or has neither an action nor a tombstone",
        "SELECT c.saga || '/' || c.step FROM {barrier} c WHERE c.direction = 'compensation'
           AND NOT EXISTS (SELECT FROM {barrier} a WHERE a.saga = c.saga AND a.step = c.step AND \
           a.direction = 'action')",
    ),
];

/// Returns all conditions as SQL for this site.
pub fn all(site: &Site) -> Vec<Condition<String>> {
    let saga = site.table("engine", "saga");
    let of_status = |status: &str| {
        format!("(SELECT substr(id, 10) AS id FROM {saga} WHERE status = '{status}')")
    };
    let places = [
        ("{saga}", saga.clone()),
        ("{completed}", of_status("completed")),
        ("{compensated}", of_status("compensated")),
        ("{charge}", site.table("payment", "charge")),
        ("{reservation}", site.table("inventory", "reservation")),
        ("{shipment}", site.table("shipping", "shipment")),
        ("{orders}", site.table("order", "orders")),
    ];
    let fill = |sql: &str| {
        places.iter().fold(sql.to_owned(), |sql, (place, table)| sql.replace(place, table))
    };
    let on_orders = ON_ORDERS.iter().map(|(name, what, sql)| (*name, *what, fill(sql)));
    let on_barriers = SERVICES.into_iter().flat_map(|service| {
        let barrier = site.table(service, "barrier");
        ON_BARRIERS
            .iter()
            .map(move |(name, what, sql)| (*name, *what, sql.replace("{barrier}", &barrier)))
    });
    on_orders.chain(on_barriers.map(|(name, what, sql)| (name, what, fill(&sql)))).collect()
}
