//! The bindings of HTTP participants: `[participants.NAME]` and `egress`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use sagamore_core::Name;
use sagamore_database::postgres::Tls;
use sagamore_gateway::{Binding, Egress, Endpoint, ReplyKeys, Secret};
use sagamore_server::ReactionPort;

use super::{ParticipantSettings, Settings, TlsSettings};
use crate::error::ProgramError;
use crate::http_participants::{HttpParticipants, ReactionReader};

/// Maximum concurrent calls of one participant.
const CONCURRENCY_MAX: usize = 1_024;
/// Maximum time limit of a call, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 600_000;
/// Maximum keys of one participant: the current one, and the next one during a rotation.
const SECRETS_MAX: usize = 2;

impl Settings {
    /// Returns the HTTP participants with their limits and keys.
    ///
    /// # Errors
    ///
    /// The first invalid key, after its position.
    pub fn http_participants(&self) -> Result<HttpParticipants, ProgramError> {
        self.bindings().map_err(ProgramError::of)
    }

    /// Returns the reader of the reactions that gateways have stored, wherever they run.
    pub(crate) fn reactions(&self) -> Result<Arc<dyn ReactionPort>, ProgramError> {
        let bound = self.http_participants()?.names();
        Ok(ReactionReader::of(self.database("gateway")?, bound))
    }

    fn bindings(&self) -> Result<HttpParticipants> {
        let mut bindings = BTreeMap::new();
        for (name, participant) in &self.participants {
            if let Some(binding) = self.binding(name, participant)? {
                bindings.insert(Name::new(name)?, binding);
            }
        }
        let endpoints = bindings.values().map(|binding: &Binding| &binding.endpoint);
        let egress = match self.egress.is_empty() {
            true => Egress::of(endpoints),
            false => Egress::parse(self.egress.iter().map(String::as_str))
                .with_context(|| self.named("egress"))?,
        };
        for (name, binding) in &bindings {
            let key = format!("participants.{name}.url");
            egress.check(&binding.endpoint).with_context(|| self.named(&key))?;
        }
        let secrets = self.secrets(&self.gateway.reply_secrets, "gateway.reply_secrets")?;
        let participants = HttpParticipants::of(bindings, egress, ReplyKeys::of(secrets));
        Ok(participants.with_retention(self.barrier_retention()))
    }

    /// Returns the binding of an HTTP participant; `None` for one that consumes its commands.
    fn binding(&self, name: &str, settings: &ParticipantSettings) -> Result<Option<Binding>> {
        let ParticipantSettings { protocol, url, timeout_ms, concurrency, secrets, tls } = settings;
        let key = |key: &str| self.named(&format!("participants.{name}.{key}"));
        if self.is_built_in(name) {
            bail!(
                "{}: the program has the service {name} built in: remove this table",
                self.named(&format!("participants.{name}"))
            );
        }
        match (protocol.as_str(), url.as_str()) {
            ("kafka", "") => return Ok(None),
            ("kafka", _) => bail!("{}: a participant on Kafka has no URL: remove it", key("url")),
            ("http", "") => bail!("{}: missing: write http://HOST:PORT/PATH", key("url")),
            ("http", _) => {}
            (other, _) => bail!("{}: '{other}' is no protocol: use http or kafka", key("protocol")),
        }
        if !(1..=TIMEOUT_MS_MAX).contains(timeout_ms) {
            bail!("{}: {timeout_ms} is out of range: use 1 to {TIMEOUT_MS_MAX}", key("timeout_ms"));
        }
        if !(1..=CONCURRENCY_MAX).contains(concurrency) {
            bail!(
                "{}: {concurrency} is out of range: use 1 to {CONCURRENCY_MAX}",
                key("concurrency")
            );
        }
        let endpoint = Endpoint::parse(url).with_context(|| key("url"))?;
        if let Some(files) = tls {
            if !endpoint.is_secure() {
                bail!("{}: only https:// URLs use these files", key("tls"));
            }
            self.check_files(&format!("participants.{name}.tls"), files)?;
        }
        Ok(Some(Binding {
            endpoint,
            timeout: Duration::from_millis(*timeout_ms),
            concurrency: *concurrency,
            secrets: self.secrets(secrets, &format!("participants.{name}.secrets"))?,
            tls: tls
                .as_ref()
                .map(|TlsSettings { ca, certificate, key }| Tls {
                    ca: ca.clone(),
                    certificate: certificate.clone(),
                    key: key.clone(),
                })
                .unwrap_or_default(),
        }))
    }

    /// Reads keys from their places.
    fn secrets(&self, places: &[String], key: &str) -> Result<Vec<Secret>> {
        if places.len() > SECRETS_MAX {
            bail!("{}: {} keys: use at most {SECRETS_MAX}", self.named(key), places.len());
        }
        let secrets = places.iter().map(|place| secret(place)).collect::<Result<_>>();
        secrets.with_context(|| self.named(key))
    }
}

/// Reads a key from its place. Errors never contain the key, nor a text that may be one.
fn secret(place: &str) -> Result<Secret> {
    let text = match place.split_once(':') {
        Some(("env", name)) => std::env::var(name)
            .map_err(|_| anyhow!("the variable {name} is unset, or not a text: set it"))?,
        Some(("file", path)) => {
            std::fs::read_to_string(path).with_context(|| format!("read the key from {path}"))?
        }
        _ => bail!("write env:NAME or file:PATH: the configuration does not contain keys"),
    };
    Secret::parse(&text).with_context(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schema;
    use crate::config::tests::of;

    fn participants(toml: &str) -> Result<HttpParticipants> {
        of(toml)?.http_participants().map_err(anyhow::Error::from)
    }

    #[test]
    fn a_binding_has_a_url_limits_and_keys() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("written");
        let found = participants(&format!(
            "egress = [\"cards:8080\"]\n[participants.cards]\nurl = \"http://cards:8080/sagas\"\n\
             timeout_ms = 5000\nconcurrency = 8\nsecrets = [\"file:{}\"]\n\
             [participants.mail]\nprotocol = \"kafka\"\n",
            file.display()
        ));
        let found = found.expect("valid");
        let endpoints: Vec<String> =
            found.endpoints().map(|(name, endpoint)| format!("{name} {endpoint}")).collect();
        assert_eq!(endpoints, ["cards http://cards:8080/sagas"]);
        assert!(participants("").expect("valid").is_empty());
    }

    #[test]
    fn a_service_that_is_called_over_http_begins_no_chains_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sagamore.toml");
        let toml = "[services.mail]\npartitions = 3\n[services.seats]\npartitions = 3\n\
                    [participants.mail]\nurl = \"http://mail:80/\"\n";
        std::fs::write(&file, toml).expect("written");
        let schema = Schema::of("sagamore", Vec::new(), Vec::new(), false);
        let settings = Settings::load(&schema, Some(&file)).expect("valid");
        let services = settings.service_clients().expect("addresses");
        let begins = ["mail", "seats"].map(|name| services.begins_chains(name));
        assert_eq!(begins, [false, true]);
    }

    #[test]
    fn invalid_bindings_are_reported_with_their_position() {
        let check = |toml: &str, part: &str| {
            let why = format!("{:#}", participants(toml).map(|_| ()).expect_err(toml));
            assert!(why.contains(part) && why.contains("sagamore.toml:"), "{why}");
        };
        let table = |rest: &str| format!("[participants.cards]\n{rest}\n");
        let url = "url = \"http://cards:80/\"";
        check(&table(""), "participants.cards.url: missing");
        check(
            &table("url = \"cards:80\""),
            "sagamore.toml:2:1: participants.cards.url: 'cards:80'",
        );
        if !cfg!(feature = "tls") {
            check(&table("url = \"https://cards/\""), "--features tls");
        }
        check(&table(&format!("{url}\ntls = {{ ca = \"ca.pem\" }}")), "only https:// URLs");
        check(&table("urll = \"\""), "sagamore.toml:2:1: participants.cards.urll: unknown key");
        check(&table("protocol = \"grpc\"\nurl = \"x\""), "'grpc' is no protocol");
        check(&table("protocol = \"kafka\"\nurl = \"x\""), "has no URL");
        check(&table(&format!("{url}\ntimeout_ms = 0")), "timeout_ms: 0 is out of range");
        check(&table(&format!("{url}\nconcurrency = 0")), "concurrency: 0 is out of range");
        check(&table(&format!("{url}\nsecrets = \"a\"")), "expected a list of texts");
        check(&table(&format!("{url}\nsecrets = [\"whsec_x\"]")), "write env:NAME or file:PATH");
        check(&table(&format!("{url}\nsecrets = [\"file:/nowhere\"]")), "/nowhere");
        check(&table(&format!("{url}\nsecrets = [\"env:A\", \"env:B\", \"env:C\"]")), "3 keys");
        check(
            "[participants.order]\nurl = \"http://order:80/\"\n",
            "participants.order: the program has the service order built in",
        );
        check("[gateway]\nreply_secrets = [\"whsec_x\"]\n", "gateway.reply_secrets");
        check(&format!("egress = [\"a:1\"]\n{}", table(url)), "to egress, or correct the URL");
        check(&format!("egress = [\"a\"]\n{}", table(url)), "sagamore.toml:1:1: egress: 'a'");
    }
}
