//! The files of TLS, looked at before a library is: what it says of them is for experts.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Settings, TlsSettings};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const KEY: &str = "PRIVATE KEY-----";
const ENCRYPTED: &str = "ENCRYPTED";

impl Settings {
    /// Fails unless this program has what `table` (`kafka.tls`, `kafka.sasl`) wants.
    pub(super) fn check_build(&self, table: &str) -> Result<()> {
        if !cfg!(feature = "tls") {
            bail!(
                "{}: this program was built without TLS and SASL: build it with `--features tls`",
                self.named(table)
            );
        }
        Ok(())
    }

    /// Fails unless the files of `table` (`kafka.tls`) are there and hold what they should.
    pub(super) fn check_files(&self, table: &str, tls: &TlsSettings) -> Result<()> {
        let TlsSettings { ca, certificate, key } = tls;
        let named = |key: &str| self.named(&format!("{table}.{key}"));
        if let (Some(_), None) | (None, Some(_)) = (certificate, key) {
            let (set, other) =
                if key.is_none() { ("certificate", "key") } else { ("key", "certificate") };
            bail!(
                "{}: it is set without {table}.{other}; who shows a certificate needs both",
                named(set)
            );
        }
        for (name, file) in [("ca", ca), ("certificate", certificate)] {
            let Some(file) = file else { continue };
            if !read(&named(name), file)?.contains(CERTIFICATE) {
                bail!(
                    "{}: {} holds no certificate in PEM format ({CERTIFICATE}). One in DER format is rewritten by \
                     `openssl x509 -inform der -in FILE -out NEW`",
                    named(name),
                    file.display()
                );
            }
        }
        let Some(file) = key else { return Ok(()) };
        let text = read(&named("key"), file)?;
        if !text.contains(KEY) {
            bail!(
                "{}: {} holds no private key in PEM format (-----BEGIN {KEY})",
                named("key"),
                file.display()
            );
        }
        if text.contains(ENCRYPTED) {
            bail!(
                "{}: {} is encrypted, and nobody is there to be asked for its password. Write it without: \
                 `openssl pkey -in FILE -out NEW`",
                named("key"),
                file.display()
            );
        }
        Ok(())
    }
}

/// What the file holds, as far as it is text: in another format it is not.
fn read(key: &str, file: &Path) -> Result<String> {
    let bytes = std::fs::read(file);
    let bytes = bytes.with_context(|| {
        format!(
            "{key}: {} cannot be read; name a file in PEM format that this user may read",
            file.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_do_is_told_with_its_key_and_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let good = file("good.pem", CERTIFICATE);
        let key = file("good.key", "-----BEGIN EC PRIVATE KEY-----");
        let check = |tls: TlsSettings, parts: &[&str]| {
            let told = match Settings::of(&crate::config::Schema::default())
                .check_files("kafka.tls", &tls)
            {
                Ok(()) => "fine".to_owned(),
                Err(why) => format!("{why:#}"),
            };
            assert!(parts.iter().all(|part| told.contains(part)), "{parts:?} in {told}");
        };
        let ca = |ca| TlsSettings { ca, certificate: None, key: None };
        let both = |certificate, key| TlsSettings { ca: None, certificate, key };
        check(ca(good.clone()), &["fine"]);
        check(both(good.clone(), key.clone()), &["fine"]);
        check(
            ca(Some("/nowhere.pem".into())),
            &["kafka.tls.ca: /nowhere.pem cannot be read", "No such file"],
        );
        check(
            ca(file("der", "0\u{82}")),
            &["kafka.tls.ca: ", "der holds no certificate", "openssl x509"],
        );
        check(
            both(good.clone(), None),
            &["kafka.tls.certificate: it is set without kafka.tls.key"],
        );
        check(both(None, key), &["kafka.tls.key: it is set without kafka.tls.certificate"]);
        check(both(good.clone(), good.clone()), &["kafka.tls.key: ", "no private key"]);
        let encrypted = file("secret.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
        check(both(good, encrypted), &["kafka.tls.key: ", "encrypted", "openssl pkey"]);
    }
}
