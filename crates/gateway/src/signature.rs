//! Signatures of requests by Standard Webhooks: HMAC-SHA256 over id, time and body.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of a secret's text.
const PREFIX: &str = "whsec_";
/// The lengths of a secret, in bytes, that Standard Webhooks permits.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key that signs requests. Its debug form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The text is not a secret. The message does not contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a secret of Standard Webhooks: write whsec_ and the base64 of 24 to 64 random bytes, as \
     from: echo whsec_$(openssl rand -base64 32)"
)]
pub struct NoSecret;

impl Secret {
    /// Parses `whsec_` and the key in base64.
    ///
    /// # Errors
    /// The text has another form or length.
    pub fn parse(text: &str) -> Result<Secret, NoSecret> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(NoSecret)?;
        let key = STANDARD.decode(text).map_err(|_| NoSecret)?;
        if BYTES.contains(&key.len()) { Ok(Secret(key)) } else { Err(NoSecret) }
    }

    /// Returns the text of a key of these random bytes.
    pub fn encode(bytes: [u8; 32]) -> String {
        format!("{PREFIX}{}", STANDARD.encode(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the signature of a message: `v1,` and base64.
    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length is a key");
        mac.update(id.as_bytes());
        mac.update(format!(".{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Returns the value of `webhook-signature`: one signature per secret, separated by spaces.
pub fn sign(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> String {
    let signatures = secrets.iter().map(|secret| secret.sign(id, seconds, body));
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks publish.
    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&secret), id, 1_614_265_330, body), expected);
        let both = sign(&[secret.clone(), secret], id, 1_614_265_330, body);
        assert_eq!(both, format!("{expected} {expected}"));
        assert_eq!(sign(&[], id, 1_614_265_330, body), "");
    }

    #[test]
    fn a_secret_has_a_prefix_and_enough_bytes_and_is_not_printed() {
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_%%"] {
            assert_eq!(Secret::parse(text), Err(NoSecret), "{text}");
        }
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        assert_eq!(format!("{:?}", Secret::parse(text).expect("a secret")), "Secret(..)");
    }
}
