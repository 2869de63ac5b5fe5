//! The encrypted ways in: certificates of an authority of our own, who may come in with them or with a password, and the
//! configurations that do. Secret from nobody: all of it is made here, for loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::folder::{DATABASE, Folder, PARTITIONS, Ports, WRITTEN, create, write};
use super::process::run;

/// Who the certificate of the servers is made out to: by 127.0.0.1 they are found as well, and must not be believed.
pub const HOST: &str = "localhost";
/// Who comes in with a password.
pub const USER: &str = "secure";
/// Who comes in with a certificate.
const MUTUAL: &str = "mutual";
/// The password, with letters that addresses have to escape.
pub const PASSWORD: &str = "p@ss:word/1";

/// Makes the certificates, unless they are there.
pub fn prepare(folder: &Folder) -> Result<()> {
    let here = folder.secure();
    if here.join("password").exists() {
        return Ok(());
    }
    create(&here)?;
    for authority in ["ca", "other-ca"] {
        let mut make = making(&here, authority, authority);
        make.args([
            "-out",
            &path(&here, authority, "pem"),
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        run(&mut make)
            .context("make an authority (it needs `openssl`, as of the package of that name)")?;
    }
    for (name, subject, about) in [
        ("server", HOST, format!("subjectAltName=DNS:{HOST}")),
        ("client", MUTUAL, "keyUsage=digitalSignature".into()),
    ] {
        let mut make = making(&here, name, subject);
        make.args(["-CA", &path(&here, "ca", "pem"), "-CAkey", &path(&here, "ca", "key")]);
        make.args([
            "-out",
            &path(&here, name, "crt"),
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            &about,
        ]);
        run(&mut make).with_context(|| format!("make the certificate of the {name}"))?;
    }
    let read = |kind: &str| {
        let file = path(&here, "server", kind);
        std::fs::read_to_string(&file).with_context(|| format!("read {file}"))
    };
    write(&here.join("server.both.pem"), &(read("key")? + &read("crt")?))?;
    write(&here.join("password"), &format!("{PASSWORD}\n"))
}

/// Writes `password.toml` and `mutual.toml`.
pub fn write_configurations(folder: &Folder, ports: &Ports) -> Result<()> {
    let here = folder.secure();
    let file = |name: &str| here.join(name).display().to_string();
    let (ca, password) = (file("ca.pem"), file("password"));
    let (sasl, mutual) = (ports.kafka_sasl, ports.kafka_mutual);
    let postgres = |user: &str, more: &str| {
        let url = format!("postgres://{user}@{HOST}:{}/{DATABASE}", ports.postgres);
        format!("[postgres]\nurl = \"{url}\"\n{more}\n[postgres.tls]\nca = \"{ca}\"\n")
    };
    let by_password = format!(
        "{WRITTEN}namespace = \"password\"\n\n[kafka]\nbrokers = \"{HOST}:{sasl}\"\n\n[kafka.tls]\nca = \"{ca}\"\n\n\
         [kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"{USER}\"\npassword_file = \"{password}\"\n\n\
         {}\n{PARTITIONS}",
        postgres(USER, &format!("password_file = \"{password}\"\n"))
    );
    let (certificate, key) = (file("client.crt"), file("client.key"));
    let ours = format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let by_certificate = format!(
        "{WRITTEN}namespace = \"mutual\"\n\n[kafka]\nbrokers = \"{HOST}:{mutual}\"\n\n[kafka.tls]\nca = \"{ca}\"\n{ours}\n\
         {}{ours}\n{PARTITIONS}",
        postgres(MUTUAL, "")
    );
    write(&here.join("password.toml"), &by_password)?;
    write(&here.join("mutual.toml"), &by_certificate)
}

/// Rules of PostgreSQL: these users only with the password or the certificate, and only by TLS.
pub fn rules() -> String {
    format!(
        "hostssl all {USER} 127.0.0.1/32 scram-sha-256\nhostssl all {MUTUAL} 127.0.0.1/32 cert\n\
         host all {USER},{MUTUAL} 127.0.0.1/32 reject\n"
    )
}

/// Statements that make these users, who may make schemas and nothing else.
pub fn roles() -> String {
    let make = [USER, MUTUAL].map(|user| {
        format!("IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}') THEN CREATE ROLE {user} LOGIN; END IF;")
    });
    format!(
        "DO $$ BEGIN {} END $$; ALTER ROLE {USER} PASSWORD '{PASSWORD}'; \
         GRANT CREATE ON DATABASE {DATABASE} TO {USER}, {MUTUAL}",
        make.concat()
    )
}

/// A key on a curve that everybody has, and a certificate of ten years.
fn making(here: &Path, name: &str, subject: &str) -> Command {
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
    make.args(["-subj", &format!("/CN={subject}"), "-keyout", &path(here, name, "key")]);
    make
}

fn path(here: &Path, name: &str, kind: &str) -> String {
    PathBuf::from(here).join(format!("{name}.{kind}")).display().to_string()
}
