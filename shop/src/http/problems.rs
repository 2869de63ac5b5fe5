//! The problems of the shop's routes, beside those of the product.

use sagamore::server::Entry;

/// No such order.
pub static NO_SUCH_ORDER: Entry = Entry::new(
    ("SAGA-0300", 404, "There is no such order"),
    "No order of this id was ever placed.",
    "`shop list` shows the sagas of all orders.",
    "Place it with `POST /orders`.",
);
/// Order pending.
pub static ORDER_PENDING: Entry = Entry::new(
    ("SAGA-0301", 409, "The order is pending: its saga is under way"),
    "While its saga runs an order is locked: nobody else may cancel or confirm it. Nor while a service may still act on it, though a person has called its chain resolved.",
    "`GET /orders/{id}` shows the saga and its status.",
    "Cancel an orchestrated saga instead (`shop cancel checkout:ID`), or wait for it to end; a stuck one waits for an operator, and a chain that a person has taken care of is ended with `shop resolve ID`. One that was, and waits for a service that never will act again, leaves its lock to `POST /orders/{id}/unlock?force=true`.",
);
/// Order finished.
pub static ORDER_FINISHED: Entry = Entry::new(
    ("SAGA-0302", 409, "The order can no longer be cancelled"),
    "The order is confirmed and on its way, or was cancelled or turned down before.",
    "`GET /orders/{id}` shows its status.",
    "Nothing is to be done here; goods that are on their way are returned, which is another process.",
);
/// No such account.
pub static NO_SUCH_ACCOUNT: Entry = Entry::new(
    ("SAGA-0303", 404, "There is no such account"),
    "The payment service has no account of this customer.",
    "`GET /accounts` lists the accounts.",
    "Check the customer's id; `shop replay DIR` imports accounts.",
);
/// No such stock.
pub static NO_SUCH_STOCK: Entry = Entry::new(
    ("SAGA-0304", 404, "There is no such product in stock"),
    "The inventory service has never had this sku.",
    "`GET /stock` lists what it has.",
    "Check the sku; `shop replay DIR` imports stock.",
);
/// Bad order.
pub static BAD_ORDER: Entry = Entry::new(
    ("SAGA-0305", 422, "The order makes no sense"),
    "The order has no lines, a quantity that is not at least one, a negative price, an empty or overlong name, or a total beyond all bounds.",
    "`detail` names the field and its bounds.",
    "Correct the order; nothing was started.",
);
/// Order not locked.
pub static ORDER_NOT_LOCKED: Entry = Entry::new(
    ("SAGA-0306", 409, "The order is not locked"),
    "There is no lock to take away: its saga has settled the order, or the lock has been taken away before.",
    "`GET /orders/{id}` shows `lockedBy` while there is a lock.",
    "Nothing is to be done; a pending order without a lock can be cancelled with `POST /orders/{id}/cancel`.",
);
/// Holder unknown.
pub static HOLDER_UNKNOWN: Entry = Entry::new(
    ("SAGA-0307", 409, "Nobody knows the saga that holds the order"),
    "The order is locked by a saga that the orchestrators, or the observer, have never had, or have lost with their database: nobody can say whether it is at rest.",
    "`GET /orders/{id}` shows `lockedBy`; `shop show` it on every orchestrator there is. Do `orchestrator.servers` and `observer.servers` name those of this service?",
    "Only when that saga is gone for good: `POST /orders/{id}/unlock?force=true`. One that goes on elsewhere all the same finds its order taken, and gets stuck when it confirms it.",
);
/// Order id used up.
pub static ORDER_ID_USED_UP: Entry = Entry::new(
    ("SAGA-0308", 409, "The order's id is used up"),
    "In a choreography the id of an order is the id of its chain, and this chain is over: it was cancelled before it began (its failure was heard of first, as after a backup was restored), or the order was removed since.",
    "`shop show ID` tells what was seen of the chain.",
    "Place the order under another id; nothing was begun.",
);

/// All of them, by number.
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
