//! Reply tokens. A command's request carries a token, which permits the participant to reply to
//! that command after the response. Tokens have no state: a token names the command and the reply
//! address, and is signed by a key.
//!
//! Form: base64url of JSON, `.`, and base64url of the HMAC-SHA256 over a prefix and that text.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sagamore_core::{Name, ReplyTo, SagaId, StepKey, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::signature::Secret;

/// The time after which a token is not accepted. It exceeds the longest delay of a pending command.
pub const TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Maximum bytes of a token: a business key of 200 characters may be six times as long in JSON.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// The prefix of every signed text. A signature of another kind by the same key is thus no token.
const PURPOSE: &str = "sagamore-reply-token.1.";

/// The keys of tokens: the first one signs, and all of them are accepted. Its debug form hides
/// them.
#[derive(Clone)]
pub struct ReplyKeys(Vec<(String, Secret)>);

/// The reply that a token permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The command that the reply answers.
    pub key: StepKey,
    /// The address of the reply.
    pub reply_to: ReplyTo,
    /// The participant that replies.
    pub participant: Name,
}

/// The reason why a token permits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// The text has another form.
    #[error("the token is malformed: send the value of Sagamore-Reply-Token unchanged")]
    Malformed,
    /// No key of this server has signed it.
    #[error(
        "the token is signed by a key that this server does not have: compare \
         gateway.reply_secrets of the processes"
    )]
    OtherKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong: send the value of Sagamore-Reply-Token unchanged")]
    Forged,
    /// The token is too old.
    #[error("the token has expired: a resend of the command carries a new one")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    key: String,
    saga: String,
    step: String,
    kind: String,
    generation: u32,
    participant: String,
    topic: String,
    partition: u32,
    /// The expiry, in seconds since 1970.
    until: i64,
}

impl ReplyKeys {
    /// Creates the keys; `None` without any.
    pub fn of(secrets: Vec<Secret>) -> Option<ReplyKeys> {
        let id = |secret: &Secret| BASE64.encode(&Sha256::digest(secret.bytes())[..6]);
        let keys: Vec<_> = secrets.into_iter().map(|secret| (id(&secret), secret)).collect();
        (!keys.is_empty()).then_some(ReplyKeys(keys))
    }

    /// Returns a token for this reply, which expires after [`TOKEN_TTL`].
    pub fn sign(&self, permit: &Permit, now: Timestamp) -> String {
        let (id, secret) = &self.0[0];
        let Permit { key, reply_to, participant } = permit;
        let claims = Claims {
            key: id.clone(),
            saga: key.saga.to_string(),
            step: key.step.to_string(),
            kind: key.direction.to_string(),
            generation: key.generation,
            participant: participant.to_string(),
            topic: reply_to.topic.clone(),
            partition: reply_to.partition,
            until: now.plus(TOKEN_TTL).0.div_euclid(1_000),
        };
        let mut token = BASE64.encode(serde_json::to_vec(&claims).expect("texts are JSON"));
        let signature = mac(secret, &token).finalize().into_bytes();
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        token
    }

    /// Returns the reply that a token permits.
    ///
    /// # Errors
    /// The token is malformed, forged or expired, or signed by another key.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Permit, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::Malformed);
        }
        let (text, signature) = token.split_once('.').ok_or(BadToken::Malformed)?;
        let decode = |text: &str| BASE64.decode(text).map_err(|_| BadToken::Malformed);
        let (json, signature) = (decode(text)?, decode(signature)?);
        let claims: Claims = serde_json::from_slice(&json).map_err(|_| BadToken::Malformed)?;
        let own = self.0.iter().find(|(id, _)| *id == claims.key);
        let (_, secret) = own.ok_or(BadToken::OtherKey)?;
        mac(secret, text).verify_slice(&signature).map_err(|_| BadToken::Forged)?;
        if now.0.div_euclid(1_000) > claims.until {
            return Err(BadToken::Expired);
        }
        claims.permit().ok_or(BadToken::Malformed)
    }
}

impl Claims {
    fn permit(self) -> Option<Permit> {
        let Claims { saga, step, kind, generation, participant, topic, partition, .. } = self;
        let saga: SagaId = saga.parse().ok()?;
        let (step, direction) = (step.parse().ok()?, kind.parse().ok()?);
        let key = StepKey { saga, step, direction, generation };
        let reply_to = ReplyTo { topic, partition };
        Some(Permit { key, reply_to, participant: participant.parse().ok()? })
    }
}

impl fmt::Debug for ReplyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

fn mac(secret: &Secret, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("any length is a key");
    mac.update(PURPOSE.as_bytes());
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use sagamore_core::Direction;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn secret(byte: char) -> Secret {
        let text = format!("whsec_{}", byte.to_string().repeat(32));
        Secret::parse(&text).expect("a secret")
    }

    fn keys(bytes: &str) -> ReplyKeys {
        ReplyKeys::of(bytes.chars().map(secret).collect()).expect("keys")
    }

    fn permit(saga: &str) -> Permit {
        let (saga, step) = (saga.parse().expect("a saga"), "pay".parse().expect("a name"));
        Permit {
            key: StepKey { saga, step, direction: Direction::Action, generation: 2 },
            reply_to: ReplyTo { topic: "sagamore.replies".into(), partition: 7 },
            participant: "cards".parse().expect("a name"),
        }
    }

    #[test]
    fn a_token_permits_the_reply_to_its_command() {
        let token = keys("A").sign(&permit("trip:Größe 1"), NOW);
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
        assert_eq!(keys("A").verify(&token, NOW), Ok(permit("trip:Größe 1")));
    }

    #[test]
    fn the_longest_key_fits() {
        let token = keys("A").sign(&permit(&format!("trip:{}", "\"".repeat(200))), NOW);
        assert!(token.len() <= TOKEN_BYTES_MAX, "{}", token.len());
    }

    #[test]
    fn a_changed_token_permits_nothing() {
        let keys = keys("A");
        let (mine, other) = (keys.sign(&permit("trip:1"), NOW), keys.sign(&permit("trip:2"), NOW));
        let (mine, other) = (mine.split_once('.').unwrap(), other.split_once('.').unwrap());
        let forged = format!("{}.{}", other.0, mine.1);
        assert_eq!(keys.verify(&forged, NOW), Err(BadToken::Forged));
        let cut = format!("{}.{}", mine.0, &mine.1[..mine.1.len() - 3]);
        assert_eq!(keys.verify(&cut, NOW), Err(BadToken::Forged));
        for token in ["", ".", "a.b", "e30.e30", mine.0, &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(keys.verify(token, NOW), Err(BadToken::Malformed), "{token}");
        }
    }

    #[test]
    fn an_expired_token_permits_nothing() {
        let token = keys("A").sign(&permit("trip:1"), NOW);
        let end = NOW.plus(TOKEN_TTL);
        assert!(keys("A").verify(&token, end).is_ok());
        let late = end.plus(Duration::from_secs(1));
        assert_eq!(keys("A").verify(&token, late), Err(BadToken::Expired));
    }

    #[test]
    fn a_rotated_key_is_accepted_until_it_is_removed() {
        let token = keys("A").sign(&permit("trip:1"), NOW);
        assert!(keys("BA").verify(&token, NOW).is_ok());
        assert_eq!(keys("B").verify(&token, NOW), Err(BadToken::OtherKey));
        let next = keys("BA").sign(&permit("trip:1"), NOW);
        assert!(keys("B").verify(&next, NOW).is_ok());
    }

    /// A webhook signature by the same key is not a token.
    #[test]
    fn a_key_of_requests_signs_no_tokens() {
        let token = keys("A").sign(&permit("trip:1"), NOW);
        let (text, _) = token.split_once('.').expect("two parts");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret('A').bytes()).expect("a key");
        mac.update(text.as_bytes());
        let forged = format!("{text}.{}", BASE64.encode(mac.finalize().into_bytes()));
        assert_eq!(keys("A").verify(&forged, NOW), Err(BadToken::Forged));
    }
}
