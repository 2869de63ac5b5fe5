//! TLS to the server. The certificate's issuer and host name are always verified.

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use super::options::Tls;
use crate::error::Error;

const RECYCLING: ManagerConfig = ManagerConfig { recycling_method: RecyclingMethod::Fast };

/// Creates the manager of connections: plain, or TLS only.
pub(super) fn manager(mut config: Config, tls: Option<&Tls>) -> Result<Manager, Error> {
    match tls {
        Some(tls) => {
            config.ssl_mode(SslMode::Require);
            by_tls(config, tls)
        }
        None if config.get_ssl_mode() == SslMode::Require => {
            let why = "the database's address requires TLS (sslmode=require), but no authority is \
                       configured: set `tls` with `ca`";
            Err(Error::Unavailable(why.to_owned()))
        }
        None => Ok(Manager::from_config(config, NoTls, RECYCLING)),
    }
}

/// Adds an explanation to a library error whose text needs one, according to its causes.
#[cfg(feature = "tls")]
pub(super) fn explained(why: String, error: &tokio_postgres::Error) -> String {
    if client::causes(error).contains(&&client::UNKNOWN_ISSUER) {
        return format!("{why}: the issuer of the server's certificate is not among those in `ca`");
    }
    why
}

/// Returns the text of an error of a plain connection.
#[cfg(not(feature = "tls"))]
pub(super) fn explained(why: String, _: &tokio_postgres::Error) -> String {
    why
}

#[cfg(not(feature = "tls"))]
fn by_tls(_: Config, _: &Tls) -> Result<Manager, Error> {
    Err(Error::Unavailable(
        "this program was built without TLS: build it with `--features tls`".to_owned(),
    ))
}

#[cfg(feature = "tls")]
fn by_tls(config: Config, tls: &Tls) -> Result<Manager, Error> {
    let connector = tokio_postgres_rustls::MakeRustlsConnect::new(client::config(tls)?);
    Ok(Manager::from_config(config, connector, RECYCLING))
}

#[cfg(feature = "tls")]
pub(super) mod client {
    use std::error::Error as _;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{CertificateError, ClientConfig, RootCertStore};

    use super::super::options::Tls;
    use crate::error::Error;

    /// No configured authority has issued the server's certificate.
    pub const UNKNOWN_ISSUER: rustls::Error =
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);

    /// Returns the TLS errors among the causes of an error.
    pub fn causes(error: &tokio_postgres::Error) -> Vec<&rustls::Error> {
        let mut found = Vec::new();
        let mut cause = error.source();
        while let Some(this) = cause {
            let wrapped = this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let inner = wrapped.and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>());
            found.extend(this.downcast_ref::<rustls::Error>().or(inner));
            cause = this.source();
        }
        found
    }

    /// Returns the TLS configuration of a client: trusted authorities and its certificate.
    ///
    /// # Errors
    /// A file cannot be used, or this machine has no trusted authorities.
    pub fn config(tls: &Tls) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder
            .map_err(|why| unusable(&"TLS", &why))?
            .with_root_certificates(trusted(tls.ca.as_deref())?);
        match (&tls.certificate, &tls.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let ours = PrivateKeyDer::from_pem_file(key)
                    .map_err(|why| unusable(&key.display(), &why))?;
                let config = builder.with_client_auth_cert(certificates(certificate)?, ours);
                config.map_err(|why| unusable(&certificate.display(), &why))
            }
            (Some(_), None) | (None, Some(_)) => Err(Error::Unavailable(
                "only one of `certificate` and `key` is set: mutual TLS needs both".to_owned(),
            )),
        }
    }

    fn trusted(ca: Option<&Path>) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        match ca {
            Some(ca) => {
                for certificate in certificates(ca)? {
                    store.add(certificate).map_err(|why| unusable(&ca.display(), &why))?;
                }
            }
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if store.is_empty() {
            let why = "this machine has no trusted authorities: set `ca` to the certificate file \
                       of the server's issuer";
            return Err(Error::Unavailable(why.to_owned()));
        }
        Ok(store)
    }

    fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let read =
            CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let found = read.map_err(|why| unusable(&file.display(), &why))?;
        if found.is_empty() {
            return Err(Error::Unavailable(format!(
                "{} holds no certificate in PEM format",
                file.display()
            )));
        }
        Ok(found)
    }

    fn unusable(what: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> Error {
        Error::Unavailable(format!("cannot use {what}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_asks_for_tls_is_never_served_without() {
        let config: Config = "postgres://me@db/x?sslmode=require".parse().unwrap();
        let why = manager(config, None).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("sslmode=require") && why.contains("`ca`"), "{why}");
    }

    #[test]
    fn an_unusable_file_is_named() {
        let config: Config = "postgres://me@db/x".parse().unwrap();
        let tls = Tls { ca: Some("/nowhere/ca.pem".into()), ..Tls::default() };
        let why = manager(config, Some(&tls)).map(|_| ()).unwrap_err().to_string();
        let part = if cfg!(feature = "tls") { "/nowhere/ca.pem" } else { "--features tls" };
        assert!(why.contains(part), "{why}");
    }
}
