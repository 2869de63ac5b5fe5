//! TLS and authentication: certificates of a test authority, users with a password or a
//! certificate, and configurations for both. Nothing in the folder is secret: all of it is created
//! locally, for loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::folder::{DATABASE, Folder, PARTITIONS, Ports, WRITTEN, create, write};
use super::process::run;

/// The host name in the servers' certificate. Clients must reject the certificate at 127.0.0.1.
pub const HOST: &str = "localhost";
/// The user with a password.
pub const USER: &str = "secure";
/// The user with a certificate.
const MUTUAL: &str = "mutual";
/// The password, with characters that URLs have to escape.
pub const PASSWORD: &str = "p@ss:word/1";

/// Creates the certificates, unless they exist.
pub fn prepare(folder: &Folder) -> Result<()> {
    let folder_path = folder.secure();
    if folder_path.join("password").exists() {
        return Ok(());
    }
    create(&folder_path)?;
    for authority in ["ca", "other-ca"] {
        let mut make = certificate_command(&folder_path, authority, authority);
        make.args([
            "-out",
            &path(&folder_path, authority, "pem"),
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        run(&mut make).context("create an authority (requires the package openssl)")?;
    }
    for (name, subject, about) in [
        ("server", HOST, format!("subjectAltName=DNS:{HOST}")),
        ("client", MUTUAL, "keyUsage=digitalSignature".into()),
    ] {
        let mut make = certificate_command(&folder_path, name, subject);
        make.args([
            "-CA",
            &path(&folder_path, "ca", "pem"),
            "-CAkey",
            &path(&folder_path, "ca", "key"),
        ]);
        make.args([
            "-out",
            &path(&folder_path, name, "crt"),
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            &about,
        ]);
        run(&mut make).with_context(|| format!("create the certificate of the {name}"))?;
    }
    let read = |kind: &str| {
        let file = path(&folder_path, "server", kind);
        std::fs::read_to_string(&file).with_context(|| format!("read {file}"))
    };
    write(&folder_path.join("server.both.pem"), &(read("key")? + &read("crt")?))?;
    write(&folder_path.join("password"), &format!("{PASSWORD}\n"))
}

/// Writes `password.toml` and `mutual.toml`.
pub fn write_configurations(folder: &Folder, ports: &Ports) -> Result<()> {
    let folder_path = folder.secure();
    let file = |name: &str| folder_path.join(name).display().to_string();
    let (ca, password) = (file("ca.pem"), file("password"));
    let (sasl, mutual) = (ports.kafka_sasl, ports.kafka_mutual);
    let postgres = |user: &str, more: &str| {
        let url = format!("postgres://{user}@{HOST}:{}/{DATABASE}", ports.postgres);
        format!("[postgres]\nurl = \"{url}\"\n{more}\n[postgres.tls]\nca = \"{ca}\"\n")
    };
    let by_password = format!(
        "{WRITTEN}namespace = \"password\"\n\n[kafka]\nbrokers = \
         \"{HOST}:{sasl}\"\n\n[kafka.tls]\nca = \"{ca}\"\n\n\
         [kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"{USER}\"\npassword_file = \
         \"{password}\"\n\n\
         {}\n{PARTITIONS}",
        postgres(USER, &format!("password_file = \"{password}\"\n"))
    );
    let (certificate, key) = (file("client.crt"), file("client.key"));
    let ours = format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let by_certificate = format!(
        "{WRITTEN}namespace = \"mutual\"\n\n[kafka]\nbrokers = \
         \"{HOST}:{mutual}\"\n\n[kafka.tls]\nca = \"{ca}\"\n{ours}\n\
         {}{ours}\n{PARTITIONS}",
        postgres(MUTUAL, "")
    );
    write(&folder_path.join("password.toml"), &by_password)?;
    write(&folder_path.join("mutual.toml"), &by_certificate)
}

/// Returns PostgreSQL's rules: these users need TLS, and the password or the certificate.
pub fn rules() -> String {
    format!(
        "hostssl all {USER} 127.0.0.1/32 scram-sha-256\nhostssl all {MUTUAL} 127.0.0.1/32 cert\n\
         host all {USER},{MUTUAL} 127.0.0.1/32 reject\n"
    )
}

/// Returns the statements that create these users, who may create schemas only.
pub fn roles() -> String {
    let make = [USER, MUTUAL].map(|user| {
        format!(
            "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}') THEN CREATE ROLE \
            {user} LOGIN; END IF;"
        )
    });
    format!(
        "DO $$ BEGIN {} END $$; ALTER ROLE {USER} PASSWORD '{PASSWORD}'; \
         GRANT CREATE ON DATABASE {DATABASE} TO {USER}, {MUTUAL}",
        make.concat()
    )
}

/// Builds a command that creates a key on a common curve, and a certificate for ten years.
fn certificate_command(folder_path: &Path, name: &str, subject: &str) -> Command {
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "3650",
    ]);
    make.args(["-subj", &format!("/CN={subject}"), "-keyout", &path(folder_path, name, "key")]);
    make
}

fn path(folder_path: &Path, name: &str, kind: &str) -> String {
    PathBuf::from(folder_path).join(format!("{name}.{kind}")).display().to_string()
}
