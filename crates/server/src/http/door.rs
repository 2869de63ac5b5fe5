//! The checks at the door, the same for every address of every server: method, origin, query, media types. All follow from
//! the table of addresses.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::origin;
use super::query;
use super::routes::{Address, Media, Table};
use super::shape::Shape;
use crate::problem::{Code, Problem};

/// Lets a request through, or answers what is wrong with it.
pub async fn door(State(table): State<Table>, request: Request, next: Next) -> Response {
    let found = table.find(request.method(), request.uri().path());
    let other = || table.methods(request.uri().path());
    match (found, found.map_or_else(other, |_| None)) {
        (Some(address), _) => match check(address, &request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        },
        (None, Some(allow)) => other_method(&request, &allow),
        (None, None) => nothing_here(&request).into_response(), // whatever the router makes of an empty segment
    }
}

fn nothing_here(request: &Request) -> Problem {
    Problem::new(Code::NoSuchPage, format!("{} is no address of this server", request.uri().path()))
}

fn check(address: &Address, request: &Request) -> Result<(), Problem> {
    let (path, headers) = (request.uri().path(), request.headers());
    if !request.method().is_safe() || address.takes.acts {
        origin::check(request)?;
        unconditional(headers)?;
    }
    query::check_path(address.path, path)?;
    query::check(request.uri().query().unwrap_or_default(), address.takes.query)?;
    accept(address, headers)?;
    if request.method() == Method::POST { content_type(address, headers) } else { Ok(()) }
}

/// The answer to a method that an existing path lacks: 405 with `Allow`, or 204 with `Allow` for OPTIONS.
fn other_method(request: &Request, allow: &str) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let (path, method) = (request.uri().path(), request.method());
        Problem::new(Code::MethodNotAllowed, format!("{path} does not take {method}, but {allow}"))
            .into_response()
    };
    let allow = HeaderValue::try_from(allow).unwrap_or(HeaderValue::from_static(""));
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Refuses conditions on an `ETag`: no answer has one. That there is something (`If-Match: *`) is for the verb to find.
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
            format!("{name}: answers of this server have no ETag"),
        )),
        None => Ok(()),
    }
}

/// Refuses a client that takes no JSON where JSON is answered. Text and pages are for people and probes: there the wish is
/// passed over.
fn accept(address: &Address, headers: &HeaderMap) -> Result<(), Problem> {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty()
        || address.takes.answers != Media::Json
        || values.iter().any(|value| takes_json(value))
    {
        return Ok(());
    }
    let wanted = values.join(", ");
    Err(Problem::new(
        Code::NotAcceptable,
        format!("Accept: {wanted} does not take application/json, the only form"),
    ))
}

/// Whether one of the ranges in an `Accept` takes JSON. The most specific one counts: `application/json;q=0, */*` takes none.
fn takes_json(accept: &str) -> bool {
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
        let wanted = quality
            .and_then(|quality| quality.trim().parse::<f32>().ok())
            .is_none_or(|quality| quality > 0.0);
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, wanted));
        }
    }
    best.is_some_and(|(_, wanted)| wanted)
}

/// Refuses a body of another type. Without a type it counts as JSON, and so does what curl sends by itself.
fn content_type(address: &Address, headers: &HeaderMap) -> Result<(), Problem> {
    let encoding =
        headers.get(header::CONTENT_ENCODING).filter(|value| value.as_bytes() != b"identity");
    if encoding.is_some() {
        return Err(Problem::new(
            Code::OtherMediaType,
            "Content-Encoding: bodies are taken as they are, uncompressed",
        ));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let lines = matches!(address.takes.body, Some(Shape::Lines(_)))
        && ["application/x-ndjson", "application/jsonl", "application/x-jsonlines"]
            .contains(&essence);
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let curl = essence == "application/x-www-form-urlencoded" && !origin::is_of_a_page(headers);
    if json || lines || curl {
        return Ok(());
    }
    Err(Problem::new(
        Code::OtherMediaType,
        format!("Content-Type: {essence} is not taken, but application/json"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_json_is_told_by_the_most_specific_range() {
        let check = |accept: &str, wanted: bool| assert_eq!(takes_json(accept), wanted, "{accept}");
        check("application/json", true);
        check("text/html, application/xhtml+xml, */*;q=0.8", true);
        check("application/*", true);
        check("text/html", false);
        check("application/json;q=0, */*", false);
        check("application/json; q=0.5", true);
        check("", false);
    }
}
