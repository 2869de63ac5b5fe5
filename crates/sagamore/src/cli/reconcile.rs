//! `sagamore reconcile`: what the services' barriers say beside what the sagas say, and where both cannot be true.

mod gather;
mod judge;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use sagamore_engine::ChainStatus;
use sagamore_sdk::facts;
use sagamore_shop::choreography;
use serde::Serialize;

use super::output::{self, Exit};
use super::{ConfigArgs, Format, ReconcileArgs};
use crate::client::{self, Client};
use crate::clock::{self, rfc3339};
use crate::config::Settings;
use crate::http::encoded;
use crate::view::{Line, SagaView, Style};
use judge::{Inconsistency, Stands};

/// Whoever follows events may be so far behind.
const BEHIND: Duration = Duration::from_secs(10);
/// More are counted, and not looked into.
const LOOKED_INTO_MAX: usize = 1_000;

/// What came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// How many sagas were compared.
    sagas: usize,
    /// How many rows all barriers have.
    facts: u64,
    inconsistent: Vec<Inconsistency>,
    /// Sagas that do not go on without a person, or an event.
    open: Vec<Open>,
    /// Of definitions of which the server knows no saga, and so another one keeps them: how many each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    elsewhere: BTreeMap<String, usize>,
    /// Suspicious ones that were too many to be looked into.
    #[serde(skip_serializing_if = "is_none")]
    left_out: usize,
    /// Events that were told again.
    #[serde(skip_serializing_if = "Option::is_none")]
    resent: Option<usize>,
}

/// A saga that does not go on by itself.
#[derive(Debug, Serialize)]
struct Open {
    saga: String,
    style: Style,
    status: ChainStatus,
    why: Option<String>,
}

/// Whom to ask.
struct Sides {
    sagas: Client,
    services: Vec<(&'static str, Client)>,
}

/// Compares, and has the events of chains told again when that is wanted. Ends with 1 when something is inconsistent.
pub async fn run(config: &ConfigArgs, args: ReconcileArgs) -> Result<Exit> {
    let sides = Sides::of(config, &args)?;
    let now = clock::now();
    let since = args.since.map(|since| rfc3339(now.minus(since)));
    let retention = Settings::load(config.config.as_deref())?.barrier_retention();
    let remembered = rfc3339(facts::remembered(now, retention));
    let lines = gather::sagas(&sides.sagas, since.as_deref()).await?;
    let mut report = Report { sagas: lines.len(), open: open(&lines), ..Report::default() };
    let mut known = BTreeMap::new();
    for (name, client) in &sides.services {
        report.facts += gather::barrier(name, client, &mut known).await?;
    }
    let until = rfc3339(now.minus(BEHIND));
    known.retain(|id, known| {
        let old = since.as_deref().is_some_and(|since| known.stored_at.as_str() < since);
        // the observer forgets chains, and not in one moment with the services
        let forgotten = judge::is_chain(id, choreography::NAME) && known.stored_at < remembered;
        lines.contains_key(id) || (!old && !forgotten && known.stored_at < until)
    });
    sides.compare(&lines, &known, &remembered, &mut report).await?;
    if args.resend {
        report.resent = Some(sides.resend(&report).await?);
    }
    match args.server.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    Ok(if report.inconsistent.is_empty() && report.left_out == 0 { Exit::Completed } else { Exit::Error })
}

impl Sides {
    fn of(config: &ConfigArgs, args: &ReconcileArgs) -> Result<Sides> {
        let sagas = args.server.client(config)?;
        let names = ["order", "payment", "inventory", "shipping"];
        let services = match &config.config {
            Some(file) => {
                let settings = Settings::load(Some(file))?;
                let client = |address: &str| Client::new(&format!("http://{address}"));
                let services = settings.services().map(|(name, service)| Ok((name, client(&service.listen)?)));
                services.into_iter().collect::<Result<_>>()?
            }
            None => names.map(|name| (name, sagas.clone())).into(),
        };
        Ok(Sides { sagas, services })
    }

    async fn compare(
        &self,
        lines: &HashMap<String, Line>,
        known: &BTreeMap<String, gather::Known>,
        remembered: &str,
        report: &mut Report,
    ) -> Result<()> {
        let names: Vec<&str> = self.services.iter().map(|(name, _)| *name).collect();
        let mut whole: HashMap<(String, u32), Stands> = HashMap::new();
        let nothing = Stands::new();
        let kept: HashSet<&str> = lines.values().map(|line| line.definition.as_str()).collect();
        let ended = lines.keys().filter(|id| !known.contains_key(*id)).map(|id| (id, &nothing));
        let all = known.iter().map(|(id, known)| (id, &known.stands)).chain(ended);
        let mut looked_into = 0;
        for (id, stands) in all {
            let line = lines.get(id);
            if line.and_then(|line| line.ended_at.as_deref()).is_some_and(|ended| ended < remembered) {
                continue; // services may have forgotten it
            }
            let sort = line.map(|line| (line.definition.clone(), line.version));
            if !judge::is_suspicious(line, stands, sort.as_ref().and_then(|sort| whole.get(sort))) {
                continue;
            }
            let definition = id.split(':').next().unwrap_or_default();
            if line.is_none() && !kept.is_empty() && !kept.contains(definition) {
                *report.elsewhere.entry(definition.to_owned()).or_default() += 1;
                continue;
            }
            if looked_into == LOOKED_INTO_MAX {
                report.left_out += 1;
                continue;
            }
            match self.saga(id).await? {
                // its journal is forgotten, and with it how each step ended
                Some(saga) if saga.line.style == Style::Orchestration && saga.journal.is_empty() => {}
                Some(saga) => {
                    let found = judge::compare(&saga, stands, &names);
                    match sort.filter(|_| found.is_empty() && saga.line.status == ChainStatus::Completed) {
                        Some(sort) => drop(whole.insert(sort, judge::whole(&saga, &names))),
                        None => looked_into += 1,
                    }
                    report.inconsistent.extend(found);
                }
                None => report.inconsistent.extend(judge::unknown(id, stands, choreography::NAME)),
            }
        }
        Ok(())
    }

    async fn saga(&self, id: &str) -> Result<Option<SagaView>> {
        match self.sagas.get(&format!("/api/v1/sagas/{}", encoded(id))).await {
            Ok(body) => Ok(Some(self.sagas.read(&body)?)),
            Err(client::Error::Problem { told, .. }) if told.status == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("look into {id}")),
        }
    }

    /// Has every service tell again what it has told of the chains that do not go on, or are inconsistent.
    async fn resend(&self, report: &Report) -> Result<usize> {
        let open = report.open.iter().filter(|open| open.style == Style::Choreography).map(|open| open.saga.as_str());
        let inconsistent = report.inconsistent.iter().map(|found| found.saga.as_str());
        let inconsistent = inconsistent.filter(|id| judge::is_chain(id, choreography::NAME));
        let mut chains: Vec<&str> = open.chain(inconsistent).collect();
        chains.sort_unstable();
        chains.dedup();
        let mut clients: Vec<&Client> = Vec::new();
        for (_, client) in &self.services {
            if clients.iter().all(|known| known.to_string() != client.to_string()) {
                clients.push(client);
            }
        }
        let mut events = 0;
        for chain in chains {
            for client in &clients {
                let answer = client.post(&format!("/api/v1/sagas/{}/resend", encoded(chain)), "", None).await;
                let answer = answer.with_context(|| format!("have {chain} told again by {client}"))?;
                let answer: serde_json::Value = client.read(&answer)?;
                events += answer["events"].as_u64().unwrap_or_default() as usize;
            }
        }
        Ok(events)
    }
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

fn open(lines: &HashMap<String, Line>) -> Vec<Open> {
    let needs = |line: &&Line| line.status.is_at_rest() && line.ended_at.is_none();
    let mut open: Vec<Open> = lines
        .values()
        .filter(needs)
        .map(|line| Open { saga: line.id.clone(), style: line.style, status: line.status, why: line.why.clone() })
        .collect();
    open.sort_by(|one, other| one.saga.cmp(&other.saga));
    open
}

fn print(report: &Report) {
    let Report { sagas, facts, inconsistent, open, elsewhere, left_out, resent } = report;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["SAGA", "SERVICE", "STEP", "WHAT IS WRONG", "WHAT TO DO"]);
    for found in inconsistent {
        table.add_row([&found.saga, &found.service, &found.step, &found.what, found.mend]);
    }
    for open in open {
        let what = open.why.clone().unwrap_or_else(|| format!("it is {}", open.status.as_str()));
        table.add_row([&open.saga, "-", "-", &what, &format!("see: sagamore show {}", open.saga)]);
    }
    if !inconsistent.is_empty() || !open.is_empty() {
        anstream::println!("{}", table.trim_fmt());
    }
    for (definition, count) in elsewhere {
        anstream::println!(
            "{count} of '{definition}' are not compared: no saga of it is known here; ask the server that keeps them"
        );
    }
    if *left_out > 0 {
        anstream::println!("{left_out} more are suspicious, and were not looked into: mend these first");
    }
    if let Some(resent) = resent {
        anstream::println!("{resent} events were told again; look once more in a while");
    }
    anstream::println!(
        "{sagas} sagas compared with {facts} rows of the barriers: {} inconsistent, {} waiting",
        inconsistent.len(),
        open.len()
    );
}
