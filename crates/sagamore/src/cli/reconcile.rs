//! `sagamore reconcile`: what the services' barriers say beside what the sagas say, and where both cannot be true.

mod gather;
mod judge;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};
use sagamore_engine::ChainStatus;
use sagamore_sdk::facts;
use serde::Serialize;

use super::{Format, ReconcileArgs};
use crate::client::{self, Client};
use crate::clock::{self, rfc3339};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{Line, Lines, SagaView, Style};
use gather::{Known, Stray};
use judge::{Inconsistency, Stands};

/// Whoever follows events may be so far behind.
const BEHIND: Duration = Duration::from_secs(10);
/// More are counted, and not looked into.
const LOOKED_INTO_MAX: usize = 1_000;
/// More that wait are counted, and not listed.
const OPEN_MAX: usize = 10_000;

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
    /// Such that were too many to be listed.
    #[serde(skip_serializing_if = "is_none")]
    more_open: usize,
    /// Of definitions of which the server knows no saga, and so another one keeps them: how many each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    elsewhere: BTreeMap<String, usize>,
    /// Services that do not answer: of what they know nothing was compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unasked: Vec<String>,
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
    services: Vec<(String, Client)>,
    /// The names of the plans: a chain's id begins with one.
    plans: Vec<String>,
}

/// Compares, and has the events of chains told again when that is wanted. Ends with 1 when something is inconsistent.
pub async fn run(invocation: &Invocation, args: ReconcileArgs) -> Result<Exit> {
    let mut sides = Sides::of(invocation, &args)?;
    let unasked = sides.leave_out_who_is_away().await?;
    let now = clock::now();
    let retention = invocation.settings()?.barrier_retention();
    let comparison = Comparison {
        since: args.since.map(|since| rfc3339(now.minus(since))),
        until: rfc3339(now.minus(BEHIND)),
        remembered: rfc3339(facts::remembered(now, retention)),
        sides: &sides,
        kept: BTreeMap::new(),
        strange: BTreeMap::new(),
        page: args.page,
        whole: HashMap::new(),
        looked_into: 0,
        report: Report::default(),
    };
    let mut report = comparison.run().await?;
    report.unasked = unasked;
    if args.resend {
        report.resent = Some(sides.resend(&report).await?);
    }
    match args.server.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(invocation.name(), &report),
    }
    let complete = report.left_out == 0 && report.unasked.is_empty();
    Ok(if report.inconsistent.is_empty() && complete { Exit::Completed } else { Exit::Error })
}

/// A range of sagas after the other, and what was found so far.
struct Comparison<'a> {
    sides: &'a Sides,
    /// Sagas that started before are left out.
    since: Option<String>,
    /// What was stored later may be of a saga that is not told yet.
    until: String,
    /// What ended, or was stored, before may be forgotten by some.
    remembered: String,
    /// Whether the server knows a saga of this definition; of any, under "".
    kept: BTreeMap<String, bool>,
    /// Definition and service: how many sagas that the server cannot know.
    strange: BTreeMap<(String, String), usize>,
    /// How services stand when a saga of this definition and version has completed.
    whole: HashMap<(String, u32), Stands>,
    looked_into: usize,
    /// Sagas at a time.
    page: usize,
    report: Report,
}

impl Comparison<'_> {
    async fn run(mut self) -> Result<Report> {
        let names: Vec<&str> = self.sides.services.iter().map(|(name, _)| name.as_str()).collect();
        let mut after = String::new();
        loop {
            let mut range = gather::range(&self.sides.sagas, after, self.page).await?;
            for (name, client) in &self.sides.services {
                let mut behind = None;
                loop {
                    let (rows, strays, next) = range.page(name, client, behind).await?;
                    self.report.facts += rows;
                    for stray in strays {
                        self.judge_stray(stray, &names).await?;
                    }
                    match next {
                        Some(next) => behind = Some(next),
                        None => break,
                    }
                }
            }
            let mut sagas: Vec<Known> = range.sagas.into_values().collect();
            sagas.sort_unstable_by(|one, other| one.line.id.cmp(&other.line.id));
            for saga in sagas {
                self.judge(saga, &names).await?;
            }
            match range.until {
                Some(until) => after = until,
                None => break,
            }
        }
        for ((definition, _), sagas) in self.strange {
            let elsewhere = self.report.elsewhere.entry(definition).or_default();
            *elsewhere = sagas.max(*elsewhere); // most services know the same ones
        }
        self.report
            .inconsistent
            .sort_by(|one, other| (&one.saga, &one.service).cmp(&(&other.saga, &other.service)));
        Ok(self.report)
    }

    /// A saga that the server knows.
    async fn judge(&mut self, Known { line, stands }: Known, names: &[&str]) -> Result<()> {
        if self.since.as_deref().is_some_and(|since| line.started_at.as_str() < since) {
            return Ok(());
        }
        self.report.sagas += 1;
        if line.status.is_at_rest() && line.ended_at.is_none() {
            self.report.wait(&line);
        }
        if line.ended_at.as_deref().is_some_and(|ended| ended < self.remembered.as_str()) {
            return Ok(()); // services may have forgotten it
        }
        let sort = (line.definition.clone(), line.version);
        if !judge::is_suspicious(Some(&line), &stands, self.whole.get(&sort)) {
            return Ok(());
        }
        if self.looked_into == LOOKED_INTO_MAX {
            self.report.left_out += 1;
            return Ok(());
        }
        self.look_into(&line.id, &stands, names, Some(sort)).await
    }

    /// What a service says of a saga that was not there when the server was asked.
    async fn judge_stray(&mut self, stray: Stray, names: &[&str]) -> Result<()> {
        let Stray { saga, service, stands, stored_at } = stray;
        let old = self.since.as_deref().is_some_and(|since| stored_at.as_str() < since);
        // the observer forgets chains, and not in one moment with the services
        let forgotten = judge::is_chain(&saga, &self.sides.plans) && stored_at < self.remembered;
        if old || forgotten || stored_at >= self.until || !judge::is_suspicious(None, &stands, None)
        {
            return Ok(());
        }
        let definition = saga.split(':').next().unwrap_or_default().to_owned();
        if self.keeps("").await? && !self.keeps(&definition).await? {
            *self.strange.entry((definition, service)).or_default() += 1;
            return Ok(());
        }
        if self.looked_into == LOOKED_INTO_MAX {
            self.report.left_out += 1;
            return Ok(());
        }
        self.look_into(&saga, &stands, names, None).await
    }

    /// `sort`: of which definition and version it is, if the server knows it; then all services have been asked.
    async fn look_into(
        &mut self,
        id: &str,
        stands: &Stands,
        names: &[&str],
        sort: Option<(String, u32)>,
    ) -> Result<()> {
        let Some(saga) = self.sides.saga(id).await? else {
            self.looked_into += 1;
            self.report.inconsistent.extend(judge::unknown(id, stands, &self.sides.plans));
            return Ok(());
        };
        if sort.is_none() || (saga.line.style == Style::Orchestration && saga.journal.is_empty()) {
            return Ok(()); // it has come meanwhile; or its journal is forgotten, and with it how each step ended
        }
        let found = judge::compare(&saga, stands, names);
        match sort.filter(|_| found.is_empty() && saga.line.status == ChainStatus::Completed) {
            Some(sort) => drop(self.whole.insert(sort, judge::whole(&saga, names))),
            None => self.looked_into += 1,
        }
        self.report.inconsistent.extend(found);
        Ok(())
    }

    /// Whether the server knows any saga of this definition.
    async fn keeps(&mut self, definition: &str) -> Result<bool> {
        if let Some(keeps) = self.kept.get(definition) {
            return Ok(*keeps);
        }
        let only = if definition.is_empty() {
            String::new()
        } else {
            format!("&definition={}", encoded(definition))
        };
        let server = &self.sides.sagas;
        let page: Lines =
            server.read(&server.get(&format!("/api/v1/sagas?limit=1{only}")).await?)?;
        let keeps = !page.sagas.is_empty();
        self.kept.insert(definition.to_owned(), keeps);
        Ok(keeps)
    }
}

impl Report {
    fn wait(&mut self, line: &Line) {
        if self.open.len() == OPEN_MAX {
            self.more_open += 1;
            return;
        }
        let Line { id, style, status, why, .. } = line;
        self.open.push(Open { saga: id.clone(), style: *style, status: *status, why: why.clone() });
    }
}

impl Sides {
    fn of(invocation: &Invocation, args: &ReconcileArgs) -> Result<Sides> {
        let (program, sagas) = (&invocation.program, args.server.client(invocation)?);
        let services = match invocation.config_file() {
            Some(_) => {
                let settings = invocation.settings()?;
                let client = |address: &str| Client::new(&format!("http://{address}"));
                let services = settings.services().into_iter();
                services
                    .map(|(name, service)| Ok((name.to_owned(), client(&service.listen)?)))
                    .collect::<Result<_>>()?
            }
            None => program.service_names().into_iter().map(|name| (name, sagas.clone())).collect(),
        };
        let services: Vec<(String, Client)> = services;
        if services.is_empty() {
            bail!(
                "no service is known whose barriers could be compared: name them in a configuration, --config FILE"
            );
        }
        let plans = program
            .stories()
            .flat_map(|story| &story.plans)
            .map(|plan| plan.name.to_string())
            .collect();
        Ok(Sides { sagas, services, plans })
    }

    /// Goes on without the services that do not answer, and gives them; fails when none does.
    async fn leave_out_who_is_away(&mut self) -> Result<Vec<String>> {
        let (mut there, mut away, mut why) = (Vec::new(), Vec::new(), None);
        for (name, client) in std::mem::take(&mut self.services) {
            match client.get("/livez").await {
                Ok(_) => there.push((name, client)),
                Err(error) => {
                    let told = match &error {
                        client::Error::NotRunning { why, .. } => format!("{client}: {why}"),
                        error => error.to_string(),
                    };
                    errln!("{name} does not answer, and is left out ({told})");
                    away.push(name);
                    why = Some(error);
                }
            }
        }
        match why {
            Some(why) if there.is_empty() => Err(why.into()),
            _ => {
                self.services = there;
                Ok(away)
            }
        }
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
        let open = report
            .open
            .iter()
            .filter(|open| open.style == Style::Choreography)
            .map(|open| open.saga.as_str());
        let inconsistent = report.inconsistent.iter().map(|found| found.saga.as_str());
        let inconsistent = inconsistent.filter(|id| judge::is_chain(id, &self.plans));
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
                let answer = client
                    .post(&format!("/api/v1/sagas/{}/resend", encoded(chain)), "", None)
                    .await;
                let answer =
                    answer.with_context(|| format!("have {chain} told again by {client}"))?;
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

fn print(program: &str, report: &Report) {
    let Report {
        sagas,
        facts,
        inconsistent,
        open,
        more_open,
        elsewhere,
        unasked,
        left_out,
        resent,
    } = report;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["SAGA", "SERVICE", "STEP", "WHAT IS WRONG", "WHAT TO DO"]);
    for found in inconsistent {
        table.add_row([&found.saga, &found.service, &found.step, &found.what, found.mend]);
    }
    for open in open {
        let what = open.why.clone().unwrap_or_else(|| format!("it is {}", open.status.as_str()));
        table.add_row([
            &open.saga,
            "-",
            "-",
            &what,
            &format!("see: {program} show {}", crate::plain::quoted(&open.saga)),
        ]);
    }
    if !inconsistent.is_empty() || !open.is_empty() {
        outln!("{}", table.trim_fmt());
    }
    for (definition, count) in elsewhere {
        outln!(
            "{count} of '{definition}' are not compared: no saga of it is known here; ask the server that keeps them"
        );
    }
    if !unasked.is_empty() {
        outln!("not compared with what these know, for they do not answer: {}", unasked.join(", "));
    }
    if *left_out > 0 {
        outln!("{left_out} more are suspicious, and were not looked into: mend these first");
    }
    if let Some(resent) = resent {
        outln!("{resent} events were told again; look once more in a while");
    }
    outln!(
        "{sagas} sagas compared with {facts} rows of the barriers: {} inconsistent, {} waiting",
        inconsistent.len(),
        open.len() + more_open
    );
}
