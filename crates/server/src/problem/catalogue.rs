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
    /// Too much under way.
    Busy,
    /// Cannot be stored now.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// The page of one code. A program adds its own beside those of the product, with a prefix of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the product; none for an entry of a program.
    pub(super) code: Option<Code>,
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
        debug_assert_eq!(entry.code, Some(self), "the catalogue is in the order of the codes");
        entry
    }
}

impl From<Code> for &'static Entry {
    fn from(code: Code) -> &'static Entry {
        code.entry()
    }
}

impl Entry {
    /// Returns an entry, for a `static` of a program.
    pub const fn new(
        (number, status, title): (&'static str, u16, &'static str),
        cause: &'static str,
        check: &'static str,
        fix: &'static str,
    ) -> Entry {
        Entry { code: None, number, status, title, cause, check, fix }
    }
}

const fn entry(
    code: Code,
    (number, status, title): (&'static str, u16, &'static str),
    cause: &'static str,
    check: &'static str,
    fix: &'static str,
) -> Entry {
    Entry { code: Some(code), number, status, title, cause, check, fix }
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
        "Use one of those.",
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
        ("SAGA-0111", 421, "Unknown host name"),
        "A server that listens on loopback answers to addresses of loopback and to `localhost` only, so that no web page reaches it by a name of its own (DNS rebinding).",
        "Compare the request's `Host` header with the address that the server printed at its start.",
        "Use http://127.0.0.1:PORT or http://localhost:PORT. Behind a proxy, have it send one of these as `Host`.",
    ),
    entry(
        Code::Precondition,
        ("SAGA-0112", 412, "The condition does not hold"),
        "The request has `If-Match` or `If-Unmodified-Since`. Answers have no `ETag`, so no such condition can hold, and nothing was done.",
        "Look at the request's headers.",
        "Remove the header. A verb says itself whether it applies: it is refused with SAGA-0205, 0206 or 0208 where it changes nothing.",
    ),
    entry(
        Code::NoSuchSaga,
        ("SAGA-0200", 404, "There is no such saga"),
        "No saga of this id was ever started here, or its retention has passed.",
        "The verb `list` shows what there is.",
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
        "Correct the input, which is a JSON object. Nothing was stored, and the key is free.",
    ),
    entry(
        Code::OtherInput,
        ("SAGA-0203", 409, "The saga exists with another input"),
        "There is one saga for each business key, and this key's saga was started with other data.",
        "The verb `show ID` shows the input it was started with.",
        "Use another key for another saga; send the same input to get the saga that exists.",
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
        "The verb `show ID` shows the pivot as asked or done.",
        "Let it finish, and start whatever business process takes back a completed one.",
    ),
    entry(
        Code::SagaEnded,
        ("SAGA-0206", 409, "The saga has ended"),
        "Completed and compensated sagas never change again.",
        "The verb `show ID` shows how it ended.",
        "Nothing is to be done; a new attempt is a new saga with a key of its own.",
    ),
    entry(
        Code::NoSuchStep,
        ("SAGA-0207", 404, "The saga has no step of this name"),
        "The body's `step` names no step of the saga's definition.",
        "The verb `show ID` lists the steps.",
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
        "The verb `show ID` says for which service it waits, and what was undone.",
        "Have the service that begins chains begin one; repair the service that is waited for, or have lost events told again (the verb `reconcile --resend`); when a person has taken care of a chain, `resolve ID --reason WHY`.",
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
