//! `sagamore doctor`: whether everything is there that the processes need; each thing that is not, with what mends it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::ConfigArgs;
use super::output::Exit;
use super::topics;
use crate::clock;
use crate::config::Settings;

/// How far this clock and the server's may be apart: leases go by the server's alone, people's eyes by both.
const SKEW_MAX: Duration = Duration::from_secs(2);

const UNREACHABLE: &str = "Is kafka.brokers right, can they be reached from here, and is TLS spoken there just when \
                           kafka.tls is set?";

/// Prints a line for each thing; ends with 1 when one is wrong.
pub async fn run(config: &ConfigArgs) -> Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    let mut sound = true;
    let mut say = |what: &str, found: Result<String, String>| match found {
        Ok(detail) => anstream::println!("ok    {what}: {detail}"),
        Err(why) => {
            sound = false;
            anstream::println!("WRONG {what}: {why}");
        }
    };
    let kafka = settings.kafka("doctor", None)?;
    match kafka.brokers().await {
        Ok(brokers) => {
            let addresses: Vec<String> = brokers.into_iter().map(|broker| broker.address).collect();
            say("brokers", Ok(addresses.join(", ")));
            let wrong = topics::compare_with(&settings, &kafka).await?;
            say("topics", if wrong.is_empty() { Ok("as configured".into()) } else { Err(wrong.join("\n      ")) });
            let kept = topics::kept_too_long(&settings, &kafka).await?;
            let days = settings.barrier.retention_days;
            let shorter = format!("{days} days, longer than any topic of commands keeps its records");
            say("retention of the barriers", if kept.is_empty() { Ok(shorter) } else { Err(kept.join("\n      ")) });
        }
        Err(error) => say("brokers", Err(format!("{error}\n      {UNREACHABLE}"))),
    }
    for name in ["engine", "order", "payment", "inventory", "shipping"] {
        say(&format!("database of {name}"), database(&settings, name).await);
    }
    Ok(if sound { Exit::Completed } else { Exit::Error })
}

async fn database(settings: &Settings, name: &'static str) -> Result<String, String> {
    let database = settings.database(name).map_err(|error| format!("{error:#}"))?;
    let asked = Instant::now();
    let ask = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    let rows = database.query(ask, ()).await;
    let rows =
        rows.map_err(|error| format!("{error}\n      Is its url right, and may its user create schemas there?"))?;
    let theirs: i64 = rows.first().map_or(Ok(0), |row| row.get(0)).map_err(|error| error.to_string())?;
    let apart = Duration::from_millis(clock::now().0.abs_diff(theirs)).saturating_sub(asked.elapsed());
    if apart > SKEW_MAX {
        return Err(format!(
            "its clock and this one are {apart:?} apart: have both machines keep the time (chrony, ntpd)"
        ));
    }
    let steps = database.query("SELECT count(*) FROM schema_migration", ()).await;
    match steps.ok().and_then(|rows| rows.first()?.get::<i64>(0).ok()) {
        Some(steps) => {
            Ok(format!("answers in {:?}; schema {} has had {steps} steps", asked.elapsed(), settings.schema(name)))
        }
        None => {
            Ok(format!("answers in {:?}; schema {} is made at the first start", asked.elapsed(), settings.schema(name)))
        }
    }
}
