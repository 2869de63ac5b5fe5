//! The same orders, choreographed: each begins a chain, and is over when its chain is, with all undos that it owes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sagamore_core::{Name, SagaId};
use sagamore_engine::{ChainStatus, Filter};
use sagamore_sdk::StartOutcome;
use sagamore_shop::import::BadLine;
use sagamore_shop::{Order, choreography, inventory, payment};

use super::folder::{Folder, PlacedLine};
use super::report::{self, Report};
use super::{PATIENCE, ReplayArgs, each, print, progress, width};
use crate::cli::output::Exit;
use crate::stack::{Choreography, STOP_MAX};
use crate::view::standing;

/// Ends with 1 when a line could not be taken.
pub async fn run(folder: &Folder, args: &ReplayArgs, begun: Instant) -> Result<Exit> {
    let stack = Choreography::open(&args.data).await?;
    folder.load(&stack.shop).await?;
    let bar = progress(folder.orders.len(), args.sequential);
    let bad_lines =
        folder.bad.len() + each(&folder.orders, width(args), &bar, |line| see_through(&stack, line)).await?;
    bar.finish_and_clear();
    let report = count(&stack, folder, begun.elapsed()).await?;
    stack.stop(STOP_MAX).await?;
    print(&report, args, bad_lines)
}

/// Places the order, or finds the one there is, and waits until its chain is at rest.
async fn see_through(stack: &Choreography, line: &PlacedLine) -> Result<Option<BadLine>> {
    let order: Order = line.input.read()?;
    let chain = SagaId::new(&Name::new(choreography::NAME)?, &line.key)?;
    let placed = stack.placing.place(order).await;
    match placed.map_err(|fault| anyhow::anyhow!("place the order: {fault}"))? {
        Ok(StartOutcome::New | StartOutcome::Before) => {}
        Ok(StartOutcome::Never) => {
            return Ok(Some(line.bad("its chain is over, and the order is not there".to_owned())));
        }
        Err(rejected) => return Ok(Some(line.bad(rejected.to_string()))),
    }
    loop {
        let known = stack.chains.wait(&chain, PATIENCE).await.with_context(|| format!("wait for {chain}"))?;
        if known.is_some_and(ChainStatus::is_at_rest) {
            return Ok(None);
        }
    }
}

async fn count(stack: &Choreography, folder: &Folder, took: Duration) -> Result<Report> {
    let ours: HashSet<&str> = folder.orders.iter().map(|order| order.key.as_str()).collect();
    let mut report = Report::after(took);
    let mut before = None;
    loop {
        let filter = Filter { before, limit: Some(report::PAGE), ..Filter::default() };
        let chains = stack.chains.list(&filter).await?;
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
