//! The catalogue of problems: each has a stable code and a page with cause, check and fix.

/// The kinds of problem, in the order of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The path is unknown.
    NoSuchPage,
    /// The path exists with other methods.
    MethodNotAllowed,
    /// The body is not JSON.
    BodyIsNoJson,
    /// The body is JSON of another shape.
    BodyDoesNotFit,
    /// The body exceeds its limit.
    BodyTooLarge,
    /// The connection broke during the body.
    BodyBrokeOff,
    /// A query parameter, header or path parameter is invalid.
    BadParameter,
    /// A name, key or id is invalid.
    BadName,
    /// The client does not accept JSON.
    NotAcceptable,
    /// The body is not of a JSON type.
    OtherMediaType,
    /// A browser sent the request for a page of another origin.
    ForeignPage,
    /// The `Host` is not this server's.
    OtherHost,
    /// The request has a condition on an `ETag`, and responses have none.
    Precondition,
    /// The token of a late reply permits nothing.
    BadReplyToken,
    /// No saga has this id.
    NoSuchSaga,
    /// No definition has this name.
    NoSuchDefinition,
    /// The input lacks a field that the definition refers to.
    InputDoesNotFit,
    /// The business key exists with another input.
    OtherInput,
    /// The idempotency key belongs to another request.
    OtherRequest,
    /// The cancel arrived after the pivot's command was sent.
    TooLate,
    /// A verb arrived after the end of the saga.
    SagaEnded,
    /// The definition has no step of this name.
    NoSuchStep,
    /// The verb does not apply to the present state.
    VerbDoesNotApply,
    /// The verb needs an orchestrator, and the saga is a choreography.
    NotOrchestrated,
    /// The definition has no such version.
    NoSuchVersion,
    /// The version of the definition is retired.
    VersionRetired,
    /// The definition has no active version.
    NoActiveVersion,
    /// The version is stored with other contents.
    VersionChanged,
    /// The definition violates rules.
    InvalidDefinition,
    /// The stored definitions have reached a bound.
    TooManyVersions,
    /// The manually entered output does not fit the step.
    OutputDoesNotFit,
    /// Another version has other schemas of the same messages.
    IncompatibleSchemas,
    /// No plan begins with the event.
    NoSuchEvent,
    /// The load limit is reached.
    Busy,
    /// The server cannot store the saga now.
    Unavailable,
    /// An error that only the server's log describes.
    Internal,
}

/// The page of one code. A program adds entries with its own prefix.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The product's code; `None` for an entry of a program.
    pub(super) code: Option<Code>,
    /// The stable code, `SAGA-nnnn`.
    pub number: &'static str,
    /// The HTTP status of the response.
    pub status: u16,
    /// The kind of problem.
    pub title: &'static str,
    /// The situation in which the server returns this problem.
    pub cause: &'static str,
    /// The check that confirms the cause.
    pub check: &'static str,
    /// The steps that solve the problem.
    pub fix: &'static str,
}

impl Code {
    /// Returns the page of this code.
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
    /// Creates an entry for a `static` of a program.
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

/// All entries of the product, in the order of [`Code`].
pub const CATALOGUE: &[Entry] = &[
    entry(
        Code::NoSuchPage,
        ("SAGA-0100", 404, "Unknown address"),
        "The server has no such path.",
        "`GET /` of the same server lists all addresses.",
        "Correct the path; a business key with `/`, `%` or spaces in it must be percent-encoded.",
    ),
    entry(
        Code::MethodNotAllowed,
        ("SAGA-0101", 405, "Method not supported"),
        "The path exists, but not with this HTTP method.",
        "The `Allow` header of the response lists the supported methods.",
        "Use one of those methods.",
    ),
    entry(
        Code::BodyIsNoJson,
        ("SAGA-0102", 400, "Invalid JSON"),
        "The body is incomplete, or is not JSON in UTF-8.",
        "`at` in the response has the line and column of the error.",
        "Send valid JSON; `jq . body.json` finds the same mistake.",
    ),
    entry(
        Code::BodyDoesNotFit,
        ("SAGA-0103", 400, "Invalid body"),
        "A field is missing, unknown or of a wrong type.",
        "`detail` names the field, `at` its line and column.",
        "Correct the field. Money is in integer cents, quantities are integer pieces.",
    ),
    entry(
        Code::BodyTooLarge,
        ("SAGA-0104", 413, "The body is too large"),
        "A request's body may have up to 1 MiB, and a saga's input up to 256 KiB.",
        "`detail` names the limit that was exceeded.",
        "Store large data elsewhere, and put a reference to it into the input.",
    ),
    entry(
        Code::BodyBrokeOff,
        ("SAGA-0105", 400, "Incomplete body"),
        "The connection ended, or its framing was broken, before the body was complete.",
        "Compare `Content-Length` with the number of bytes sent, and check the timeouts of \
         proxies.",
        "Send the request again: nothing was started.",
    ),
    entry(
        Code::BadParameter,
        ("SAGA-0106", 400, "Invalid parameter"),
        "A query parameter, a header or a part of the path has an invalid value.",
        "`detail` names the parameter and its valid values.",
        "Correct the value. A cursor is valid only as returned by the server.",
    ),
    entry(
        Code::BadName,
        ("SAGA-0107", 400, "Invalid name, key or id"),
        "A name consists of a-z, 0-9, `-` and `.`, with a letter first, at most 100 bytes; a \
         business key is 1 to 200 bytes without control characters; a saga's id is DEFINITION:KEY. \
         An address may name a saga by its key alone.",
        "`detail` quotes the invalid text.",
        "Correct the text. An example of a saga's id is `checkout:10248`.",
    ),
    entry(
        Code::NotAcceptable,
        ("SAGA-0108", 406, "Response type not accepted"),
        "The request's `Accept` excludes `application/json`, and the address has no other response \
         type.",
        "Check the `Accept` header of the request.",
        "Send `Accept: application/json`, `*/*`, or none. Problems are `application/problem+json`, \
         regardless of `Accept`.",
    ),
    entry(
        Code::OtherMediaType,
        ("SAGA-0109", 415, "Unsupported body type"),
        "The request's `Content-Type` is not JSON, or its body is compressed. A body without a \
         type counts as JSON. Outside of browsers, so does curl's default type, \
         `application/x-www-form-urlencoded`.",
        "`detail` names the header.",
        "Send `Content-Type: application/json`, uncompressed.",
    ),
    entry(
        Code::ForeignPage,
        ("SAGA-0110", 403, "Request of a foreign web page"),
        "A browser sent the request for a page of another origin: `Origin` differs from `Host`, or \
         `Sec-Fetch-Site` is cross-site. Nothing was done.",
        "`detail` names the header. A proxy that changes `Host` has the same effect.",
        "Send state-changing requests from a page of the same origin, or from a program. Configure \
         the proxy to keep `Host`.",
    ),
    entry(
        Code::OtherHost,
        ("SAGA-0111", 421, "Unknown host name"),
        "A server that listens on loopback accepts loopback addresses and `localhost` only, so \
         that no web page can reach it under another name (DNS rebinding).",
        "Compare the request's `Host` header with the address that the server prints at its start.",
        "Use http://127.0.0.1:PORT or http://localhost:PORT. Behind a proxy, configure it to send \
         one of these as `Host`.",
    ),
    entry(
        Code::Precondition,
        ("SAGA-0112", 412, "Condition not supported"),
        "The request has `If-Match` or `If-Unmodified-Since`. Responses have no `ETag`, so the \
         condition cannot hold. Nothing was done.",
        "Check the headers of the request.",
        "Remove the header. A verb that does not apply is rejected with SAGA-0205, 0206 or 0208.",
    ),
    entry(
        Code::BadReplyToken,
        ("SAGA-0113", 401, "Invalid reply token"),
        "A reply to a pending command has no token, or one that is malformed, forged, expired, or \
         signed by a key that this server does not have. Nothing was published.",
        "`detail` names the defect. `config` shows `gateway.reply_secrets`.",
        "Send `Authorization: Bearer TOKEN` with the value of `Sagamore-Reply-Token`, which came \
         with the command. All gateways and orchestrators need the same keys. The command is sent \
         again when its pending time has passed, with a new token.",
    ),
    entry(
        Code::NoSuchSaga,
        ("SAGA-0200", 404, "Unknown saga"),
        "No saga of this id was started on this server, or its retention has passed.",
        "`list` shows all sagas.",
        "Check the id, the server's address and its data directory.",
    ),
    entry(
        Code::NoSuchDefinition,
        ("SAGA-0201", 422, "Unknown definition"),
        "The request names a definition that is not registered.",
        "`detail` lists the registered definitions.",
        "Correct the name, or register the definition with `apply`.",
    ),
    entry(
        Code::InputDoesNotFit,
        ("SAGA-0202", 422, "Invalid input"),
        "The input lacks a field that the definition's steps refer to, differs from the \
         definition's schema or message type, or names another business key than the request.",
        "`errors` lists the parts that do not fit, each with its JSON pointer.",
        "Correct the input, which is a JSON object. Nothing was stored, and the key is free.",
    ),
    entry(
        Code::OtherInput,
        ("SAGA-0203", 409, "Saga exists with another input"),
        "Each business key has one saga, and this key's saga was started with other data.",
        "`show ID` shows its input.",
        "Use another key for another saga; send the same input to get the existing saga.",
    ),
    entry(
        Code::OtherRequest,
        ("SAGA-0204", 422, "Idempotency key of another request"),
        "An `Idempotency-Key` belongs to one request, with one body.",
        "Check where the client creates its keys: is one reused from an earlier request?",
        "Create a new key for every request, and reuse it only for retries of that request.",
    ),
    entry(
        Code::TooLate,
        ("SAGA-0205", 409, "Too late to cancel"),
        "The command of the saga's pivot, its point of no return, has been sent. The saga can only \
         go forward.",
        "`show ID` shows the state of the pivot.",
        "Let the saga finish, then reverse its effects in the business, such as by a return.",
    ),
    entry(
        Code::SagaEnded,
        ("SAGA-0206", 409, "Saga has ended"),
        "Completed and compensated sagas never change again.",
        "`show ID` shows the outcome.",
        "No action is needed. A new attempt is a new saga with its own key.",
    ),
    entry(
        Code::NoSuchStep,
        ("SAGA-0207", 404, "Unknown step"),
        "The body's `step` names no step of the saga's definition.",
        "`show ID` lists the steps.",
        "Correct the name.",
    ),
    entry(
        Code::VerbDoesNotApply,
        ("SAGA-0208", 409, "Verb does not apply"),
        "The saga or its step is not in a state that allows the verb, for example a retry of a \
         step that needs no decision.",
        "`allowedActions` of the saga and of its steps list the verbs that apply now.",
        "Show the saga again: its state may have changed.",
    ),
    entry(
        Code::NotOrchestrated,
        ("SAGA-0209", 409, "Saga has no orchestrator"),
        "The saga is a choreography: services react to each other's events, so it cannot be \
         started, cancelled, retried or skipped by an operator.",
        "`show ID` lists the services that it waits for, and the undone steps.",
        "Start a chain at its first service. Repair the service that the chain waits for, or emit \
         lost events again with `reconcile --resend`. After a manual repair, use `resolve ID \
         --reason WHY`.",
    ),
    entry(
        Code::NoSuchVersion,
        ("SAGA-0210", 404, "Unknown version of a definition or plan"),
        "The request names a definition, a plan or a version that is not registered.",
        "`definitions list` and `plans list` show all versions.",
        "Correct the version, or register it with `apply`.",
    ),
    entry(
        Code::VersionRetired,
        ("SAGA-0211", 409, "Retired version"),
        "The version of the definition or plan is retired: no saga or chain starts with it, and it \
         cannot become active. Its running sagas or chains continue.",
        "`definitions list` and `plans list` show when it was retired.",
        "Use another version, or restore this one: apply its file again, then activate it.",
    ),
    entry(
        Code::NoActiveVersion,
        ("SAGA-0212", 409, "No active version"),
        "The active version of the definition or plan was retired, so a start must name a version.",
        "`detail` lists the versions.",
        "Activate a version with `definitions activate` or `plans activate`, or name one \
         in the request.",
    ),
    entry(
        Code::VersionChanged,
        ("SAGA-0213", 409, "Version with other contents"),
        "The version of the definition or plan is registered with other contents, which running \
         sagas or chains may use. Nothing was stored.",
        "`definitions show` and `plans show` print the stored contents.",
        "Raise `version` in the file, and apply it again. `dev` replaces a version when its file \
         changes.",
    ),
    entry(
        Code::InvalidDefinition,
        ("SAGA-0214", 422, "Invalid definition or plan"),
        "The definition or plan violates rules. Nothing was stored.",
        "`errors` lists every violation with its JSON pointer, line and column. `check` \
         finds the same ones in the file.",
        "Correct the file: each `detail` names the fix.",
    ),
    entry(
        Code::TooManyVersions,
        ("SAGA-0215", 409, "Too many definitions or plans"),
        "The store holds at most 1,000 versions of a definition or plan, and 10,000 versions and \
         64 MiB of each of the two kinds. Nothing was stored.",
        "`definitions list` and `plans list` show all versions.",
        "Retire versions: the contents of one without sagas or chains are removed an hour later. \
         After 1,000 versions continue under a new name.",
    ),
    entry(
        Code::OutputDoesNotFit,
        ("SAGA-0216", 422, "Invalid output"),
        "The output of a `resolve` lacks a field that the step yields, differs from the schema of \
         the action's output, or belongs to a verb that takes none.",
        "`errors` lists the parts that do not fit, each with its JSON pointer.",
        "Correct the output. Nothing was stored, and the step still waits.",
    ),
    entry(
        Code::IncompatibleSchemas,
        ("SAGA-0217", 409, "Incompatible schemas"),
        "A message or an output has another schema in a version that is not retired. Participants \
         handle the commands of all versions, so a schema may only gain optional fields. Nothing \
         was stored.",
        "`errors` lists the changed schemas, each with its JSON pointer, line and column. The verb \
         `definitions diff` compares stored versions.",
        "Make new fields optional, give the message another name, or retire the other version.",
    ),
    entry(
        Code::NoSuchEvent,
        ("SAGA-0218", 422, "Unknown first event"),
        "No active plan begins with an event of this type, or several plans do. Nothing was \
         stored.",
        "`detail` lists the first events of the active plans. `plans list` shows all \
         versions.",
        "Correct the type, or register the plan with `apply`. If several plans begin with \
         the event, name one by the attribute `sagadefinition`.",
    ),
    entry(
        Code::Busy,
        ("SAGA-0400", 429, "Load limit reached"),
        "The number of sagas in flight or of waiting requests exceeds the server's limit. Nothing \
         was started.",
        "`/metrics` shows the sagas in flight and the oldest outstanding step.",
        "Retry after the time in `Retry-After`. If the problem persists, find the participant that \
         does not reply.",
    ),
    entry(
        Code::Unavailable,
        ("SAGA-0401", 503, "Server unavailable"),
        "The database or the log is unavailable, or the server is starting or stopping.",
        "Check `/readyz`, the server's log, and the free disk space.",
        "Retry after the time in `Retry-After`. Starting the same saga again is always safe.",
    ),
    entry(
        Code::Internal,
        ("SAGA-0500", 500, "Internal error"),
        "An unexpected error made this request fail. The server continues.",
        "The server's log contains the error at this time.",
        "Repeat the request (starting the same saga again is safe), and report the error with the \
         log.",
    ),
];
