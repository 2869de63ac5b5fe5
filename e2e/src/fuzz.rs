//! `cargo xtask fuzz`: random requests from the OpenAPI document against the HTTP API in three
//! forms. No request may cause a server fault or a hang, and orders must agree with their sagas.

mod check;
mod draw;
mod form;
mod ledger;
mod shapes;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::random::Random;
use crate::wire::{Connection, Outcome, Response};
use crate::workspace::Workspace;
use draw::{Client, WAIT_S_MAX};
use form::{Form, Kind};
use ledger::Ledger;
use shapes::Operation;

/// Requests of a full run, in all forms together.
pub const REQUESTS: u64 = 100_000;
/// Requests of the short run in CI.
pub const REQUESTS_SHORT: u64 = 15_000;
/// Concurrent clients.
const CLIENTS: u64 = 8;
/// The time after the requested wait at which a request counts as hung.
const HUNG_AFTER: Duration = Duration::from_secs(20);
/// The size of a body that a server may refuse without reading it all.
const LARGE_BYTES: usize = 1024 * 1024;

/// The options of a run.
pub struct Options {
    /// Requests in all forms together.
    pub requests: u64,
    /// The seed of all choices.
    pub seed: u64,
    /// The program under test. `None`: the one of this checkout, which is built first.
    pub program: Option<PathBuf>,
}

/// Runs all forms one after another. Returns the violations, one per line.
pub fn run(workspace: &Workspace, options: &Options) -> Result<Vec<String>> {
    let program = match &options.program {
        Some(program) => std::path::absolute(program)?,
        None => {
            let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bin", "shop"])?;
            ensure!(built.is_empty(), "build: {}", built.join("; "));
            workspace.path("target/debug/shop")
        }
    };
    println!("   {} requests, seed {}", options.requests, options.seed);
    let mut offences = Vec::new();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let share = options.requests / Kind::ALL.len() as u64;
        let found =
            run_form(workspace, &program, kind, share, options.seed.wrapping_add(index as u64))?;
        offences.extend(found.into_iter().map(|offence| format!("{}: {offence}", kind.name())));
    }
    Ok(offences)
}

fn run_form(
    workspace: &Workspace,
    program: &std::path::Path,
    kind: Kind,
    requests: u64,
    seed: u64,
) -> Result<Vec<String>> {
    let mut form =
        Form::start(workspace, program, kind).with_context(|| format!("start {}", kind.name()))?;
    let operations = operations(&form)?;
    let (ledger, left, begun) = (Ledger::default(), AtomicU64::new(requests), Instant::now());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (form, operations, ledger, left) = (&form, &operations, &ledger, &left);
            let random = Random::new(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_97f4_a7c1));
            scope.spawn(move || {
                work(form, operations, ledger, left, Client::new(format!("f{number}"), random))
            });
        }
    });
    let took = begun.elapsed();
    for name in form.ended() {
        ledger.offend("process ended", format!("{name}: see {}", form.folder().display()));
    }
    let compared = check::compare(&form, &ledger)?;
    println!(
        "   {}: {requests} requests in {:.1} s, {} sagas seen, {compared} compared with their \
         orders; logs: {}",
        kind.name(),
        took.as_secs_f64(),
        ledger.sagas(),
        form.folder().display()
    );
    print!("{}", ledger.table());
    Ok(ledger.offences())
}

/// Returns the operations of all servers.
fn operations(form: &Form) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (at, server) in form.servers.iter().enumerate() {
        let document = form
            .json(at, "/openapi.json")
            .with_context(|| format!("the operations of {}", server.name))?;
        operations.extend(shapes::operations(at, &document)?);
    }
    Ok(operations)
}

/// Runs one client: sends requests until the total is reached.
fn work(
    form: &Form,
    operations: &[Operation],
    ledger: &Ledger,
    left: &AtomicU64,
    mut client: Client,
) {
    let mut connections: Vec<Connection> =
        form.servers.iter().map(|server| Connection::to(server.address)).collect();
    let weighted: Vec<&Operation> = operations
        .iter()
        .flat_map(|operation| std::iter::repeat_n(operation, weight(operation)))
        .collect();
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
    {
        let operation = client.random.choose(&weighted);
        let request = client.request(operation);
        let limit = HUNG_AFTER + Duration::from_secs(WAIT_S_MAX);
        let route = format!("{} {}", operation.method, operation.path);
        match connections[operation.server].send(&request, limit) {
            Outcome::Answered(response) => {
                let status =
                    if request.method == operation.method { "" } else { request.method.as_str() };
                ledger.count(&route, format!("{status} {}", response.code).trim());
                let answer = ledger.judge(operation, &request, &response);
                remember(&mut client, operation, &request.body, &response, &answer);
            }
            Outcome::Hung => {
                ledger.count(&route, "hung");
                ledger.offend(
                    "hang",
                    format!("{} {} {:?}", request.method, request.target, request.headers),
                );
            }
            Outcome::Closed(_) if request.body.len() > LARGE_BYTES => {
                ledger.count(&route, "closed")
            }
            Outcome::Closed(why) => {
                ledger.count(&route, "closed");
                ledger.offend(
                    "closed",
                    format!("{} {} {:?}: {why}", request.method, request.target, request.headers),
                );
            }
        }
    }
}

/// Returns the frequency of an operation. Operations that place orders are frequent, because the
/// others need orders.
fn weight(operation: &Operation) -> usize {
    match (operation.method.as_str(), operation.path.as_str()) {
        ("POST", "/orders") => 6,
        ("POST", "/api/v1/sagas") => 4,
        ("GET", "/docs/errors" | "/openapi.json" | "/livez" | "/version" | "/") => 1,
        _ => 2,
    }
}

fn remember(
    client: &mut Client,
    operation: &Operation,
    body: &[u8],
    response: &Response,
    answer: &serde_json::Value,
) {
    client.learn(answer);
    let placed = operation.method == "POST"
        && ["/orders", "/api/v1/sagas"].contains(&operation.path.as_str());
    if placed
        && (200..300).contains(&response.code)
        && let (Some(id), Ok(body)) = (answer["id"].as_str(), std::str::from_utf8(body))
    {
        client.orders.push((ledger::key_of(id).to_owned(), body.to_owned()));
    }
}
