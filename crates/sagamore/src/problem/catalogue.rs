//! Every problem that the API can answer: its stable code, and a page with cause, check and fix.

/// The sorts of problem, in the order of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No route.
    NoSuchPage,
    /// The route takes other methods.
    MethodNotAllowed,
    /// Not JSON.
    BodyIsNoJson,
    /// JSON of another shape.
    BodyDoesNotFit,
    /// Over the limit.
    BodyTooLarge,
    /// The connection broke within the body.
    BodyBrokeOff,
    /// A query parameter, header or path segment.
    BadParameter,
    /// Not a legal name, key or id.
    BadName,
    /// The client takes another form than JSON.
    NotAcceptable,
    /// The body is of another type than JSON.
    OtherMediaType,
    /// Sent by a browser for a foreign web page.
    ForeignPage,
    /// A `Host` that is not this server's.
    OtherHost,
    /// A condition on an `ETag`, of which there is none.
    Precondition,
    /// No saga of this id.
    NoSuchSaga,
    /// No definition of this name.
    NoSuchDefinition,
    /// The definition refers to what the input lacks.
    InputDoesNotFit,
    /// Same business key, other input.
    OtherInput,
    /// Same idempotency key, other request.
    OtherRequest,
    /// Cancel after the pivot was asked.
    TooLate,
    /// A verb on a saga that has ended.
    SagaEnded,
    /// A verb on a step that does not exist.
    NoSuchStep,
    /// A verb that means nothing as things stand.
    VerbDoesNotApply,
    /// A verb of orchestrated sagas, where services react to each other.
    NobodyDirects,
    /// No order of this id.
    NoSuchOrder,
    /// The order's saga is under way.
    OrderPending,
    /// The order has come to its end.
    OrderFinished,
    /// No account of this customer.
    NoSuchAccount,
    /// No stock of this sku.
    NoSuchStock,
    /// The order makes no sense.
    BadOrder,
    /// There is no lock to take away.
    OrderNotLocked,
    /// Nobody knows the saga that holds the lock.
    HolderUnknown,
    /// The order's chain is over, and there is no order.
    OrderIdUsedUp,
    /// Too much under way.
    Busy,
    /// Cannot be stored now.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// The page of one code.
pub struct Entry {
    /// Which.
    pub code: Code,
    /// `SAGA-nnnn`: never changes its meaning.
    pub number: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What sort of problem it is.
    pub title: &'static str,
    /// Why it is answered.
    pub cause: &'static str,
    /// How to see whether that is so.
    pub check: &'static str,
    /// What to do.
    pub fix: &'static str,
}

impl Code {
    /// Its page.
    pub fn entry(self) -> &'static Entry {
        let entry = &CATALOGUE[self as usize];
        debug_assert_eq!(entry.code, self, "the catalogue is in the order of the codes");
        entry
    }
}

const fn entry(
    code: Code,
    (number, status, title): (&'static str, u16, &'static str),
    cause: &'static str,
    check: &'static str,
    fix: &'static str,
) -> Entry {
    Entry { code, number, status, title, cause, check, fix }
}

/// All pages, in the order of [`Code`].
pub const CATALOGUE: &[Entry] = &[
    entry(
        Code::NoSuchPage,
        ("SAGA-0100", 404, "There is nothing at this address"),
        "The path is not one that this server knows.",
        "`GET /` of the same server lists the addresses there are.",
        "Correct the path; a business key with `/`, `%` or spaces in it must be percent-encoded.",
    ),
    entry(
        Code::MethodNotAllowed,
        ("SAGA-0101", 405, "This address takes other methods"),
        "The path exists, but not with this HTTP method.",
        "The `Allow` header of the answer names the methods that it takes.",
        "Use one of those. No GET starts a saga, but for `/saga/start/{orderId}`.",
    ),
    entry(
        Code::BodyIsNoJson,
        ("SAGA-0102", 400, "The body is not JSON"),
        "The body breaks off, or is not JSON in UTF-8.",
        "`at` in the answer says in which line and column reading stopped.",
        "Send valid JSON; `jq . body.json` finds the same mistake.",
    ),
    entry(
        Code::BodyDoesNotFit,
        ("SAGA-0103", 400, "The body is JSON of another shape"),
        "A field is missing, unknown or of another type than this address takes.",
        "`detail` names the field, `at` the line and column where it shows.",
        "Correct the field. Money is in integer cents, quantities are integer pieces.",
    ),
    entry(
        Code::BodyTooLarge,
        ("SAGA-0104", 413, "The body is too large"),
        "A request's body may have 1 MiB, a saga's input 256 KiB.",
        "Compare the size of what you send; `detail` says which limit was met.",
        "Keep large data elsewhere and put a reference to it into the input.",
    ),
    entry(
        Code::BodyBrokeOff,
        ("SAGA-0105", 400, "The body did not arrive"),
        "The connection ended, or its framing was broken, before the body was complete.",
        "Compare `Content-Length` with what was sent; look for a proxy's time limit.",
        "Send it again: nothing was started.",
    ),
    entry(
        Code::BadParameter,
        ("SAGA-0106", 400, "A parameter cannot be understood"),
        "A query parameter, a header or a part of the path has a value that it cannot have.",
        "`detail` names the parameter and what it takes.",
        "Correct the value. A cursor is only valid as the server gave it.",
    ),
    entry(
        Code::BadName,
        ("SAGA-0107", 400, "Not a legal name, key or id"),
        "Names are a-z, 0-9, `-` and `.`, a letter first, at most 100 bytes; a business key is 1 to 200 bytes without control characters; a saga's id is DEFINITION:KEY. An address may name a saga by its key alone.",
        "`detail` quotes what was given.",
        "Correct it; a saga's id looks like `checkout:10248`.",
    ),
    entry(
        Code::NotAcceptable,
        ("SAGA-0108", 406, "No form of the answer that the client takes"),
        "The request's `Accept` excludes `application/json`, and this address answers nothing else.",
        "Look at the `Accept` header that the client sends.",
        "Send `Accept: application/json`, `*/*`, or none. Problems are `application/problem+json`, whatever is accepted.",
    ),
    entry(
        Code::OtherMediaType,
        ("SAGA-0109", 415, "The body is of a type that is not taken"),
        "The request's `Content-Type` is not JSON, or its body is compressed. Without a type a body counts as JSON, and so does curl's own `application/x-www-form-urlencoded` outside of browsers.",
        "`detail` names the header.",
        "Send `Content-Type: application/json`, uncompressed.",
    ),
    entry(
        Code::ForeignPage,
        ("SAGA-0110", 403, "A foreign web page sent this"),
        "A browser sent the request for a page of another origin: `Origin` names another server than `Host`, or `Sec-Fetch-Site` says so. Nothing was done.",
        "`detail` names the header. A proxy that changes `Host` has the same effect.",
        "Send requests that change something from a page of the same origin, or from a program; let a proxy pass `Host` on as it is.",
    ),
    entry(
        Code::OtherHost,
        ("SAGA-0111", 421, "The server is not called so"),
        "A server that listens on loopback answers to addresses of loopback and to `localhost` only, so that no web page reaches it by a name of its own (DNS rebinding).",
        "Compare the request's `Host` header with the address that the server printed at its start.",
        "Use http://127.0.0.1:PORT or http://localhost:PORT. Behind a proxy, have it send one of these as `Host`.",
    ),
    entry(
        Code::Precondition,
        ("SAGA-0112", 412, "The condition does not hold"),
        "The request has `If-Match` or `If-Unmodified-Since`. Answers have no `ETag`, so no such condition can hold, and nothing was done.",
        "Look at the request's headers.",
        "Leave the header away. A verb says itself whether it applies: it is refused with SAGA-0205, 0206 or 0208 where it changes nothing.",
    ),
    entry(
        Code::NoSuchSaga,
        ("SAGA-0200", 404, "There is no such saga"),
        "No saga of this id was ever started here, or its retention has passed.",
        "`sagamore list` shows what there is.",
        "Check the id, and that you ask the server (and the data directory) that it was started on.",
    ),
    entry(
        Code::NoSuchDefinition,
        ("SAGA-0201", 422, "There is no such definition"),
        "The request names a definition that is not registered.",
        "`detail` lists the definitions that are.",
        "Correct the name, or start the server with the definition.",
    ),
    entry(
        Code::InputDoesNotFit,
        ("SAGA-0202", 422, "The input does not fit the definition"),
        "The input lacks a field that the definition's steps refer to, is not of the message type that the definition was built with, or names another business key than the request.",
        "`detail` names the field.",
        "Correct the input, which is a JSON object; for a checkout `orderId` is the business key. Nothing was stored, and the key is free.",
    ),
    entry(
        Code::OtherInput,
        ("SAGA-0203", 409, "The saga exists with another input"),
        "There is one saga for each business key, and this key's saga was started with other data.",
        "`sagamore show ID` shows the input it was started with.",
        "Use another key for another order; send the same input to get the saga that exists.",
    ),
    entry(
        Code::OtherRequest,
        ("SAGA-0204", 422, "The idempotency key was used for another request"),
        "An `Idempotency-Key` belongs to one request, with one body.",
        "Look for the place in your client that makes the keys: is one kept from an earlier request?",
        "Make a new key for every new request, and keep it for its repetitions only.",
    ),
    entry(
        Code::TooLate,
        ("SAGA-0205", 409, "Too late to cancel"),
        "The saga's point of no return (its pivot) has been asked for: it goes forward from here.",
        "`sagamore show ID` shows the pivot as asked or done.",
        "Let it finish, and start whatever business process takes back a completed one.",
    ),
    entry(
        Code::SagaEnded,
        ("SAGA-0206", 409, "The saga has ended"),
        "Completed and compensated sagas never change again.",
        "`sagamore show ID` shows how it ended.",
        "Nothing is to be done; a new attempt is a new saga with a key of its own.",
    ),
    entry(
        Code::NoSuchStep,
        ("SAGA-0207", 404, "The saga has no step of this name"),
        "The body's `step` names no step of the saga's definition.",
        "`sagamore show ID` lists the steps.",
        "Correct the name.",
    ),
    entry(
        Code::VerbDoesNotApply,
        ("SAGA-0208", 409, "The saga does not take this now"),
        "The saga or its step is not in a state in which this can be done, for instance a retry of a step that waits for nobody's decision.",
        "`allowedActions` of the saga and of its steps say what can be done now.",
        "Look at the saga again: something else may have come first.",
    ),
    entry(
        Code::NobodyDirects,
        ("SAGA-0209", 409, "Nobody directs this saga"),
        "It is a choreography: services react to each other's events, and nobody can start, cancel, retry or skip a step for them.",
        "`sagamore show ID` says for which service it waits, and what was undone.",
        "Place an order with `POST /orders` of the order service; mend the service that is waited for, or have lost events told again (`sagamore reconcile --resend`); when a person has taken care of a chain, `sagamore resolve ID --reason WHY`.",
    ),
    entry(
        Code::NoSuchOrder,
        ("SAGA-0300", 404, "There is no such order"),
        "No order of this id was ever placed.",
        "`sagamore list` shows the sagas of all orders.",
        "Place it with `POST /orders`.",
    ),
    entry(
        Code::OrderPending,
        ("SAGA-0301", 409, "The order is pending: its saga is under way"),
        "While its saga runs an order is locked: nobody else may cancel or confirm it. Nor while a service may still act on it, though a person has called its chain resolved.",
        "`GET /orders/{id}` shows the saga and its status.",
        "Cancel an orchestrated saga instead (`sagamore cancel checkout:ID`), or wait for it to end; a stuck one waits for an operator, and a chain that a person has taken care of is ended with `sagamore resolve ID`. One that was, and waits for a service that never will act again, leaves its lock to `POST /orders/{id}/unlock?force=true`.",
    ),
    entry(
        Code::OrderFinished,
        ("SAGA-0302", 409, "The order can no longer be cancelled"),
        "The order is confirmed and on its way, or was cancelled or turned down before.",
        "`GET /orders/{id}` shows its status.",
        "Nothing is to be done here; goods that are on their way are returned, which is another process.",
    ),
    entry(
        Code::NoSuchAccount,
        ("SAGA-0303", 404, "There is no such account"),
        "The payment service has no account of this customer.",
        "`GET /accounts` lists the accounts.",
        "Check the customer's id; `sagamore shop replay DIR` imports accounts.",
    ),
    entry(
        Code::NoSuchStock,
        ("SAGA-0304", 404, "There is no such product in stock"),
        "The inventory service has never had this sku.",
        "`GET /stock` lists what it has.",
        "Check the sku; `sagamore shop replay DIR` imports stock.",
    ),
    entry(
        Code::BadOrder,
        ("SAGA-0305", 422, "The order makes no sense"),
        "The order has no lines, a quantity that is not at least one, a negative price, an empty or overlong name, or a total beyond all bounds.",
        "`detail` names the field and its bounds.",
        "Correct the order; nothing was started.",
    ),
    entry(
        Code::OrderNotLocked,
        ("SAGA-0306", 409, "The order is not locked"),
        "There is no lock to take away: its saga has settled the order, or the lock has been taken away before.",
        "`GET /orders/{id}` shows `lockedBy` while there is a lock.",
        "Nothing is to be done; a pending order without a lock can be cancelled with `POST /orders/{id}/cancel`.",
    ),
    entry(
        Code::HolderUnknown,
        ("SAGA-0307", 409, "Nobody knows the saga that holds the order"),
        "The order is locked by a saga that the orchestrators, or the observer, have never had, or have lost with their database: nobody can say whether it is at rest.",
        "`GET /orders/{id}` shows `lockedBy`; `sagamore show` it on every orchestrator there is. Do `orchestrator.servers` and `observer.servers` name those of this service?",
        "Only when that saga is gone for good: `POST /orders/{id}/unlock?force=true`. One that goes on elsewhere all the same finds its order taken, and gets stuck when it confirms it.",
    ),
    entry(
        Code::OrderIdUsedUp,
        ("SAGA-0308", 409, "The order's id is used up"),
        "Where nobody directs, an order's id names its chain, and that is over: it was cancelled before it began (its failure was heard of first, as after a backup was restored), or the order was removed since.",
        "`sagamore show ID` tells what was seen of the chain.",
        "Place the order under another id; nothing was begun.",
    ),
    entry(
        Code::Busy,
        ("SAGA-0400", 429, "Too much is under way"),
        "More sagas are under way, or more requests wait, than the server's bounds allow. Nothing was started.",
        "`/metrics` shows the sagas in flight and the oldest outstanding step.",
        "Try again after the time in `Retry-After`; if it lasts, find the participant that does not answer.",
    ),
    entry(
        Code::Unavailable,
        ("SAGA-0401", 503, "The server cannot store it now"),
        "The database or the log cannot be used, or the server is just starting or stopping.",
        "`/readyz`, the server's log, and the space that is left on the disk.",
        "Try again after the time in `Retry-After`: starting the same saga again is always safe.",
    ),
    entry(
        Code::Internal,
        ("SAGA-0500", 500, "A fault of the server"),
        "Something that should not happen did; this one request failed, and the server goes on.",
        "The server's log has the fault at this time.",
        "Repeat the request (starting the same saga again is safe), and report the fault with the log.",
    ),
];
