//! The configuration: the key determines the type, and an invalid value is reported with its place.

use std::path::Path;

use crate::support::sagamore;

/// Returns the value of `key` with these variables set, or the error.
fn config(variables: &[(&str, &str)], file: Option<&Path>, key: &str) -> Result<String, String> {
    let mut command = sagamore(&["config", "-o", "json"]);
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    let output = command.envs(variables.iter().copied()).output().expect("run shop");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let values: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let value = values
        .as_array()
        .expect("the output is a list")
        .iter()
        .find(|value| value["key"] == key)
        .expect(key);
    Ok(value["value"].as_str().expect("the value is a text").to_owned())
}

#[test]
fn text_keys_take_a_variable_verbatim() {
    for text in ["007", "1e3", "true", "1.0", "-1"] {
        let variables = [
            ("SAGAMORE__KAFKA__SASL__MECHANISM", "PLAIN"),
            ("SAGAMORE__KAFKA__SASL__PASSWORD", "00123"),
            ("SAGAMORE__KAFKA__SASL__USERNAME", text),
        ];
        assert_eq!(config(&variables, None, "kafka.sasl.username").as_deref(), Ok(text));
    }
    for text in ["007", "1e3"] {
        assert_eq!(
            config(&[("SAGAMORE__NAMESPACE", text)], None, "namespace").as_deref(),
            Ok(text)
        );
    }
}

#[test]
fn an_invalid_variable_is_reported_with_its_key() {
    let number = "SAGAMORE__PAYMENT__PARTITIONS: payment.partitions: ";
    for text in ["1.9", "true", "1e1", "0x10", "-1", "many", " 3", "4294967296"] {
        let why = config(&[("SAGAMORE__PAYMENT__PARTITIONS", text)], None, "payment.partitions")
            .expect_err(text);
        assert!(why.contains(number) && why.contains("whole number"), "{text}: {why}");
    }
    for text in ["1", "yes", "True", "TRUE "] {
        let why =
            config(&[("SAGAMORE__CHOREOGRAPHY", text)], None, "choreography").expect_err(text);
        assert!(
            why.contains("SAGAMORE__CHOREOGRAPHY: choreography: ") && why.contains("true or false"),
            "{why}"
        );
    }
    assert_eq!(
        config(&[("SAGAMORE__PAYMENT__PARTITIONS", "3")], None, "payment.partitions").as_deref(),
        Ok("3")
    );
    assert_eq!(
        config(&[("SAGAMORE__CHOREOGRAPHY", "true")], None, "choreography").as_deref(),
        Ok("true")
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let directory = tempfile::tempdir().expect("create a directory");
    let file = directory.path().join("sagamore.toml");
    std::fs::write(&file, "namespace = \"staging\"\n[payment]\npartitions = 4\n")
        .expect("write the file");
    let empty = |variable: &'static str, key: &str| config(&[(variable, "")], Some(&file), key);
    assert_eq!(empty("SAGAMORE__NAMESPACE", "namespace").as_deref(), Ok("staging"));
    assert_eq!(empty("SAGAMORE__PAYMENT__PARTITIONS", "payment.partitions").as_deref(), Ok("4"));
    assert_eq!(
        empty("SAGAMORE__POSTGRES__PASSWORD_FILE", "postgres.password_file").as_deref(),
        Ok("")
    );
    assert_eq!(config(&[("SAGAMORE_CONFIG", "")], None, "payment.partitions").as_deref(), Ok("12"));
}

#[test]
fn an_invalid_value_in_the_file_is_reported_with_its_line() {
    let check = |text: &str, place: &str| {
        let directory = tempfile::tempdir().expect("create a directory");
        let file = directory.path().join("sagamore.toml");
        std::fs::write(&file, text).expect("write the file");
        let why = config(&[], Some(&file), "namespace").expect_err(text);
        assert!(why.contains(place), "{text}: {why}");
    };
    check("[payment]\npartitions = 1.5\n", "sagamore.toml:2:1: payment.partitions: ");
    check("[payment]\n\npartitions = true\n", "sagamore.toml:3:1: payment.partitions: ");
    check("[payment]\npartitions = \"3\"\n", "sagamore.toml:2:1: payment.partitions: ");
    check("[payment]\npartitions = [3]\n", "sagamore.toml:2:1: payment.partitions: ");
    check("namespace = 7\n", "sagamore.toml:1:1: namespace: ");
    check("choreography = \"true\"\n", "sagamore.toml:1:1: choreography: ");
    check("[kafka]\nreplication = 70000\n", "sagamore.toml:2:1: kafka.replication: ");
    check(
        "[barrier]\nretention_days = 18446744073709551615\n",
        "sagamore.toml:2:1: barrier.retention_days: ",
    );
    check(
        "[orchestrator]\nretention_days = 99999999\n",
        "sagamore.toml:2:1: orchestrator.retention_days: ",
    );
}

/// `[payment]` is short for `[services.payment]`, and variables are case-insensitive.
#[test]
fn a_duplicate_key_is_reported_with_both_places() {
    let check = |text: &str, places: [&str; 2]| {
        let directory = tempfile::tempdir().expect("create a directory");
        let file = directory.path().join("sagamore.toml");
        std::fs::write(&file, text).expect("write the file");
        let why = config(&[], Some(&file), "payment.partitions").expect_err(text);
        assert!(places.iter().all(|place| why.contains(place)), "{text}: {why}");
    };
    check("[payment]\npartitions = 3\npartitions = 4\n", ["sagamore.toml:3:1: ", "duplicate key"]);
    let place = "sagamore.toml:4:1: payment.partitions: ";
    check(
        "[payment]\npartitions = 3\n[services.payment]\npartitions = 4\n",
        [place, "sagamore.toml:2:1"],
    );
    check(
        "[services.payment]\npartitions = 4\n[payment]\npartitions = 4\n",
        [place, "sagamore.toml:2:1"],
    );
    let (short, long, small) = (
        "SAGAMORE__PAYMENT__PARTITIONS",
        "SAGAMORE__SERVICES__PAYMENT__PARTITIONS",
        "sagamore__payment__partitions",
    );
    for other in [long, small] {
        let why =
            config(&[(short, "5"), (other, "5")], None, "payment.partitions").expect_err(other);
        assert!(
            [short, other, ": payment.partitions: "].iter().all(|part| why.contains(part)),
            "{other}: {why}"
        );
        assert_eq!(
            config(&[(short, "5"), (other, "")], None, "payment.partitions").as_deref(),
            Ok("5"),
            "an empty variable counts as unset"
        );
    }
}

#[test]
fn a_namespace_that_postgresql_would_truncate_is_refused() {
    // "NAMESPACE_inventory" has 63 bytes with 53 of the namespace
    let of = |length: usize| "n".repeat(length);
    assert_eq!(config(&[("SAGAMORE__NAMESPACE", &of(53))], None, "namespace"), Ok(of(53)));
    for length in [54, 62, 65, 300] {
        let why = config(&[("SAGAMORE__NAMESPACE", &of(length))], None, "namespace")
            .expect_err("too long");
        assert!(
            why.contains("SAGAMORE__NAMESPACE: namespace: ") && why.contains("63 bytes"),
            "{why}"
        );
    }
}

/// Docker is not needed: the test compares the commands, variables and ports in the file with this
/// program.
#[test]
fn compose_yaml_uses_valid_commands_ports_and_variables() {
    let compose = include_str!("../../../compose.yaml");
    let mut commands = 0;
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("command: ")) {
        let words: Vec<String> = serde_json::from_str(line).expect(line);
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let output = sagamore(&words).output().expect("run shop");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let port = words[words.len() - 2].rsplit_once(':').expect("--listen ADDRESS").1;
        assert!(
            compose.contains(&format!("http://127.0.0.1:{port}/readyz")),
            "no health check uses port {port}"
        );
        commands += 1;
    }
    assert_eq!(commands, 6);
    let known = sagamore(&["config", "-o", "json"]).output().expect("run shop").stdout;
    let known: Vec<serde_json::Value> =
        serde_json::from_slice(&known).expect("the output is a list");
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("SAGAMORE__")) {
        let (variable, _) = line.split_once(':').expect(line);
        let key = variable.to_lowercase().replace("__", ".");
        assert!(known.iter().any(|value| value["key"] == key.as_str()), "{key} is not a key");
    }
}
