//! The checks before every handler: method, origin, query and media types. All derive from the
//! table of addresses.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::origin;
use super::query;
use super::routes::{Address, Media, Table};
use super::shape::Shape;
use crate::problem::{Code, Problem};

/// Passes a request to its handler, or returns the problem with it.
pub async fn door(State(table): State<Table>, request: Request, next: Next) -> Response {
    let found = table.find(request.method(), request.uri().path());
    let other = || table.methods(request.uri().path());
    match (found, found.map_or_else(other, |_| None)) {
        (Some(address), _) => match check(address, &request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        },
        (None, Some(allow)) => other_method(&request, &allow),
        // the router may match an empty segment
        (None, None) => nothing_here(&request).into_response(),
    }
}

fn nothing_here(request: &Request) -> Problem {
    Problem::new(Code::NoSuchPage, format!("this server has no address {}", request.uri().path()))
}

fn check(address: &Address, request: &Request) -> Result<(), Problem> {
    let (path, headers) = (request.uri().path(), request.headers());
    if !request.method().is_safe() || address.contract.acts {
        origin::check(request)?;
        unconditional(headers)?;
    }
    query::check_path(address.path, path)?;
    query::check(request.uri().query().unwrap_or_default(), address.contract.query)?;
    accept(address, headers)?;
    if address.contract.identified && headers.contains_key("idempotency-key") {
        let why = "Idempotency-Key: this address ignores it, and the id and the source of the \
            event identify the request: repeat both, and remove the header";
        return Err(Problem::new(Code::BadParameter, why));
    }
    if request.method() == Method::POST { content_type(address, headers) } else { Ok(()) }
}

/// Returns the response to a method that the path lacks: 405 with `Allow`, or 204 with `Allow` for
/// OPTIONS.
fn other_method(request: &Request, allow: &str) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let (path, method) = (request.uri().path(), request.method());
        Problem::new(Code::MethodNotAllowed, format!("{path} supports {allow}, not {method}"))
            .into_response()
    };
    let allow = HeaderValue::try_from(allow).unwrap_or(HeaderValue::from_static(""));
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Rejects conditions on an `ETag`, which no response has. `If-Match: *` passes: the verb checks
/// existence.
fn unconditional(headers: &HeaderMap) -> Result<(), Problem> {
    let holds = |name: &HeaderName| {
        headers
            .get_all(name)
            .iter()
            .all(|value| *name == header::IF_MATCH && value.as_bytes() == b"*")
    };
    match [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE]
        .iter()
        .find(|name| !holds(name))
    {
        Some(name) => Err(Problem::new(
            Code::Precondition,
            format!("{name}: responses of this server have no ETag"),
        )),
        None => Ok(()),
    }
}

/// Rejects a client that does not accept JSON from a JSON address. Text and HTML addresses ignore
/// `Accept`.
fn accept(address: &Address, headers: &HeaderMap) -> Result<(), Problem> {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty()
        || address.contract.answers != Media::Json
        || values.iter().any(|value| accepts_json(value))
    {
        return Ok(());
    }
    let accepted = values.join(", ");
    Err(Problem::new(
        Code::NotAcceptable,
        format!("Accept: {accepted} excludes application/json, the only type of this address"),
    ))
}

/// Whether an `Accept` value includes JSON. The most specific range decides: `application/json;q=0,
/// */*` excludes it.
fn accepts_json(accept: &str) -> bool {
    let mut best: Option<(usize, bool)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let rank = match media.as_str() {
            "application/json" => 3,
            "application/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        let quality =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let accepted = quality
            .and_then(|quality| quality.trim().parse::<f32>().ok())
            .is_none_or(|quality| quality > 0.0);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, accepted));
        }
    }
    best.is_some_and(|(_, accepted)| accepted)
}

/// Rejects a body of another type. A body without a type counts as JSON. The same holds for curl's
/// default.
fn content_type(address: &Address, headers: &HeaderMap) -> Result<(), Problem> {
    let encoding =
        headers.get(header::CONTENT_ENCODING).filter(|value| value.as_bytes() != b"identity");
    if encoding.is_some() {
        return Err(Problem::new(
            Code::OtherMediaType,
            "Content-Encoding: only uncompressed bodies are supported",
        ));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let lines = matches!(address.contract.body, Some(Shape::Lines(_)))
        && ["application/x-ndjson", "application/jsonl", "application/x-jsonlines"]
            .contains(&essence);
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let yaml = address.contract.body == Some(&Shape::Yaml)
        && ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"]
            .contains(&essence);
    let text = address.contract.body == Some(&Shape::Outcome) && essence == "text/plain";
    let curl = essence == "application/x-www-form-urlencoded" && !origin::is_of_a_page(headers);
    if json || lines || yaml || text || curl {
        return Ok(());
    }
    Err(Problem::new(
        Code::OtherMediaType,
        format!("Content-Type: {essence} is not supported, use application/json"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides_whether_json_is_accepted() {
        let check =
            |accept: &str, expected: bool| assert_eq!(accepts_json(accept), expected, "{accept}");
        check("application/json", true);
        check("text/html, application/xhtml+xml, */*;q=0.8", true);
        check("application/*", true);
        check("text/html", false);
        check("application/json;q=0, */*", false);
        check("application/json; q=0.5", true);
        check("", false);
    }
}
