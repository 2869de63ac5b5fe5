//! `reconcile`: compares the barriers of the services with the sagas, and reports contradictions.

mod gather;
mod judge;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use sagamore_engine::ChainStatus;
use sagamore_sdk::facts;
use serde::Serialize;

use super::args::{Format, ServerArgs};
use crate::client::{self, Client};
use crate::clock::{self, rfc3339};
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{Line, Lines, SagaView, Style};
use gather::{SagaFacts, Stray};
use judge::{Inconsistency, StepStates};
use sagamore_inspect::times::duration;

/// Maximum lag of an observer of events.
const LAG_MAX: Duration = Duration::from_secs(10);
/// Maximum sagas to inspect in detail. Further ones are counted.
const INSPECTED_MAX: usize = 1_000;
/// Maximum open sagas to list. Further ones are counted.
const OPEN_MAX: usize = 10_000;

/// The arguments of `reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Compare only sagas that started within this time: 30s, 500ms, 24h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    since: Option<Duration>,
    /// Emit the events of unfinished or inconsistent chains again: those of the services, and
    /// first events of clients
    #[arg(long)]
    resend: bool,
    /// Sagas of one comparison
    #[arg(long, hide = true, default_value_t = 500, value_name = "N")]
    page: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// The result of the comparison.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The number of compared sagas.
    sagas: usize,
    /// The number of rows in all barriers.
    facts: u64,
    inconsistent: Vec<Inconsistency>,
    /// Sagas that need an operator or an event to continue.
    open: Vec<OpenSaga>,
    /// The number of further open sagas.
    #[serde(skip_serializing_if = "is_none")]
    more_open: usize,
    /// The number of sagas per definition that only another server can know.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    elsewhere: BTreeMap<String, usize>,
    /// Services that did not respond, so that their rows were not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unasked: Vec<String>,
    /// The number of suspicious sagas that were not inspected.
    #[serde(skip_serializing_if = "is_none")]
    left_out: usize,
    /// The number of events that were emitted again.
    #[serde(skip_serializing_if = "Option::is_none")]
    resent: Option<usize>,
}

/// A saga that does not continue by itself.
#[derive(Debug, Serialize)]
struct OpenSaga {
    saga: String,
    style: Style,
    status: ChainStatus,
    why: Option<String>,
}

/// The clients of both sides of the comparison.
struct Sides {
    sagas: Client,
    services: Vec<(String, Client)>,
    /// The names of the plans, with which ids of chains begin.
    plans: Vec<String>,
}

/// Compares both sides, and requests the resend of chains' events if `--resend` is set. Returns
/// exit code 1 if a contradiction was found.
pub async fn run(invocation: &Invocation, args: ReconcileArgs) -> Result<Exit> {
    let mut sides = Sides::of(invocation, &args)?;
    let unasked = sides.omit_unreachable_services().await?;
    let now = clock::now();
    let retention = invocation.settings()?.barrier_retention();
    let comparison = Comparison {
        since: args.since.map(|since| rfc3339(now.minus(since))),
        until: rfc3339(now.minus(LAG_MAX)),
        remembered: rfc3339(facts::remembered(now, retention)),
        sides: &sides,
        has_sagas: BTreeMap::new(),
        foreign: BTreeMap::new(),
        page: args.page,
        completed: HashMap::new(),
        inspected: 0,
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

/// The state of a comparison, which processes one range of sagas after the other.
struct Comparison<'a> {
    sides: &'a Sides,
    /// Earlier starts are skipped.
    since: Option<String>,
    /// Rows stored later are skipped: their saga may not be visible yet.
    until: String,
    /// Rows and ends before this may have been removed by some services.
    remembered: String,
    /// Whether the server has a saga of this definition; under "", of any definition.
    has_sagas: BTreeMap<String, bool>,
    /// The number of sagas per definition and service that the server cannot have.
    foreign: BTreeMap<(String, String), usize>,
    /// The steps of a completed saga of this definition and version.
    completed: HashMap<(String, u32), StepStates>,
    inspected: usize,
    /// Sagas of one range.
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
                let mut after = None;
                loop {
                    let (rows, strays, next) = range.page(name, client, after).await?;
                    self.report.facts += rows;
                    for stray in strays {
                        self.judge_stray(stray, &names).await?;
                    }
                    match next {
                        Some(next) => after = Some(next),
                        None => break,
                    }
                }
            }
            let mut sagas: Vec<SagaFacts> = range.sagas.into_values().collect();
            sagas.sort_unstable_by(|one, other| one.line.id.cmp(&other.line.id));
            for saga in sagas {
                self.judge(saga, &names).await?;
            }
            match range.until {
                Some(until) => after = until,
                None => break,
            }
        }
        for ((definition, _), sagas) in self.foreign {
            let elsewhere = self.report.elsewhere.entry(definition).or_default();
            *elsewhere = sagas.max(*elsewhere); // most services have rows of the same sagas
        }
        self.report
            .inconsistent
            .sort_by(|one, other| (&one.saga, &one.service).cmp(&(&other.saga, &other.service)));
        Ok(self.report)
    }

    /// Compares a saga of the server.
    async fn judge(&mut self, SagaFacts { line, states }: SagaFacts, names: &[&str]) -> Result<()> {
        if self.since.as_deref().is_some_and(|since| line.started_at.as_str() < since) {
            return Ok(());
        }
        self.report.sagas += 1;
        if line.status.is_at_rest() && line.ended_at.is_none() {
            self.report.add_open(&line);
        }
        if line.ended_at.as_deref().is_some_and(|ended| ended < self.remembered.as_str()) {
            return Ok(()); // services may have removed its rows
        }
        let sort = (line.definition.clone(), line.version);
        if !judge::is_suspicious(Some(&line), &states, self.completed.get(&sort)) {
            return Ok(());
        }
        if self.inspected == INSPECTED_MAX {
            self.report.left_out += 1;
            return Ok(());
        }
        self.inspect(&line.id, &states, names, Some(sort)).await
    }

    /// Compares the rows of a saga that the server did not list.
    async fn judge_stray(&mut self, stray: Stray, names: &[&str]) -> Result<()> {
        let Stray { saga, service, states, stored_at } = stray;
        let old = self.since.as_deref().is_some_and(|since| stored_at.as_str() < since);
        // the observer removes chains at another time than the services
        let forgotten = judge::is_chain(&saga, &self.sides.plans) && stored_at < self.remembered;
        if old || forgotten || stored_at >= self.until || !judge::is_suspicious(None, &states, None)
        {
            return Ok(());
        }
        let definition = saga.split(':').next().unwrap_or_default().to_owned();
        if self.has_sagas("").await? && !self.has_sagas(&definition).await? {
            *self.foreign.entry((definition, service)).or_default() += 1;
            return Ok(());
        }
        if self.inspected == INSPECTED_MAX {
            self.report.left_out += 1;
            return Ok(());
        }
        self.inspect(&saga, &states, names, None).await
    }

    /// Compares one saga in detail. `sort`: its definition and version if the server listed it, so
    /// that `states` has the rows of all services.
    async fn inspect(
        &mut self,
        id: &str,
        states: &StepStates,
        names: &[&str],
        sort: Option<(String, u32)>,
    ) -> Result<()> {
        let Some(saga) = self.sides.saga(id).await? else {
            self.inspected += 1;
            self.report.inconsistent.extend(judge::unknown(id, states, &self.sides.plans));
            return Ok(());
        };
        if sort.is_none() || (saga.line.style == Style::Orchestration && saga.journal.is_empty()) {
            return Ok(()); // the saga started meanwhile, or its journal has been removed
        }
        let found = judge::compare(&saga, states, names);
        match sort.filter(|_| found.is_empty() && saga.line.status == ChainStatus::Completed) {
            Some(sort) => drop(self.completed.insert(sort, judge::completed(&saga, names))),
            None => self.inspected += 1,
        }
        self.report.inconsistent.extend(found);
        Ok(())
    }

    /// Whether the server has a saga of this definition.
    async fn has_sagas(&mut self, definition: &str) -> Result<bool> {
        if let Some(has_sagas) = self.has_sagas.get(definition) {
            return Ok(*has_sagas);
        }
        let only = if definition.is_empty() {
            String::new()
        } else {
            format!("&definition={}", encoded(definition))
        };
        let server = &self.sides.sagas;
        let page: Lines =
            server.read(&server.get(&format!("/api/v1/sagas?limit=1{only}")).await?)?;
        let has_sagas = !page.sagas.is_empty();
        self.has_sagas.insert(definition.to_owned(), has_sagas);
        Ok(has_sagas)
    }
}

impl Report {
    fn add_open(&mut self, line: &Line) {
        if self.open.len() == OPEN_MAX {
            self.more_open += 1;
            return;
        }
        let Line { id, style, status, why, .. } = line;
        self.open.push(OpenSaga {
            saga: id.clone(),
            style: *style,
            status: *status,
            why: why.clone(),
        });
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
        // without services a resend concerns the chains that clients began
        if services.is_empty() && !args.resend {
            bail!("no services to compare with: name a configuration with services, --config FILE");
        }
        let plans = program
            .stories()
            .flat_map(|story| &story.plans)
            .map(|plan| plan.name.to_string())
            .collect();
        Ok(Sides { sagas, services, plans })
    }

    /// Omits the services that do not respond and returns their names. Fails if none responds.
    async fn omit_unreachable_services(&mut self) -> Result<Vec<String>> {
        let (mut reachable, mut unreachable, mut why) = (Vec::new(), Vec::new(), None);
        for (name, client) in std::mem::take(&mut self.services) {
            match client.get("/livez").await {
                Ok(_) => reachable.push((name, client)),
                Err(error) => {
                    let cause = match &error {
                        client::Error::NotRunning { why, .. } => format!("{client}: {why}"),
                        error => error.to_string(),
                    };
                    errln!("{name} does not respond and is omitted ({cause})");
                    unreachable.push(name);
                    why = Some(error);
                }
            }
        }
        match why {
            Some(why) if reachable.is_empty() => Err(why.into()),
            _ => {
                self.services = reachable;
                Ok(unreachable)
            }
        }
    }

    async fn saga(&self, id: &str) -> Result<Option<SagaView>> {
        match self.sagas.get(&format!("/api/v1/sagas/{}", encoded(id))).await {
            Ok(body) => Ok(Some(self.sagas.read(&body)?)),
            Err(client::Error::Problem { problem, .. }) if problem.status == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("show {id}")),
        }
    }

    /// Makes every service emit its events of open and inconsistent chains again, and the server
    /// the first events of those that clients began.
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
        for client in self.services.iter().map(|(_, client)| client).chain([&self.sagas]) {
            if clients.iter().all(|other| other.to_string() != client.to_string()) {
                clients.push(client);
            }
        }
        let mut events = 0;
        for chain in chains {
            for client in &clients {
                let answer = client
                    .post(&format!("/api/v1/sagas/{}/resend", encoded(chain)), "", None)
                    .await;
                let answer = match answer {
                    // a service that only handles commands, or a server without chains
                    Err(client::Error::Problem { problem, .. }) if problem.status == 404 => {
                        continue;
                    }
                    answer => answer
                        .with_context(|| format!("resend the events of {chain} at {client}"))?,
                };
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
    table.set_header(["SAGA", "SERVICE", "STEP", "PROBLEM", "FIX"]);
    for found in inconsistent {
        table.add_row([&found.saga, &found.service, &found.step, &found.what, found.mend]);
    }
    for open in open {
        let what =
            open.why.clone().unwrap_or_else(|| format!("the saga is {}", open.status.as_str()));
        table.add_row([
            &open.saga,
            "-",
            "-",
            &what,
            &format!("{program} show {}", crate::plain::quoted(&open.saga)),
        ]);
    }
    if !inconsistent.is_empty() || !open.is_empty() {
        outln!("{}", table.trim_fmt());
    }
    for (definition, count) in elsewhere {
        outln!(
            "{count} sagas of '{definition}' were not compared: this server has none of them, so \
             compare with their own server"
        );
    }
    if !unasked.is_empty() {
        outln!("not compared, because these services do not respond: {}", unasked.join(", "));
    }
    if *left_out > 0 {
        outln!(
            "{left_out} more sagas may be inconsistent and were not inspected: repair the listed \
             ones first"
        );
    }
    if let Some(resent) = resent {
        outln!("{resent} events were emitted again: repeat the comparison later");
    }
    outln!(
        "{sagas} sagas compared with {facts} rows of the barriers: {} inconsistent, {} open",
        inconsistent.len(),
        open.len() + more_open
    );
}
