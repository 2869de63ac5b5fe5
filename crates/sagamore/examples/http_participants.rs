//! Measures sagas over four HTTP participants: the embedded stack, its gateways, the participants
//! and the clients in one process, on the cores of this machine.
//!
//! ```sh
//! cargo run --release -p sagamore --example http_participants -- 10000 200
//! ```
//!
//! The arguments are the number of sagas and of clients. Each client starts a saga, waits for its
//! outcome, and starts the next. The participants answer at once, on a thread of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::post;
use sagamore::engine::{Handle, Start};
use sagamore::prelude::*;
use sagamore::{HttpParticipants, Program, StartOptions};
use tokio::task::JoinSet;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTICIPANTS: [&str; 4] = ["orders", "cards", "stock", "mail"];

/// The input of the saga.
#[derive(Message)]
struct Order {
    order_id: String,
    cents: i64,
}

#[derive(Message)]
#[message(to = "orders")]
struct Place {
    order_id: String,
}

#[derive(Message)]
#[message(to = "orders", undoes = Place)]
struct Withdraw;

#[derive(Message)]
#[message(to = "cards")]
struct Charge {
    order_id: String,
    cents: i64,
}

#[derive(Message)]
#[message(to = "cards", undoes = Charge)]
struct Refund;

#[derive(Message)]
#[message(to = "stock")]
struct Reserve {
    order_id: String,
}

#[derive(Message)]
#[message(to = "mail")]
struct Confirm {
    order_id: String,
}

fn checkout() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("checkout").version(1);
    let order = saga.input::<Order>();
    let (order_id, cents) = (order.order_id, order.cents);
    saga.step("place").sends(PlaceFrom { order_id }).undone_by::<Withdraw>();
    saga.step("charge").sends(ChargeFrom { order_id, cents }).undone_by::<Refund>();
    saga.pivot("reserve").sends(ReserveFrom { order_id });
    saga.retriable("confirm").sends(ConfirmFrom { order_id });
    saga.build()
}

/// Serves all participants on a thread of their own.
fn serve() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a free port")?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let answer = || async { ([("sagamore-outcome", "done")], "{}") };
            let router = Router::new().route("/{participant}", post(answer));
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("serves");
        });
    });
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<()> {
    let number =
        |at: usize, usual| std::env::args().nth(at).map_or(Ok(usual), |text| text.parse::<usize>());
    let (sagas, clients) = (number(1, 10_000)?, number(2, 200)?);
    let address = serve()?;
    let mut participants = HttpParticipants::default();
    for name in PARTICIPANTS {
        participants = participants.bind(name, &format!("http://{address}/{name}"))?;
    }
    let data = tempfile::tempdir()?;
    let options = StartOptions { participants, ..StartOptions::of(data.path()) };
    let running = Program::named("bench").saga(checkout).start(options).await?;
    let handle = running.handle().context("an orchestrator")?.clone();
    measure(&handle, "warm-up", sagas / 10, clients).await?;
    let mut took = measure(&handle, "saga", sagas, clients).await?;
    let elapsed = took.pop().expect("the whole time");
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_micros() as f64 / 1_000.0;
    println!(
        "{:.0} sagas/s: {sagas} sagas of 4 steps, {clients} clients, {} cores; p50 {:.1} ms, \
         p99 {:.1} ms",
        sagas as f64 / elapsed.as_secs_f64(),
        std::thread::available_parallelism()?,
        at(50),
        at(99),
    );
    running.stop().await?;
    Ok(())
}

/// Runs sagas to their ends. Returns the duration of each, and last the whole time.
async fn measure(
    handle: &Handle,
    phase: &'static str,
    sagas: usize,
    clients: usize,
) -> Result<Vec<Duration>> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (handle, next) = (handle.clone(), next.clone());
        running.spawn(async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sagas {
                    return Ok::<_, anyhow::Error>(took);
                }
                let key = format!("{phase}-{number}");
                let input = Body::of(&Order { order_id: key.clone(), cents: 4_900 })?;
                let begun = Instant::now();
                let start = Start::new("checkout".parse()?, key, input);
                let (_, end) = handle.start_and_wait(start, PATIENCE).await?;
                let end = end.context("an outcome in time")?;
                ensure!(end.status == sagamore::core::saga::Status::Completed, "{:?}", end.status);
                took.push(begun.elapsed());
            }
        });
    }
    let mut took = Vec::with_capacity(sagas + 1);
    while let Some(client) = running.join_next().await {
        took.extend(client.context("a client panicked")??);
    }
    took.push(begun.elapsed());
    Ok(took)
}
