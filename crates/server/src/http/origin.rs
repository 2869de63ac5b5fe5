//! Protection against requests of foreign web pages. State-changing ones are rejected, and on
//! loopback also foreign host names (DNS rebinding).
//!
//! The `csrf` layer of tower-http 0.7 lets every GET pass, but a program may start a saga by GET.
//! This module has one rule for both, after the same source: `CrossOriginProtection` of Go 1.25.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::{Code, Problem};

const FETCH_SITE: &str = "sec-fetch-site";

/// Rejects a browser's request for a page of another origin. Other clients send neither header.
pub fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let site = headers.get(FETCH_SITE).map(|value| value.to_str().unwrap_or("unreadable"));
    if let Some(site) = site.filter(|site| !["same-origin", "none"].contains(site)) {
        return Err(foreign(&format!("Sec-Fetch-Site: {site}")));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("unreadable");
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if authority.is_none() || authority != host(request) {
            return Err(foreign(&format!("Origin: {origin}")));
        }
    }
    Ok(())
}

/// Whether a browser sent the request for a page.
pub fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE)
}

/// Passes requests whose host is a loopback address or `localhost`.
pub async fn on_loopback(request: Request, next: Next) -> Response {
    match host(&request).filter(|host| !is_local(host)) {
        None => next.run(request).await,
        Some(host) => {
            let why = format!(
                "host '{host}' is unknown, because this server listens on loopback: use 127.0.0.1 \
                 or localhost"
            );
            Problem::new(Code::OtherHost, why).into_response()
        }
    }
}

/// Returns the host that the client named. Only old clients, and no browsers, omit it.
fn host(request: &Request) -> Option<&str> {
    let named =
        request.headers().get(header::HOST).map(|value| value.to_str().unwrap_or("unreadable"));
    request.uri().authority().map(|authority| authority.as_str()).or(named)
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn foreign(header: &str) -> Problem {
    Problem::new(Code::ForeignPage, format!("{header} belongs to another origin: nothing was done"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn requests_of_foreign_pages_are_rejected() {
        let refused = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/orders").header("host", "127.0.0.1:3000");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check(&request.body(Body::empty()).unwrap()).is_err()
        };
        assert!(!refused(&[]));
        assert!(!refused(&[("origin", "http://127.0.0.1:3000")]));
        assert!(!refused(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://127.0.0.1:3000")
        ]));
        assert!(!refused(&[("sec-fetch-site", "none")]));
        assert!(refused(&[("origin", "http://127.0.0.1:3001")]));
        assert!(refused(&[("origin", "http://evil.example")]));
        assert!(refused(&[("origin", "null")]));
        assert!(refused(&[("sec-fetch-site", "cross-site")]));
        assert!(refused(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn only_loopback_names_are_local() {
        let check = |host: &str, expected: bool| assert_eq!(is_local(host), expected, "{host}");
        check("127.0.0.1:3000", true);
        check("127.0.0.1", true);
        check("LOCALHOST:80", true);
        check("[::1]:3000", true);
        check("[::1]", true);
        check("evil.example:3000", false);
        check("localhost.evil.example", false);
        check("127.0.0.1.evil.example:3000", false);
        check("10.0.0.1", false);
        check("", false);
    }
}
