//! Checks of TLS files before a library reads them, with clearer errors than the library's.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Settings, TlsSettings};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const KEY: &str = "PRIVATE KEY-----";
const ENCRYPTED: &str = "ENCRYPTED";

impl Settings {
    /// Fails unless this build supports `table` (`kafka.tls`, `kafka.sasl`).
    pub(super) fn check_build(&self, table: &str) -> Result<()> {
        if !cfg!(feature = "tls") {
            bail!(
                "{}: this program was built without TLS and SASL: build it with `--features tls`",
                self.named(table)
            );
        }
        Ok(())
    }

    /// Fails unless the files of `table` (`kafka.tls`) are readable and have the right content.
    pub(super) fn check_files(&self, table: &str, tls: &TlsSettings) -> Result<()> {
        let TlsSettings { ca, certificate, key } = tls;
        let named = |key: &str| self.named(&format!("{table}.{key}"));
        if let (Some(_), None) | (None, Some(_)) = (certificate, key) {
            let (set, other) =
                if key.is_none() { ("certificate", "key") } else { ("key", "certificate") };
            bail!("{}: set without {table}.{other}: a client certificate needs both", named(set));
        }
        for (name, file) in [("ca", ca), ("certificate", certificate)] {
            let Some(file) = file else { continue };
            if !read(&named(name), file)?.contains(CERTIFICATE) {
                bail!(
                    "{}: {} contains no certificate in PEM format ({CERTIFICATE}). Convert a DER \
                     file with `openssl x509 -inform der -in FILE -out NEW`",
                    named(name),
                    file.display()
                );
            }
        }
        let Some(file) = key else { return Ok(()) };
        let text = read(&named("key"), file)?;
        if !text.contains(KEY) {
            bail!(
                "{}: {} contains no private key in PEM format (-----BEGIN {KEY})",
                named("key"),
                file.display()
            );
        }
        if text.contains(ENCRYPTED) {
            bail!(
                "{}: {} is encrypted, which is not supported. Decrypt it: `openssl \
                 pkey -in FILE -out NEW`",
                named("key"),
                file.display()
            );
        }
        Ok(())
    }
}

/// Reads a file as text. A file in another format becomes replacement characters.
fn read(key: &str, file: &Path) -> Result<String> {
    let bytes = std::fs::read(file);
    let bytes = bytes.with_context(|| {
        format!("{key}: cannot read {}: name a PEM file that this user may read", file.display())
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_file_is_reported_with_its_key_and_the_fix() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let good = file("good.pem", CERTIFICATE);
        let key = file("good.key", "-----BEGIN EC PRIVATE KEY-----");
        let check = |tls: TlsSettings, parts: &[&str]| {
            let outcome = match Settings::of(&crate::config::Schema::default())
                .check_files("kafka.tls", &tls)
            {
                Ok(()) => "fine".to_owned(),
                Err(why) => format!("{why:#}"),
            };
            assert!(parts.iter().all(|part| outcome.contains(part)), "{parts:?} in {outcome}");
        };
        let ca = |ca| TlsSettings { ca, certificate: None, key: None };
        let both = |certificate, key| TlsSettings { ca: None, certificate, key };
        check(ca(good.clone()), &["fine"]);
        check(both(good.clone(), key.clone()), &["fine"]);
        check(
            ca(Some("/nowhere.pem".into())),
            &["kafka.tls.ca: cannot read /nowhere.pem", "No such file"],
        );
        check(
            ca(file("der", "0\u{82}")),
            &["kafka.tls.ca: ", "der contains no certificate", "openssl x509"],
        );
        check(both(good.clone(), None), &["kafka.tls.certificate: set without kafka.tls.key"]);
        check(both(None, key), &["kafka.tls.key: set without kafka.tls.certificate"]);
        check(both(good.clone(), good.clone()), &["kafka.tls.key: ", "no private key"]);
        let encrypted = file("secret.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
        check(both(good, encrypted), &["kafka.tls.key: ", "encrypted", "openssl pkey"]);
    }
}
