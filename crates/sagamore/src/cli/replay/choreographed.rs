//! The same orders, choreographed: each begins a chain, and is over when its chain is, with all undos that it owes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use sagamore_core::{Name, SagaId};
use sagamore_engine::ChainStatus;
use sagamore_shop::import::BadLine;
use sagamore_shop::{Order, choreography, inventory, order, payment};

use super::folder::{Folder, PlacedLine};
use super::remote::standing;
use super::report::Report;
use super::{PATIENCE, ReplayArgs, print, progress, tell, width};
use crate::cli::output::Exit;
use crate::clock;
use crate::stack::{Choreography, STOP_MAX};

/// How many chains are read at once.
const PAGE: u32 = 500;

/// Ends with 1 when a line could not be taken.
pub async fn run(folder: &Folder, args: &ReplayArgs, begun: Instant) -> Result<Exit> {
    let stack = Choreography::open(&args.data).await?;
    folder.load(&stack.shop).await?;
    let bar = progress(folder.orders.len(), args.sequential);
    let bad_lines = folder.bad.len() + run_all(&stack, folder, width(args), &bar).await?;
    bar.finish_and_clear();
    let report = report(&stack, folder, begun.elapsed()).await?;
    stack.stop(STOP_MAX).await?;
    print(&report, args, bad_lines)
}

async fn run_all(stack: &Choreography, folder: &Folder, width: usize, bar: &ProgressBar) -> Result<usize> {
    let mut outcomes = futures_util::stream::iter(&folder.orders)
        .map(|order| async move {
            let bad = see_through(stack, order).await;
            bar.inc(1);
            bad
        })
        .buffer_unordered(width);
    let mut bad_lines = 0;
    while let Some(outcome) = outcomes.next().await {
        if let Some(bad) = outcome? {
            bar.suspend(|| tell(&bad));
            bad_lines += 1;
        }
    }
    Ok(bad_lines)
}

/// Places the order, or finds the one there is, and waits until its chain is at rest.
async fn see_through(stack: &Choreography, line: &PlacedLine) -> Result<Option<BadLine>> {
    let order: Order = line.input.read()?;
    let chain = SagaId::new(&Name::new(choreography::NAME)?, &line.key)?;
    let placed = order::choreographed::place(&stack.shop.order, &stack.outbox, order, clock::now()).await;
    if let Err(rejected) = placed.map_err(|fault| anyhow::anyhow!("place the order: {fault}"))? {
        return Ok(Some(line.bad(rejected.to_string())));
    }
    loop {
        let known = stack.chains.wait(&chain, PATIENCE).await.with_context(|| format!("wait for {chain}"))?;
        if known.is_some_and(ChainStatus::is_at_rest) {
            return Ok(None);
        }
    }
}

async fn report(stack: &Choreography, folder: &Folder, took: Duration) -> Result<Report> {
    let ours: HashSet<&str> = folder.orders.iter().map(|order| order.key.as_str()).collect();
    let mut report = Report::after(took);
    let mut before = None;
    loop {
        let chains = stack.chains.list(None, before, PAGE).await?;
        let Some(last) = chains.last() else { break };
        before = Some(last.seq);
        for chain in chains.iter().filter(|chain| ours.contains(chain.id.key())) {
            report.count(standing(chain.status), chain.failed_at.as_ref().map(Name::as_str));
        }
    }
    report.balance_cents = payment::balance_cents(&stack.shop.payment).await?;
    report.stock_pieces = inventory::pieces_on_hand(&stack.shop.inventory).await?;
    Ok(report)
}
