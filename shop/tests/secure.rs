//! TLS and authentication against real servers: Kafka and PostgreSQL, each with passwords and with
//! client certificates. `SAGAMORE_TEST_SECURE` is their folder (`cargo xtask services env`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sagamore::database::testing::skipped;

/// The part of a line without a problem.
const FINE: &str = ": ";

/// Returns the folder with the certificates and the two configurations. If it is not set, reports a
/// skipped test.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("SAGAMORE_TEST_SECURE").map(PathBuf::from);
    if folder.is_none() {
        skipped("SAGAMORE_TEST_SECURE is not set (cargo xtask services env)");
    }
    folder
}

fn sagamore(config: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.arg("--config").arg(config).args(arguments).envs(variables.iter().copied());
    command.output().expect("run sagamore")
}

/// Returns the lines of `doctor` about the brokers and the payment service's database.
fn diagnosis(config: &Path, variables: &[(&str, &str)]) -> (String, String) {
    let output = sagamore(config, variables, &["doctor"]);
    let stdout = String::from_utf8(output.stdout).expect("text");
    let all = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!all.contains("p@ss") && !all.contains("p%40ss"), "the password is printed: {all}");
    let line = |what: &str, whose: &str| {
        let found = stdout.lines().find(|line| line.contains(what) && line.contains(whose));
        found.unwrap_or_else(|| panic!("{what} {whose} in {all}")).to_owned()
    };
    // databases with the same cause share a line
    (line(" brokers:", ""), line(" database", "payment"))
}

/// Writes a copy of a configuration without the lines that start with one of these words.
fn without(config: &Path, words: &[&str]) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string(config).expect("read the configuration");
    let kept: Vec<&str> =
        text.lines().filter(|line| !words.iter().any(|word| line.starts_with(word))).collect();
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("create a file");
    std::fs::write(file.path(), kept.join("\n")).expect("write the configuration");
    file
}

#[test]
fn with_a_password_or_a_certificate_the_whole_shop_runs_encrypted() {
    let Some(folder) = folder() else { return };
    for name in ["password.toml", "mutual.toml"] {
        let output = sagamore(
            &folder.join(name),
            &[],
            &["bench", "--sagas", "40", "--clients", "8", "-o", "json"],
        );
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{name}: {stdout}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let figures: serde_json::Value =
            serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}"));
        assert_eq!(figures["completed"], 40, "{name}: {figures}");
    }
}

#[test]
fn wrong_certificates_and_passwords_are_diagnosed() {
    let Some(folder) = folder() else { return };
    let (password, mutual) = (folder.join("password.toml"), folder.join("mutual.toml"));
    let other = folder.join("other-ca.pem").display().to_string();
    let wrong = tempfile::NamedTempFile::new().expect("create a file");
    std::fs::write(wrong.path(), "wrong\n").expect("write a password");
    let wrong = wrong.path().display().to_string();
    let check = |config: &Path, variables: &[(&str, &str)], brokers: &str, database: &str| {
        let lines = diagnosis(config, variables);
        for (line, part) in [(lines.0, brokers), (lines.1, database)] {
            let verdict = if part == FINE { "ok " } else { "WRONG " };
            assert!(
                line.starts_with(verdict) && line.contains(part),
                "'{part}' in {line} ({variables:?})"
            );
        }
    };
    check(&password, &[], FINE, FINE);
    check(&mutual, &[], FINE, FINE);
    check(&password, &[("SAGAMORE__KAFKA__TLS__CA", &other)], "must be signed by `ca`", FINE);
    check(
        &password,
        &[("SAGAMORE__POSTGRES__TLS__CA", &other)],
        FINE,
        "is not among those in `ca`",
    );
    check(
        &password,
        &[("SAGAMORE__KAFKA__SASL__PASSWORD_FILE", &wrong)],
        "check `kafka.sasl`",
        FINE,
    );
    check(
        &password,
        &[("SAGAMORE__POSTGRES__PASSWORD_FILE", &wrong)],
        FINE,
        "password authentication failed",
    );

    // the same servers under a name that their certificates lack
    let text = std::fs::read_to_string(&password).expect("read the configuration");
    let of = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).expect("the key exists");
        line.split('"').nth(1).expect("the value is quoted").replace("localhost", "127.0.0.1")
    };
    check(
        &password,
        &[("SAGAMORE__KAFKA__BROKERS", &of("brokers"))],
        "name the host in `kafka.brokers`",
        FINE,
    );
    check(
        &password,
        &[("SAGAMORE__POSTGRES__URL", &of("url"))],
        FINE,
        "not valid for name \"127.0.0.1\"",
    );

    // no client certificate, and no TLS
    let bare = without(&mutual, &["certificate", "key"]);
    check(bare.path(), &[], "may require a `certificate`", "requires a valid client certificate");
    let plain = without(
        &password,
        &[
            "[postgres.tls]",
            "[kafka.tls]",
            "ca =",
            "[kafka.sasl]",
            "mechanism",
            "username",
            "password_file",
        ],
    );
    check(plain.path(), &[], "Broker transport failure", "no encryption");
}
