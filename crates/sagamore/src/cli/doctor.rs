//! `doctor`: checks the servers and the state that the processes need, and prints each problem with
//! its fix.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use sagamore_core::Timestamp;
use sagamore_database::Row;
use sagamore_database::clock::SERVER_TIME;
use sagamore_engine::{NAMES, NAMES_MAX};
use sagamore_kafka::{Broker, Kafka};

use super::handled::Handled;
use super::{progress, topics};
use crate::clock::{self, rfc3339};
use crate::config::{KafkaSettings, Settings};
use crate::invocation::Invocation;
use crate::output::Exit;

/// Maximum difference to a database server's clock. Leases use the server's clock only, but
/// operators compare both.
const SKEW_MAX: Duration = Duration::from_secs(2);

/// The hint when the brokers accept connections but send no response.
const SILENT: &str =
    "Is kafka.brokers right? If these brokers use TLS, set kafka.tls; if not, remove it.";
/// Maximum time to connect to one broker.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// The hint when no broker accepts a connection.
const UNREACHABLE: &str = "Is kafka.brokers right, and are the brokers running?";

/// Prints a line per check. Returns exit code 1 if a check fails. A message that no process handles
/// is only a warning, because the process may be about to start.
pub async fn run(invocation: &Invocation) -> Result<Exit> {
    let settings = invocation.settings()?;
    let (program, story) = (&invocation.program, invocation.story(&settings));
    let mut is_sound = true;
    let mut report = |what: &str, found: Result<String, String>| match found {
        Ok(detail) => outln!("ok    {what}: {detail}"),
        Err(why) => {
            is_sound = false;
            outln!("WRONG {what}: {why}");
        }
    };
    let kafka = settings.kafka("doctor", None);
    let brokers = match &kafka {
        Ok(kafka) => brokers_of(&settings, kafka).await.map(|brokers| (kafka, brokers)),
        Err(error) => Err(format!("{error:#}")),
    };
    match brokers {
        Ok((kafka, brokers)) => {
            let addresses: Vec<String> = brokers.into_iter().map(|broker| broker.address).collect();
            report("brokers", Ok(addresses.join(", ")));
            let compared = topics::compare_with(program, &settings, kafka)
                .await
                .map_err(|error| error.to_string());
            report(
                "topics",
                compared.and_then(|wrong| unless_wrong(&wrong, "as configured".to_owned())),
            );
            let long = topics::retained_too_long(program, &settings, kafka).await?;
            let days = settings.barrier.retention_days;
            let enough = format!(
                "{days} days, longer than the retention of commands and their dead letters"
            );
            let is_owned = owned(&settings).await;
            report(
                "progress of the groups",
                progress::advancing(&settings, story, kafka, is_owned).await,
            );
            report("retention of the barriers", unless_wrong(&long, enough));
        }
        Err(why) => report("brokers", Err(why)),
    }
    let live = match &kafka {
        Ok(kafka) => topics::reply_partitions(kafka).await,
        Err(_) => None,
    };
    let partitions = live.unwrap_or(settings.orchestrator.partitions);
    if let Some(found) = ownership(&settings, partitions).await {
        report("ownership of the sagas", found);
    }
    if let Some(found) = cleanup(&settings).await {
        report("cleanup of the barriers", found);
    }
    if let Some(found) = unfinished(program.name, &settings).await {
        report("unfinished chains", found);
    }
    participants(&settings, kafka.as_ref().ok(), &mut report).await?;
    for (what, found) in databases(&settings).await {
        report(&what, found);
    }
    Ok(if is_sound { Exit::Completed } else { Exit::Error })
}

/// Checks the HTTP participants, and the messages that no live process handles.
async fn participants(
    settings: &Settings,
    kafka: Option<&Kafka>,
    report: &mut impl FnMut(&str, Result<String, String>),
) -> Result<()> {
    let participants = settings.http_participants()?;
    let handled = Handled::of(settings, kafka, participants.names());
    for (name, endpoint) in participants.endpoints() {
        let announced = match &handled {
            Some(handled) => handled.is_announced(name).await,
            None => None,
        };
        let found = reached(&endpoint.address()).await;
        report(&format!("participant {name}"), found.map(|found| found + presence(announced)));
    }
    if let Some(handled) = handled {
        let observer = settings.database("observer").ok();
        match handled.warnings(observer).await.as_deref() {
            None => {}
            Some([]) => report("handled messages", Ok("all, by live processes".to_owned())),
            Some(warnings) => {
                warnings.iter().for_each(|warning| outln!("warn  handled messages: {warning}"));
            }
        }
    }
    Ok(())
}

/// Returns the detail, or the wrong things in lines of their own.
fn unless_wrong(wrong: &[String], detail: String) -> Result<String, String> {
    if wrong.is_empty() { Ok(detail) } else { Err(wrong.join("\n      ")) }
}

/// Checks all databases at once, and compares their clocks.
async fn databases(settings: &Settings) -> Vec<(String, Result<String, String>)> {
    let mut names = vec!["engine"];
    names.extend(settings.services().into_iter().map(|(name, _)| name));
    names.push("observer");
    let probes =
        futures_util::future::join_all(names.iter().map(|name| database(settings, name))).await;
    let (mut found, mut clocks) = (Vec::new(), Vec::new());
    for (name, probe) in names.into_iter().zip(probes) {
        found.push((name, probe.as_ref().map(|probe| probe.detail.clone()).map_err(Clone::clone)));
        clocks.extend(probe.ok().map(|probe| (name, probe.clock)));
    }
    let mut lines = grouped(found);
    lines.extend(skew(&clocks).map(|found| ("clocks of the databases".to_owned(), found)));
    lines
}

/// Returns the cluster's brokers, or the error with the settings to check.
async fn brokers_of(settings: &Settings, kafka: &Kafka) -> Result<Vec<Broker>, String> {
    match kafka.brokers().await {
        Ok(brokers) => Ok(brokers),
        Err(error) => {
            let hint = hint(&settings.kafka, accepts_connections(&settings.kafka.brokers).await);
            Err(hint.map_or_else(|| error.to_string(), |hint| format!("{error}\n      {hint}")))
        }
    }
}

/// Whether a broker accepts connections at one of these addresses.
async fn accepts_connections(brokers: &str) -> bool {
    for address in brokers.split(',').map(str::trim) {
        let connecting = tokio::net::TcpStream::connect(address);
        if matches!(tokio::time::timeout(CONNECT_MAX, connecting).await, Ok(Ok(_))) {
            return true;
        }
    }
    false
}

/// Checks that a participant accepts connections. Its commands wait while it does not.
async fn reached(address: &str) -> Result<String, String> {
    let connecting = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(Ok(_)) => Ok(format!("{address} accepts connections")),
        Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}. Is it running?")),
        Err(_) => Err(format!("{address} accepts no connection within {CONNECT_MAX:?}")),
    }
}

/// Describes whether a participant announces what it handles, if that is known.
fn presence(announced: Option<bool>) -> &'static str {
    match announced {
        Some(true) => ", announced",
        Some(false) => ", not announced",
        None => "",
    }
}

/// Returns the settings to check when no broker responds. With TLS or SASL the client's error names
/// them.
fn hint(kafka: &KafkaSettings, is_accepted: bool) -> Option<&'static str> {
    match is_accepted {
        false => Some(UNREACHABLE),
        true => (kafka.tls.is_none() && kafka.sasl.is_none()).then_some(SILENT),
    }
}

/// Whether an orchestrator owns sagas: a lease has not expired.
async fn owned(settings: &Settings) -> bool {
    let Ok(database) = settings.database("engine") else { return false };
    let sql = format!("SELECT count(*) FROM ownership WHERE lease_until > ({SERVER_TIME})");
    let rows = database.query(&sql, ()).await.ok();
    rows.and_then(|rows| rows.first()?.get::<i64>(0).ok()).is_some_and(|count| count > 0)
}

/// Compares the ownership rows with the partitions. `None` without rows, or if the database cannot
/// be read.
async fn ownership(settings: &Settings, partitions: u32) -> Option<Result<String, String>> {
    let database = settings.database("engine").ok()?;
    let sql = "SELECT coalesce(max(reply_partition) + 1, 0) FROM ownership";
    let rows: i64 = database.query(sql, ()).await.ok()?.first()?.get(0).ok()?;
    let stray = "SELECT count(*) FROM saga WHERE ended_at IS NULL AND reply_partition >= $1";
    let stray: i64 = database.query(stray, (partitions,)).await.ok()?.first()?.get(0).ok()?;
    (rows > 0).then(|| compared(rows, stray, partitions, &settings.schema("engine")))
}

/// Returns the time up to which the services have removed ended sagas. `None` if no saga is old
/// enough, or the database cannot be read.
async fn cleanup(settings: &Settings) -> Option<Result<String, String>> {
    let database = settings.database("engine").ok()?;
    let oldest =
        database.query("SELECT started_at FROM saga ORDER BY seq LIMIT 1", ()).await.ok()?;
    let oldest = Timestamp(oldest.first()?.get(0).ok()?);
    let rows = database.query("SELECT participant, swept_before FROM swept", ()).await.ok()?;
    let report = |row: &Row| Some((row.get::<String>(0).ok()?, Timestamp(row.get(1).ok()?)));
    let reports: BTreeMap<String, Timestamp> = rows.iter().filter_map(report).collect();
    // a horizon is two days before the retention, and is published every ten minutes
    let due =
        clock::now().minus(settings.barrier_retention()).minus(Duration::from_secs(7 * 24 * 3600));
    let silent = settings.services().into_iter().map(|(name, _)| name);
    let silent: Vec<&str> =
        silent.filter(|name| reports.get(*name).is_none_or(|before| *before < due)).collect();
    (oldest < due).then(|| match silent.as_slice() {
        [] => Ok(format!(
            "all services, before {}",
            rfc3339(reports.values().min().copied().unwrap_or(due))
        )),
        silent => Err(format!(
            "{} has not reported its cleanup for a week: the rows of its ended sagas remain until \
             it does.\n      Is it running, and may it read sagamore.horizon and write \
             sagamore.replies?",
            silent.join(", ")
        )),
    })
}

/// Counts the unfinished chains whose rows services must retain. `None` if the observer's database
/// cannot be read.
async fn unfinished(program: &str, settings: &Settings) -> Option<Result<String, String>> {
    let database = settings.database("observer").ok()?;
    let ended_before = clock::now().minus(settings.barrier_retention());
    let until = ended_before.minus(Duration::from_secs(24 * 3600));
    let since = "SELECT coalesce(max(since), 0) FROM (SELECT since FROM observing UNION ALL SELECT \
        gap_at FROM reading) s";
    let since: i64 = database.query(since, ()).await.ok()?.first()?.get(0).ok()?;
    let sql = format!("SELECT count(*) FROM ({NAMES}) n");
    let most = NAMES_MAX as i64 + 1;
    let chains: i64 = database
        .query(&sql, (until.0, ended_before.0, most, since))
        .await
        .ok()?
        .first()?
        .get(0)
        .ok()?;
    let sql = "SELECT max(gap_at) FROM reading";
    let gap: Option<i64> = database.query(sql, ()).await.ok()?.first()?.get(0).ok()?;
    Some(retained(program, chains, gap.map(Timestamp)))
}

/// `gap`: the last time that the observer found events removed before it had read them.
fn retained(program: &str, chains: i64, gap: Option<Timestamp>) -> Result<String, String> {
    let unseen = gap.map(|gap| {
        format!("; rows from before {} remain, because events were removed unread", rfc3339(gap))
    });
    let unseen = unseen.unwrap_or_default();
    if chains <= NAMES_MAX as i64 {
        return Ok(format!("{chains}, whose rows the barriers retain{unseen}"));
    }
    Err(format!(
        "more than {NAMES_MAX}, the maximum of a horizon: services remove no rows that are younger \
         than the oldest {NAMES_MAX} chains, or no rows at all without the first events of so \
         many{unseen}.\n      \
         List them \
         ({program} list --status stuck, half-compensated, anomalous), and resolve those that are \
         repaired: \
         {program} resolve ID --reason WHY"
    ))
}

/// `rows`: the greatest partition with an ownership row, plus one. `stray`: the unfinished sagas in
/// partitions that do not exist.
fn compared(rows: i64, stray: i64, partitions: u32, schema: &str) -> Result<String, String> {
    if rows <= i64::from(partitions) {
        return Ok(format!("rows up to partition {}, with {partitions} partitions", rows - 1));
    }
    let schema = format!("\"{schema}\"");
    Err(format!(
        "ownership has rows up to partition {}, but sagamore.replies has {partitions} partitions: \
         {stray} unfinished sagas in missing partitions never continue.\n      Stop all \
         orchestrators. Then move these sagas to existing partitions, and remove the rows:\n      \
         UPDATE {schema}.saga SET reply_partition = reply_partition % {partitions}\n        \
         WHERE ended_at IS NULL AND reply_partition >= {partitions};\n      \
         DELETE FROM {schema}.ownership WHERE reply_partition >= {partitions};",
        rows - 1
    ))
}

/// The result of probing a database.
struct Probe {
    detail: String,
    clock: Clock,
}

/// A server's clock in relation to this process's clock.
#[derive(Clone, Copy)]
struct Clock {
    /// The difference in milliseconds; negative if the server is behind.
    ahead_ms: i64,
    /// The uncertainty of the difference: half of the round trip.
    uncertainty: Duration,
}

async fn database(settings: &Settings, name: &str) -> Result<Probe, String> {
    let database = settings.database(name).map_err(|error| format!("{error:#}"))?;
    let unreachable =
        |error| format!("{error}\n      Is its url right, and may its user create schemas?");
    // opens the connection, which takes time
    database.query(SERVER_TIME, ()).await.map_err(unreachable)?;
    let (sent, began) = (Instant::now(), clock::now());
    let rows = database.query(SERVER_TIME, ()).await.map_err(unreachable)?;
    let took = sent.elapsed();
    let theirs: i64 =
        rows.first().map_or(Ok(0), |row| row.get(0)).map_err(|error| error.to_string())?;
    let clock = Clock { ahead_ms: theirs - began.plus(took / 2).0, uncertainty: took / 2 };
    let steps = database.query("SELECT count(*) FROM schema_migration", ()).await;
    let schema = settings.schema(name);
    let schema = match steps.ok().and_then(|rows| rows.first()?.get::<i64>(0).ok()) {
        Some(steps) => format!("schema {schema} has {steps} migrations"),
        None => format!("schema {schema} will be created at the first start"),
    };
    Ok(Probe { detail: format!("responds in {took:?}; {schema}"), clock })
}

/// Returns one line per database. Databases with the same error share a line.
fn grouped(found: Vec<(&str, Result<String, String>)>) -> Vec<(String, Result<String, String>)> {
    let mut lines: Vec<(Vec<&str>, Result<String, String>)> = Vec::new();
    for (name, found) in found {
        match lines.iter_mut().find(|(_, line)| line.is_err() && *line == found) {
            Some((names, _)) => names.push(name),
            None => lines.push((vec![name], found)),
        }
    }
    let what = |names: Vec<&str>| match names.as_slice() {
        [name] => format!("database of {name}"),
        names => format!("databases of {}", names.join(", ")),
    };
    lines.into_iter().map(|(names, found)| (what(names), found)).collect()
}

/// Whether the clocks agree; `None` if no database responded.
fn skew(clocks: &[(&str, Clock)]) -> Option<Result<String, String>> {
    let (name, worst) = clocks.iter().max_by_key(|(_, clock)| clock.ahead_ms.abs())?;
    let (difference, uncertainty) =
        (Duration::from_millis(worst.ahead_ms.unsigned_abs()), worst.uncertainty.as_millis());
    let comparison = format!(
        "the clock of {name} is {difference:?} {} this one",
        if worst.ahead_ms < 0 { "behind" } else { "ahead of" }
    );
    Some(match difference.saturating_sub(worst.uncertainty) > SKEW_MAX {
        false => Ok(format!(
            "at most {difference:?} from this one, within {uncertainty} ms ({SKEW_MAX:?} are \
             allowed)"
        )),
        true => Err(format!(
            "{comparison}, more than the allowed {SKEW_MAX:?}: synchronize both clocks (chrony, \
             ntpd)"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsSettings;

    #[test]
    fn rows_of_missing_partitions_are_reported_with_the_fix() {
        assert!(compared(4, 0, 4, "engine").is_ok());
        assert!(compared(2, 0, 4, "engine").is_ok(), "the next start creates the others");
        let why = compared(8, 3, 4, "my-shop_engine").expect_err("4 too many");
        assert!(why.contains("up to partition 7") && why.contains("3 unfinished"), "{why}");
        assert!(
            why.contains("DELETE FROM \"my-shop_engine\".ownership WHERE reply_partition >= 4;"),
            "{why}"
        );
        assert!(why.contains("SET reply_partition = reply_partition % 4"), "{why}");
    }

    #[test]
    fn too_many_unfinished_chains_are_reported() {
        assert_eq!(retained("trip", 3, None).expect("few"), "3, whose rows the barriers retain");
        let gap = retained("trip", 0, Some(Timestamp(0))).expect("none");
        assert!(gap.contains("from before 1970-01-01T00:00:00"), "{gap}");
        let many = retained("trip", 1_001, None).expect_err("too many");
        assert!(
            many.contains("(trip list --status stuck, ") && many.contains("trip resolve ID"),
            "{many}"
        );
    }

    #[test]
    fn unreachable_brokers_give_no_hint_about_tls() {
        let plain =
            KafkaSettings { brokers: "a:1".into(), replication: None, tls: None, sasl: None };
        assert_eq!(hint(&plain, false), Some(UNREACHABLE));
        assert_eq!(hint(&plain, true), Some(SILENT));
        let secure = KafkaSettings { tls: Some(TlsSettings::default()), ..plain };
        assert_eq!((hint(&secure, false), hint(&secure, true)), (Some(UNREACHABLE), None));
    }

    #[test]
    fn databases_with_the_same_error_share_a_line() {
        let unreachable = || Err("connection refused".to_owned());
        let fine = |what: &str| Ok(what.to_owned());
        let of = |found: Vec<(&'static str, Result<String, String>)>| grouped(found);
        assert_eq!(
            of(vec![
                ("engine", unreachable()),
                ("order", fine("a")),
                ("payment", fine("a")),
                ("inventory", unreachable())
            ]),
            [
                ("databases of engine, inventory".to_owned(), unreachable()),
                ("database of order".to_owned(), fine("a")),
                ("database of payment".to_owned(), fine("a")),
            ]
        );
        assert_eq!(
            of(vec![("engine", unreachable())]),
            [("database of engine".to_owned(), unreachable())]
        );
    }

    #[test]
    fn a_clock_skew_is_reported_with_its_size() {
        let clock = |ahead_ms, uncertain_ms| Clock {
            ahead_ms,
            uncertainty: Duration::from_millis(uncertain_ms),
        };
        assert_eq!(skew(&[]), None);
        let fine = skew(&[("engine", clock(-3, 1)), ("order", clock(1_999, 1))]).unwrap().unwrap();
        assert!(fine.contains("1.999s from this one"), "{fine}");
        assert!(skew(&[("engine", clock(2_300, 400))]).unwrap().is_ok(), "the response was slow");
        let error =
            skew(&[("engine", clock(3, 1)), ("order", clock(-5_000, 1))]).unwrap().unwrap_err();
        assert!(
            error.contains("order is 5s behind this one") && error.contains("chrony"),
            "{error}"
        );
    }
}
