//! `sagamore doctor`: whether everything is there that the processes need; each thing that is not, with what mends it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use sagamore_core::Timestamp;
use sagamore_database::Row;
use sagamore_database::clock::SERVER_TIME;
use sagamore_engine::{NAMES, NAMES_MAX};
use sagamore_kafka::{Broker, Kafka};

use super::{standing, topics};
use crate::clock::{self, rfc3339};
use crate::config::{KafkaSettings, Settings};
use crate::invocation::Invocation;
use crate::output::Exit;

/// How far this clock and the server's may be apart: leases go by the server's alone, people's eyes by both.
const SKEW_MAX: Duration = Duration::from_secs(2);

/// What to look at when the brokers do not answer, and say nothing either.
const SILENT: &str = "Is kafka.brokers right, can they be reached from here, and is TLS spoken there just when kafka.tls is \
                      set?";
/// Maximum time to connect to one broker.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// The hint when no broker accepts a connection.
const NOBODY: &str = "Is kafka.brokers right, and do they run?";

/// Prints a line for each thing; ends with 1 when one is wrong.
pub async fn run(invocation: &Invocation) -> Result<Exit> {
    let settings = invocation.settings()?;
    let (program, story) = (&invocation.program, invocation.story(&settings));
    let mut sound = true;
    let mut say = |what: &str, found: Result<String, String>| match found {
        Ok(detail) => outln!("ok    {what}: {detail}"),
        Err(why) => {
            sound = false;
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
            say("brokers", Ok(addresses.join(", ")));
            let compared = topics::compare_with(program, &settings, kafka)
                .await
                .map_err(|error| error.to_string());
            let verdict = compared.and_then(|wrong| {
                if wrong.is_empty() {
                    Ok("as configured".to_owned())
                } else {
                    Err(wrong.join("\n      "))
                }
            });
            say("topics", verdict);
            let kept = topics::kept_too_long(program, &settings, kafka).await?;
            let days = settings.barrier.retention_days;
            let shorter = format!(
                "{days} days, longer than a topic of commands and its dead letters keep their records"
            );
            let is_owned = owned(&settings).await;
            say(
                "progress of the groups",
                standing::advancing(&settings, story, kafka, is_owned).await,
            );
            say(
                "retention of the barriers",
                if kept.is_empty() { Ok(shorter) } else { Err(kept.join("\n      ")) },
            );
        }
        Err(why) => say("brokers", Err(why)),
    }
    let live = match &kafka {
        Ok(kafka) => topics::reply_partitions(kafka).await,
        Err(_) => None,
    };
    let partitions = live.unwrap_or(settings.orchestrator.partitions);
    if let Some(found) = ownership(&settings, partitions).await {
        say("ownership of the sagas", found);
    }
    if let Some(found) = forgetting(&settings).await {
        say("what barriers have forgotten", found);
    }
    if story.is_observed()
        && let Some(found) = unended(program.name, &settings).await
    {
        say("chains that do not end", found);
    }
    let mut names = vec!["engine"];
    names.extend(settings.services().into_iter().map(|(name, _)| name));
    names.extend(story.is_observed().then_some("observer"));
    let asked =
        futures_util::future::join_all(names.iter().map(|name| database(&settings, name))).await;
    let (mut found, mut clocks) = (Vec::new(), Vec::new());
    for (name, asked) in names.into_iter().zip(asked) {
        found.push((name, asked.as_ref().map(|asked| asked.detail.clone()).map_err(Clone::clone)));
        clocks.extend(asked.ok().map(|asked| (name, asked.clock)));
    }
    together(found).into_iter().for_each(|(what, found)| say(&what, found));
    if let Some(found) = apart(&clocks) {
        say("clocks of the databases", found);
    }
    Ok(if sound { Exit::Completed } else { Exit::Error })
}

/// Returns the brokers of the cluster, or the error with the settings to check.
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

/// Returns the settings to check when no broker answers. With TLS or SASL the client's error names them.
fn hint(kafka: &KafkaSettings, is_accepted: bool) -> Option<&'static str> {
    match is_accepted {
        false => Some(NOBODY),
        true => (kafka.tls.is_none() && kafka.sasl.is_none()).then_some(SILENT),
    }
}

/// Whether an orchestrator drives sagas: a lease is not over yet.
async fn owned(settings: &Settings) -> bool {
    let Ok(database) = settings.database("engine") else { return false };
    let ask = format!("SELECT count(*) FROM ownership WHERE lease_until > ({SERVER_TIME})");
    let rows = database.query(&ask, ()).await.ok();
    rows.and_then(|rows| rows.first()?.get::<i64>(0).ok()).is_some_and(|count| count > 0)
}

/// Whether the engine has rows for partitions that there are, and no others. None while it has none, or cannot be asked.
async fn ownership(settings: &Settings, partitions: u32) -> Option<Result<String, String>> {
    let database = settings.database("engine").ok()?;
    let ask = "SELECT coalesce(max(reply_partition) + 1, 0) FROM ownership";
    let rows: i64 = database.query(ask, ()).await.ok()?.first()?.get(0).ok()?;
    let stray = "SELECT count(*) FROM saga WHERE ended_at IS NULL AND reply_partition >= $1";
    let stray: i64 = database.query(stray, (partitions,)).await.ok()?.first()?.get(0).ok()?;
    (rows > 0).then(|| compared(rows, stray, partitions, &settings.schema("engine")))
}

/// Up to when each service has forgotten what ended. None while there is nothing old enough, or it cannot be asked.
async fn forgetting(settings: &Settings) -> Option<Result<String, String>> {
    let database = settings.database("engine").ok()?;
    let oldest =
        database.query("SELECT started_at FROM saga ORDER BY seq LIMIT 1", ()).await.ok()?;
    let oldest = Timestamp(oldest.first()?.get(0).ok()?);
    let rows = database.query("SELECT participant, swept_before FROM swept", ()).await.ok()?;
    let told = |row: &Row| Some((row.get::<String>(0).ok()?, Timestamp(row.get(1).ok()?)));
    let told: BTreeMap<String, Timestamp> = rows.iter().filter_map(told).collect();
    // a horizon lies two days before the retention, and is told every ten minutes
    let due =
        clock::now().minus(settings.barrier_retention()).minus(Duration::from_secs(7 * 24 * 3600));
    let silent = settings.services().into_iter().map(|(name, _)| name);
    let silent: Vec<&str> =
        silent.filter(|name| told.get(*name).is_none_or(|before| *before < due)).collect();
    (oldest < due).then(|| match silent.as_slice() {
        [] => Ok(format!("all services, before {}", rfc3339(told.values().min().copied().unwrap_or(due)))),
        silent => Err(format!(
            "{} has not said for a week that its barrier has forgotten what ended: the rows of all sagas stay until it \
             does.\n      Does it run, and may it read sagamore.horizon and write sagamore.replies?",
            silent.join(", ")
        )),
    })
}

/// How many chains keep the services from forgetting what came after them. None while the observer's database cannot be asked.
async fn unended(program: &str, settings: &Settings) -> Option<Result<String, String>> {
    let database = settings.database("observer").ok()?;
    let ended_before = clock::now().minus(settings.barrier_retention());
    let until = ended_before.minus(Duration::from_secs(24 * 3600));
    let since = "SELECT coalesce(max(since), 0) FROM (SELECT since FROM observing UNION ALL SELECT gap_at FROM reading) s";
    let since: i64 = database.query(since, ()).await.ok()?.first()?.get(0).ok()?;
    let ask = format!("SELECT count(*) FROM ({NAMES}) n");
    let most = NAMES_MAX as i64 + 1;
    let chains: i64 = database
        .query(&ask, (until.0, ended_before.0, most, since))
        .await
        .ok()?
        .first()?
        .get(0)
        .ok()?;
    let ask = "SELECT max(gap_at) FROM reading";
    let gap: Option<i64> = database.query(ask, ()).await.ok()?.first()?.get(0).ok()?;
    Some(unending(program, chains, gap.map(Timestamp)))
}

/// `gap`: when the observer saw last that events were gone before it had read them.
fn unending(program: &str, chains: i64, gap: Option<Timestamp>) -> Result<String, String> {
    let unseen = gap.map(|gap| {
        format!(
            "; of those from before {} nothing is forgotten, for events were gone unread",
            rfc3339(gap)
        )
    });
    let unseen = unseen.unwrap_or_default();
    if chains <= NAMES_MAX as i64 {
        return Ok(format!("{chains} keep barriers from forgetting them{unseen}"));
    }
    Err(format!(
        "more than {NAMES_MAX} keep barriers from forgetting them, and more cannot be named: services forget nothing that is \
         younger than the oldest {NAMES_MAX} of them, or nothing at all where the beginnings of so many were not seen{unseen}.\n      Look at them ({program} list --status stuck, \
         half-compensated, anomalous), and resolve those that are taken care of: {program} resolve ID --reason WHY"
    ))
}

/// `rows`: one above the greatest partition that has one. `stray`: how many unfinished sagas are in partitions that are not.
fn compared(rows: i64, stray: i64, partitions: u32, schema: &str) -> Result<String, String> {
    if rows <= i64::from(partitions) {
        return Ok(format!("rows up to partition {}, and {partitions} partitions", rows - 1));
    }
    let schema = format!("\"{schema}\"");
    Err(format!(
        "there are rows up to partition {}, and sagamore.replies has {partitions} partitions: the sagas of those that are \
         not there ({stray} unfinished) wait for ever.\n      Stop all orchestrators; when none runs, give these sagas \
         to partitions that are there, and remove the rows:\n      \
         UPDATE {schema}.saga SET reply_partition = reply_partition % {partitions}\n        \
         WHERE ended_at IS NULL AND reply_partition >= {partitions};\n      \
         DELETE FROM {schema}.ownership WHERE reply_partition >= {partitions};",
        rows - 1
    ))
}

/// A database that answered.
struct Answered {
    detail: String,
    clock: Clock,
}

/// A server's clock, compared with ours.
#[derive(Clone, Copy)]
struct Clock {
    /// How far it is ahead, in milliseconds; below zero it is behind.
    ahead_ms: i64,
    /// How wrong that may be: the answer was on its way for so long.
    unsure: Duration,
}

async fn database(settings: &Settings, name: &str) -> Result<Answered, String> {
    let database = settings.database(name).map_err(|error| format!("{error:#}"))?;
    let away =
        |error| format!("{error}\n      Is its url right, and may its user create schemas there?");
    database.query(SERVER_TIME, ()).await.map_err(away)?; // the connection is made, which takes its time
    let (asked, began) = (Instant::now(), clock::now());
    let rows = database.query(SERVER_TIME, ()).await.map_err(away)?;
    let took = asked.elapsed();
    let theirs: i64 =
        rows.first().map_or(Ok(0), |row| row.get(0)).map_err(|error| error.to_string())?;
    let clock = Clock { ahead_ms: theirs - began.plus(took / 2).0, unsure: took / 2 };
    let steps = database.query("SELECT count(*) FROM schema_migration", ()).await;
    let schema = settings.schema(name);
    let had = match steps.ok().and_then(|rows| rows.first()?.get::<i64>(0).ok()) {
        Some(steps) => format!("schema {schema} has had {steps} steps"),
        None => format!("schema {schema} is made at the first start"),
    };
    Ok(Answered { detail: format!("answers in {took:?}; {had}"), clock })
}

/// A line for each database, but one for all that have the same cause: a server that is away is told once.
fn together(found: Vec<(&str, Result<String, String>)>) -> Vec<(String, Result<String, String>)> {
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

/// Whether the clocks agree; none when no database answered.
fn apart(clocks: &[(&str, Clock)]) -> Option<Result<String, String>> {
    let (name, worst) = clocks.iter().max_by_key(|(_, clock)| clock.ahead_ms.abs())?;
    let (apart, unsure) =
        (Duration::from_millis(worst.ahead_ms.unsigned_abs()), worst.unsure.as_millis());
    let told = format!(
        "that of {name} is {apart:?} {} this one",
        if worst.ahead_ms < 0 { "behind" } else { "ahead of" }
    );
    Some(match apart.saturating_sub(worst.unsure) > SKEW_MAX {
        false => Ok(format!(
            "at most {apart:?} from this one, give or take {unsure} ms ({SKEW_MAX:?} are allowed)"
        )),
        true => Err(format!(
            "{told}, and {SKEW_MAX:?} are allowed: have both machines keep the time (chrony, ntpd)"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsSettings;

    #[test]
    fn rows_of_partitions_that_are_not_there_are_told_with_what_removes_them() {
        assert!(compared(4, 0, 4, "engine").is_ok());
        assert!(compared(2, 0, 4, "engine").is_ok(), "the next start makes the others");
        let why = compared(8, 3, 4, "my-shop_engine").expect_err("4 too many");
        assert!(why.contains("up to partition 7") && why.contains("3 unfinished"), "{why}");
        assert!(
            why.contains("DELETE FROM \"my-shop_engine\".ownership WHERE reply_partition >= 4;"),
            "{why}"
        );
        assert!(why.contains("SET reply_partition = reply_partition % 4"), "{why}");
    }

    #[test]
    fn chains_that_keep_services_from_forgetting_are_told_when_they_are_too_many() {
        assert_eq!(unending("trip", 3, None).expect("few"), "3 keep barriers from forgetting them");
        let gap = unending("trip", 0, Some(Timestamp(0))).expect("none");
        assert!(gap.contains("from before 1970-01-01T00:00:00"), "{gap}");
        let many = unending("trip", 1_001, None).expect_err("too many");
        assert!(
            many.contains("(trip list --status stuck, ") && many.contains("trip resolve ID"),
            "{many}"
        );
    }

    #[test]
    fn brokers_that_are_not_there_lead_nobody_to_tls() {
        let plain =
            KafkaSettings { brokers: "a:1".into(), replication: None, tls: None, sasl: None };
        assert_eq!(hint(&plain, false), Some(NOBODY));
        assert_eq!(hint(&plain, true), Some(SILENT));
        let secure = KafkaSettings { tls: Some(TlsSettings::default()), ..plain };
        assert_eq!((hint(&secure, false), hint(&secure, true)), (Some(NOBODY), None));
    }

    #[test]
    fn one_cause_is_told_once() {
        let away = || Err("connection refused".to_owned());
        let fine = |what: &str| Ok(what.to_owned());
        let of = |found: Vec<(&'static str, Result<String, String>)>| together(found);
        assert_eq!(
            of(vec![
                ("engine", away()),
                ("order", fine("a")),
                ("payment", fine("a")),
                ("inventory", away())
            ]),
            [
                ("databases of engine, inventory".to_owned(), away()),
                ("database of order".to_owned(), fine("a")),
                ("database of payment".to_owned(), fine("a")),
            ]
        );
        assert_eq!(of(vec![("engine", away())]), [("database of engine".to_owned(), away())]);
    }

    #[test]
    fn a_clock_that_is_too_far_away_is_told_with_how_far() {
        let clock =
            |ahead_ms, unsure_ms| Clock { ahead_ms, unsure: Duration::from_millis(unsure_ms) };
        assert_eq!(apart(&[]), None);
        let fine = apart(&[("engine", clock(-3, 1)), ("order", clock(1_999, 1))]).unwrap().unwrap();
        assert!(fine.contains("1.999s from this one"), "{fine}");
        assert!(apart(&[("engine", clock(2_300, 400))]).unwrap().is_ok(), "the answer was slow");
        let told =
            apart(&[("engine", clock(3, 1)), ("order", clock(-5_000, 1))]).unwrap().unwrap_err();
        assert!(told.contains("order is 5s behind this one") && told.contains("chrony"), "{told}");
    }
}
