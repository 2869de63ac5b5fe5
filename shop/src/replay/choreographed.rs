//! `shop replay --choreography`: each order starts a chain, and is finished when its chain is at
//! rest, including undos.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use sagamore::Exit;
use sagamore::core::{Name, SagaId};
use sagamore::engine::{ChainStatus, Chains, Filter};
use sagamore::sdk::StartOutcome;
use sagamore::server::view::standing;

use super::folder::{Folder, PlacedLine};
use super::passage::{
    PATIENCE, Passage, ReplayArgs, databases, each, print, progress, start, width,
};
use super::report::{self, Report};
use crate::databases::Databases;
use crate::import::BadLine;
use crate::order::choreographed::OrderStarter;
use crate::{Order, choreography, inventory, order, payment};

/// Returns exit code 1 if a line was rejected.
pub async fn run(folder: &Folder, args: &ReplayArgs, begun: Instant) -> Result<Exit> {
    let running = start(args).await?;
    let (chains, databases) = (running.chains().context("no observer runs")?, databases(&running)?);
    let outbox =
        running.service(order::SERVICE).context("the order service does not run")?.outbox.clone();
    let placing = OrderStarter::spawn(databases.order.clone(), outbox);
    folder.load(&databases).await?;
    let bar = progress(folder.orders.len(), args.sequential);
    let service = OrderService { placing, chains: chains.clone() };
    let bad_lines = folder.bad.len() + each(&folder.orders, width(args), &bar, &service).await?;
    bar.finish_and_clear();
    let report = count(chains, &databases, folder, begun.elapsed()).await?;
    running.stop().await?;
    print(&report, args, bad_lines)
}

/// Starts chains, and reads their outcomes.
struct OrderService {
    placing: OrderStarter,
    chains: Chains,
}

impl Passage for OrderService {
    async fn see_through(&self, line: &PlacedLine, _: &ProgressBar) -> Result<Option<BadLine>> {
        see_through(&self.placing, &self.chains, line).await
    }
}

/// Places the order, or finds the existing one, and waits until its chain is at rest.
async fn see_through(
    placing: &OrderStarter,
    chains: &Chains,
    line: &PlacedLine,
) -> Result<Option<BadLine>> {
    let order: Order = line.input.read()?;
    let chain = SagaId::new(&Name::new(choreography::NAME)?, &line.key)?;
    let placed = placing.start(order).await;
    match placed.map_err(|fault| anyhow::anyhow!("place the order: {fault}"))? {
        Ok(StartOutcome::New | StartOutcome::Before) => {}
        Ok(StartOutcome::Never) => {
            return Ok(Some(
                line.bad("its chain has ended, but the order does not exist".to_owned()),
            ));
        }
        Err(rejected) => return Ok(Some(line.bad(rejected.to_string()))),
    }
    loop {
        let known =
            chains.wait(&chain, PATIENCE).await.with_context(|| format!("wait for {chain}"))?;
        if known.is_some_and(ChainStatus::is_at_rest) {
            return Ok(None);
        }
    }
}

async fn count(
    chains: &Chains,
    databases: &Databases,
    folder: &Folder,
    took: Duration,
) -> Result<Report> {
    let ours: HashSet<&str> = folder.orders.iter().map(|order| order.key.as_str()).collect();
    let mut report = Report::after(took);
    let mut before = None;
    loop {
        let filter = Filter { before, limit: Some(report::PAGE), ..Filter::default() };
        let page = chains.list(&filter).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        for chain in page.iter().filter(|chain| ours.contains(chain.id.key())) {
            report.count(standing(chain.status), chain.failed_at.as_ref().map(Name::as_str));
        }
    }
    report.balance_cents = payment::balance_cents(&databases.payment).await?;
    report.stock_pieces = inventory::pieces_on_hand(&databases.inventory).await?;
    Ok(report)
}
