//! The problems of the shop's routes, in addition to those of the product.

use sagamore::server::Entry;

/// Code SAGA-0300.
pub static NO_SUCH_ORDER: Entry = Entry::new(
    ("SAGA-0300", 404, "The order does not exist"),
    "No order with this id was placed.",
    "`shop list` shows the sagas of all orders.",
    "Place it with `POST /orders`.",
);
/// Code SAGA-0301.
pub static ORDER_PENDING: Entry = Entry::new(
    ("SAGA-0301", 409, "The order is pending: its saga is running"),
    "While its saga runs, the order is locked, and only that saga may cancel or confirm it. The \
     lock also stays while a service may still act on the order, even if an operator has resolved \
     the chain.",
    "`GET /orders/{id}` shows the saga and its status.",
    "Cancel the saga (`shop cancel checkout:ID`) or wait for its end. A stuck saga needs an \
     operator. End a manually repaired chain with `shop resolve ID`. If a resolved chain \
     waits for a service that will never act again, remove its lock with `POST \
     /orders/{id}/unlock?force=true`.",
);
/// Code SAGA-0302.
pub static ORDER_FINISHED: Entry = Entry::new(
    ("SAGA-0302", 409, "The order can no longer be cancelled"),
    "The order is confirmed and shipped, or was cancelled or refused before.",
    "`GET /orders/{id}` shows its status.",
    "A cancelled order needs no action. Shipped goods are returned, outside of the saga.",
);
/// Code SAGA-0303.
pub static NO_SUCH_ACCOUNT: Entry = Entry::new(
    ("SAGA-0303", 404, "The account does not exist"),
    "The payment service has no account of this customer.",
    "`GET /accounts` lists the accounts.",
    "Check the customer's id. `shop replay DIR` imports accounts.",
);
/// Code SAGA-0304.
pub static NO_SUCH_STOCK: Entry = Entry::new(
    ("SAGA-0304", 404, "The product does not exist"),
    "The inventory service has no product with this sku.",
    "`GET /stock` lists the products.",
    "Check the sku. `shop replay DIR` imports stock.",
);
/// Code SAGA-0305.
pub static BAD_ORDER: Entry = Entry::new(
    ("SAGA-0305", 422, "The order is invalid"),
    "The order has no lines, a quantity below one, a negative price, an empty or overlong name, \
     or a total above the maximum.",
    "`detail` names the field and the reason.",
    "Correct the order and send it again. No saga was started.",
);
/// Code SAGA-0306.
pub static ORDER_NOT_LOCKED: Entry = Entry::new(
    ("SAGA-0306", 409, "The order is not locked"),
    "There is no lock to remove: its saga has settled the order, or the lock was removed before.",
    "`GET /orders/{id}` shows `lockedBy` while there is a lock.",
    "No action is needed. Cancel a pending order without a lock with `POST /orders/{id}/cancel`.",
);
/// Code SAGA-0307.
pub static HOLDER_UNKNOWN: Entry = Entry::new(
    ("SAGA-0307", 409, "The saga that locks the order is unknown"),
    "The order is locked by a saga that no orchestrator, or no observer, has in its database. So \
     it is unknown whether that saga is at rest.",
    "`GET /orders/{id}` shows `lockedBy`. Run `shop show` with this id on every orchestrator. \
     Check that `orchestrator.servers` and `observer.servers` are correct in this service's \
     configuration.",
    "If that saga is lost: `POST /orders/{id}/unlock?force=true`. A saga that still runs \
     elsewhere no longer holds its order, and gets stuck when it confirms it.",
);
/// Code SAGA-0308.
pub static ORDER_ID_USED_UP: Entry = Entry::new(
    ("SAGA-0308", 409, "The order's id belongs to an ended chain"),
    "In a choreography the id of an order is the key of its chain, and this chain has ended. A \
     failure event arrived before its start, for example after a restored backup, or the order \
     was deleted since.",
    "`shop show ID` shows the events of the chain.",
    "Place the order under another id. No chain was started.",
);

/// The problems of the shop's routes, by number.
pub static PROBLEMS: [&Entry; 9] = [
    &NO_SUCH_ORDER,
    &ORDER_PENDING,
    &ORDER_FINISHED,
    &NO_SUCH_ACCOUNT,
    &NO_SUCH_STOCK,
    &BAD_ORDER,
    &ORDER_NOT_LOCKED,
    &HOLDER_UNKNOWN,
    &ORDER_ID_USED_UP,
];
