//! The binding of a participant: its URL, limits and secrets. It is configuration only.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use hyper::Uri;
use sagamore_database::postgres::Tls;

use crate::signature::Secret;

/// The configuration of one HTTP participant.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The URL of every request.
    pub endpoint: Endpoint,
    /// Time limit of a call, from the connection to the last byte of the response.
    pub timeout: Duration,
    /// Maximum concurrent calls.
    pub concurrency: usize,
    /// The keys that sign requests: one, or two during a rotation. Without any, requests are not
    /// signed.
    pub secrets: Vec<Secret>,
    /// The authority and the client's certificate of an `https://` URL.
    pub tls: Tls,
}

/// The URL of a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    is_secure: bool,
    host: String,
    port: u16,
}

/// The only addresses that gateways connect to. Responses cannot extend it, because redirects are
/// not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress(BTreeSet<String>);

/// A URL or an address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Unfit {
    /// The text is not a URL of an HTTP service.
    #[error(
        "'{url}' is not the URL of a participant: {why}. Write http://HOST:PORT/PATH or https://.."
    )]
    Url { url: String, why: &'static str },
    /// This build has no TLS.
    #[error("'{0}': this program was built without TLS: build it with `--features tls`")]
    NoTls(String),
    /// The TLS files cannot be used.
    #[error("TLS to '{url}': {why}")]
    Tls { url: String, why: String },
    /// The text is not an address.
    #[error("'{0}' is not an address: write HOST:PORT")]
    Address(String),
    /// The URL's address is not in the list.
    #[error("'{url}' is outside of egress: add \"{address}\" to egress, or correct the URL")]
    Egress { url: String, address: String },
}

impl Binding {
    /// Default time limit of a call, shorter than a step's default timeout.
    pub const TIMEOUT: Duration = Duration::from_secs(20);
    /// Default maximum of concurrent calls.
    pub const CONCURRENCY: usize = 32;

    /// Creates a binding with the defaults, without signatures.
    pub fn of(endpoint: Endpoint) -> Binding {
        Binding {
            endpoint,
            timeout: Binding::TIMEOUT,
            concurrency: Binding::CONCURRENCY,
            secrets: Vec::new(),
            tls: Tls::default(),
        }
    }
}

impl Endpoint {
    /// Parses `http://HOST:PORT/PATH` or `https://..`. The port defaults to 80 or 443.
    ///
    /// # Errors
    /// Says what is wrong with the URL.
    pub fn parse(url: &str) -> Result<Endpoint, Unfit> {
        let unfit = |why| Unfit::Url { url: url.to_owned(), why };
        if url.contains('#') {
            return Err(unfit("it has a fragment"));
        }
        let uri: Uri = url.parse().map_err(|_| unfit("it cannot be parsed"))?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => return Err(Unfit::NoTls(url.to_owned())),
            _ => return Err(unfit("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| unfit("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(unfit("it has a user"));
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(unfit("it has no host"));
        }
        let port = match authority.port() {
            Some(port) if port.as_u16() > 0 => port.as_u16(),
            Some(_) => return Err(unfit("its port is not one from 1 to 65535")),
            None if authority.as_str().ends_with(':') => return Err(unfit("its port is missing")),
            None if is_secure => 443,
            None => 80,
        };
        Ok(Endpoint { uri, is_secure, host, port })
    }

    /// Returns the URL.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether requests are encrypted.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Returns the address, such as `127.0.0.1:8080`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl Egress {
    /// Parses addresses `HOST:PORT`.
    ///
    /// # Errors
    /// The first text that is not an address.
    pub fn parse<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Egress, Unfit> {
        let parsed = addresses.into_iter().map(|address| {
            let unfit = || Unfit::Address(address.to_owned());
            let (host, port) = address.rsplit_once(':').ok_or_else(unfit)?;
            let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(unfit)?;
            if host.is_empty() || host.contains(['/', '@']) {
                return Err(unfit());
            }
            Ok(format!("{}:{port}", host.to_ascii_lowercase()))
        });
        Ok(Egress(parsed.collect::<Result<_, _>>()?))
    }

    /// Returns the addresses of these URLs.
    pub fn of<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Egress {
        Egress(endpoints.into_iter().map(Endpoint::address).collect())
    }

    /// Adds the address of a URL.
    pub fn with(mut self, endpoint: &Endpoint) -> Egress {
        self.0.insert(endpoint.address());
        self
    }

    /// Checks that the URL's address is in the list.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, endpoint: &Endpoint) -> Result<(), Unfit> {
        let address = endpoint.address();
        match self.0.contains(&address) {
            true => Ok(()),
            false => Err(Unfit::Egress { url: endpoint.to_string(), address }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_no_secret() {
        let check = |url: &str, address: &str| {
            assert_eq!(Endpoint::parse(url).map(|endpoint| endpoint.address()), Ok(address.into()));
        };
        check("http://127.0.0.1:8080", "127.0.0.1:8080");
        check("http://Cards.internal/sagas?tenant=1", "cards.internal:80");
        check("http://[::1]:8080/", "[::1]:8080");
        let refused = |url: &str, part: &str| {
            let why = Endpoint::parse(url).expect_err(url).to_string();
            assert!(why.contains(part) && why.contains(url), "{why}");
        };
        refused("cards:8080", "does not begin with http://");
        refused("/sagas", "does not begin with http://");
        refused("ftp://cards/", "does not begin with http://");
        refused("http://", "cannot be parsed");
        refused("http://cards:0/", "its port is not one");
        refused("http://user:password@cards/", "it has a user");
        refused("http://cards/#a", "it has a fragment");
        if cfg!(feature = "tls") {
            check("HTTPS://cards/", "cards:443");
        } else {
            refused("https://cards/", "--features tls");
        }
    }

    #[test]
    fn egress_permits_listed_addresses_only() {
        let endpoint = |url| Endpoint::parse(url).expect("a URL");
        let egress = Egress::parse(["Cards:8080", "[::1]:80"]).expect("addresses");
        assert_eq!(egress.check(&endpoint("http://cards:8080/a")), Ok(()));
        assert_eq!(egress.check(&endpoint("http://[::1]/")), Ok(()));
        let why = egress.check(&endpoint("http://cards/")).expect_err("another port").to_string();
        assert!(why.contains("add \"cards:80\" to egress"), "{why}");
        for address in ["cards", "cards:", ":80", "cards:0", "http://cards:80", "cards:80/a"] {
            assert_eq!(Egress::parse([address]), Err(Unfit::Address(address.into())));
        }
    }
}
