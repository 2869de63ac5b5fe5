//! The client's preference to wait for the outcome (RFC 7240), and its limit.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Code, Problem};

/// The longest wait, in seconds. Longer preferences are shortened, as `Preference-Applied` shows.
pub const WAIT_S_MAX: u64 = 30;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The response header with the applied preference.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A preference to wait, already limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    seconds: u64,
}

impl Wait {
    /// Parses the preference of `Prefer: wait=N`, if there is one.
    pub fn of(headers: &HeaderMap) -> Result<Option<Wait>, Problem> {
        for value in headers.get_all(PREFER) {
            let text = value.to_str().map_err(|_| bad("Prefer"))?;
            for preference in text.split([',', ';']) {
                let Some((name, seconds)) = preference.split_once('=') else { continue };
                if name.trim().eq_ignore_ascii_case("wait") {
                    return Wait::seconds(seconds.trim().trim_matches('"'))
                        .map(Some)
                        .ok_or_else(|| bad("Prefer"));
                }
            }
        }
        Ok(None)
    }

    /// Parses the preference of `Prefer: wait=N`, or else of `?wait=N`.
    pub fn preferred(request: &Request) -> Result<Option<Wait>, Problem> {
        if let Some(wait) = Wait::of(request.headers())? {
            return Ok(Some(wait));
        }
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let wait = pairs.filter_map(|pair| pair.strip_prefix("wait=")).next();
        wait.map(|seconds| Wait::seconds(seconds).ok_or_else(|| bad("wait"))).transpose()
    }

    /// Parses a number of seconds.
    pub fn seconds(text: &str) -> Option<Wait> {
        text.parse::<u64>().ok().map(|seconds| Wait { seconds: seconds.min(WAIT_S_MAX) })
    }

    /// Returns the time to wait.
    pub fn patience(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns the value of `Preference-Applied`.
    pub fn applied(self) -> HeaderValue {
        HeaderValue::try_from(format!("wait={}", self.seconds)).expect("digits are a header value")
    }
}

fn bad(header: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{header}: write wait=SECONDS, at most {WAIT_S_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_to_wait_is_parsed_and_limited() {
        let check = |text: &'static str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(text));
            assert_eq!(Wait::of(&headers).unwrap().map(|wait| wait.seconds), expected, "{text}");
        };
        check("wait=10", Some(10));
        check("respond-async, wait=5", Some(5));
        check("Wait = \"7\"", Some(7));
        check("wait=3600", Some(WAIT_S_MAX));
        check("respond-async", None);
    }

    #[test]
    fn a_preference_that_is_no_number_is_a_problem() {
        let mut headers = HeaderMap::new();
        headers.insert(PREFER, HeaderValue::from_static("wait=long"));
        assert!(Wait::of(&headers).is_err());
    }
}
