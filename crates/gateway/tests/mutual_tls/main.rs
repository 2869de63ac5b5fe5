//! A gateway and a participant in Python that authenticate each other by certificates: every wrong
//! certificate is rejected, with the fix, and no command is lost.

#[allow(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/harness.rs"]
mod harness;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{Outcome, ReplyOutcome};
use sagamore_database::Database;
use sagamore_database::postgres::Tls;
use sagamore_database::testing::skipped;
use sagamore_gateway::Binding;
use tempfile::TempDir;

use crate::harness::{Rig, action};

/// The certificates of a participant and of a client, and two authorities.
struct Certificates(TempDir);

impl Certificates {
    /// Creates the certificates. Reports a skipped test without OpenSSL.
    fn create() -> Option<Certificates> {
        if Command::new("openssl").arg("version").output().is_err() {
            skipped("openssl is not installed");
            return None;
        }
        let certificates = Certificates(TempDir::new().expect("a directory"));
        for authority in ["ca", "other-ca"] {
            certificates.issue(authority, authority, None, "keyUsage=critical,keyCertSign");
        }
        let host = "subjectAltName=DNS:localhost";
        certificates.issue("server", "localhost", Some("ca"), host);
        certificates.issue("client", "orchestrator", Some("ca"), "keyUsage=digitalSignature");
        let stranger = "keyUsage=digitalSignature";
        certificates.issue("stranger", "orchestrator", Some("other-ca"), stranger);
        Some(certificates)
    }

    fn issue(&self, name: &str, subject: &str, issuer: Option<&str>, extension: &str) {
        let path = |name: &str, kind: &str| self.file(&format!("{name}.{kind}"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        make.args(["-nodes", "-days", "1", "-subj", &format!("/CN={subject}")]);
        make.args(["-addext", extension]);
        make.arg("-keyout").arg(path(name, "key")).arg("-out").arg(path(name, "pem"));
        if let Some(issuer) = issuer {
            make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            make.arg("-CA").arg(path(issuer, "pem")).arg("-CAkey").arg(path(issuer, "key"));
        }
        let made = make.output().expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the configuration of a client that trusts `ca` and has the certificate `own`.
    fn tls(&self, ca: &str, own: Option<&str>) -> Tls {
        let file = |kind: &str| own.map(|own| self.file(&format!("{own}.{kind}")));
        Tls {
            ca: Some(self.file(&format!("{ca}.pem"))),
            certificate: file("pem"),
            key: file("key"),
        }
    }
}

/// A participant in a process of its own.
struct Participant {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Participant {
    /// Starts a participant whose certificate and clients are of `ca`.
    fn secure(certificates: &Certificates) -> Participant {
        Participant::start(
            &["server.pem", "server.key", "ca.pem"].map(|name| certificates.file(name)),
        )
    }

    fn plain() -> Participant {
        Participant::start(&[])
    }

    fn start(arguments: &[PathBuf]) -> Participant {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutual_tls/participant.py");
        let mut command = Command::new("python3");
        command.arg(script).args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3 is installed");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut port = String::new();
        output.read_line(&mut port).expect("a port");
        let port = port.trim().parse().expect("a port");
        Participant { process, output, port }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/sagas", self.port)
    }

    /// Stops the participant. Returns the key of each command that it received, with the client.
    fn calls(mut self) -> Vec<String> {
        self.process.kill().expect("it runs");
        let mut calls = String::new();
        self.output.read_to_string(&mut calls).expect("texts");
        calls.lines().map(str::to_owned).collect()
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        drop(self.process.kill()); // it may have been stopped
        drop(self.process.wait());
    }
}

fn never() -> ParticipantContract {
    ParticipantContract { repeat: Repeat::Never, ..ParticipantContract::default() }
}

/// Returns the reply to one command, whose offset is committed.
async fn reply(
    url: &str,
    tls: Tls,
    contract: ParticipantContract,
    database: &Database,
) -> ReplyOutcome {
    let bound = |binding: Binding| Binding { tls, ..binding };
    let mut rig = Rig::with(url, contract, bound, Some(database.clone())).await;
    rig.send(&[action("1")]).await;
    let reply = rig.reply().await;
    rig.until_committed().await;
    reply
}

fn check_done(reply: &ReplyOutcome) {
    assert!(matches!(reply, ReplyOutcome::Final(Outcome::Done(_))), "{reply:?}");
}

/// Expects a fault, which states that the command had no effect.
fn check_fault(reply: &ReplyOutcome, parts: &[&str]) {
    let ReplyOutcome::Final(Outcome::Fault(why)) = reply else { panic!("{reply:?}") };
    assert!(parts.iter().all(|part| why.contains(part)), "{parts:?} in {why}");
}

#[tokio::test]
async fn a_command_is_sent_with_the_clients_certificate() {
    let Some(certificates) = Certificates::create() else { return };
    let participant = Participant::secure(&certificates);
    let (url, tls) = (participant.url("localhost"), certificates.tls("ca", Some("client")));
    check_done(&reply(&url, tls, never(), &Database::memory()).await);
    assert_eq!(participant.calls(), ["trip:1/pay/action/1 orchestrator"]);
}

/// With TLS 1.3 the participant rejects a certificate after the request was sent, so the outcome is
/// unknown: the orchestrator resends the command.
#[tokio::test]
async fn a_client_with_a_wrong_certificate_or_none_is_rejected_and_its_command_is_done_later() {
    let Some(certificates) = Certificates::create() else { return };
    let participant = Participant::secure(&certificates);
    let url = participant.url("localhost");
    for (own, alert) in [(None, "CertificateRequired"), (Some("stranger"), "UnknownCA")] {
        let (tls, contract) = (certificates.tls("ca", own), ParticipantContract::default());
        let rejected = reply(&url, tls, contract, &Database::memory()).await;
        let ReplyOutcome::Unknown(why) = &rejected else { panic!("{rejected:?}") };
        for part in [alert, "set `tls.certificate` and `tls.key`"] {
            assert!(why.contains(part), "{part} in {why}");
        }
    }
    let tls = certificates.tls("ca", Some("client"));
    check_done(&reply(&url, tls, ParticipantContract::default(), &Database::memory()).await);
    assert_eq!(participant.calls(), ["trip:1/pay/action/1 orchestrator"]);
}

/// The gateway sends no byte of a command to such a participant. Even a command that must not be
/// sent twice is sent after the fix.
#[tokio::test]
async fn a_participant_with_a_wrong_certificate_or_none_receives_no_command() {
    let Some(certificates) = Certificates::create() else { return };
    let (secure, plain) = (Participant::secure(&certificates), Participant::plain());
    let (url, database) = (secure.url("localhost"), Database::memory());
    let tls = |ca: &str| certificates.tls(ca, Some("client"));
    let of = async |url: &str, ca: &str| reply(url, tls(ca), never(), &database).await;
    check_fault(&of(&url, "other-ca").await, &["UnknownIssuer", "Set the participant's `tls.ca`"]);
    let by_address = secure.url("127.0.0.1");
    check_fault(&of(&by_address, "ca").await, &["\"127.0.0.1\"", "certificate in `url`"]);
    check_fault(&of(&plain.url("localhost"), "ca").await, &["write http:// in `url`"]);
    check_done(&of(&url, "ca").await);
    assert_eq!(secure.calls(), ["trip:1/pay/action/1 orchestrator"]);
    assert_eq!(plain.calls(), [""; 0]);
}
