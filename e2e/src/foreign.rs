//! `cargo xtask foreign`: replaces the shop's payment service by a program in Python that was
//! written from the pages of the wire format, and compares both with those pages.
//!
//! Uses real processes, Kafka and PostgreSQL. The program in Python is killed repeatedly while
//! orders run, and every figure must be exact afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cast::{Cast, request};
use crate::services::Services;
use crate::workspace::Workspace;

const EXAMPLE: &str = "examples/payment-python";
const SEQUENCES: &str = "e2e/foreign/sequences.py";
const FOLDER: &str = "target/foreign";
/// Orders that run while the service is killed.
const ORDERS: usize = 200;
const CLIENTS: usize = 8;
const KILLS_MIN: usize = 5;
/// The time between two kills.
const PAUSE: Duration = Duration::from_millis(1500);
/// The pause of a client between two orders, so that the orders outlast the kills.
const CLIENT_PAUSE: Duration = Duration::from_millis(300);
/// The time limit of the orders.
const ORDERS_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
/// Customers, each with money for about half of its orders.
const CUSTOMERS: usize = 20;
const BALANCE_CENTS: usize = 12_000;
const PRICE_CENTS: usize = 1_000;
const SHIP_TO: &str = r#"{"name":"N","address":"A","city":"C","country":"France"}"#;
/// The customer of the first orders, and its money.
const FIRST: &str = "FIRST";
const FIRST_CENTS: usize = 100_000;
const FIRST_ORDERS: i64 = 4;

/// Returns the reason why the campaign cannot run on this machine, if there is one.
fn obstacle() -> Option<&'static str> {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    let works = python.status().is_ok_and(|status| status.success());
    (!works).then_some("python3 with the module venv is missing")
}

/// Runs the campaign. Returns the violations, one per line.
pub fn run(workspace: &Workspace) -> Result<Vec<String>> {
    if let Some(obstacle) = obstacle() {
        println!("   SKIPPED: {obstacle}");
        return Ok(Vec::new());
    }
    let python = environment(workspace)?;
    let built = workspace.cargo(&["build", "--quiet", "--workspace", "--bin", "shop"])?;
    ensure!(built.is_empty(), "build: {}", built.join("; "));
    let services = Services::of(workspace);
    let ran_before = services.any_runs()?;
    services.up()?;
    let outcome = play(workspace, &services, &python);
    let stopped = if ran_before { Ok(()) } else { services.down() };
    outcome.and(stopped)?;
    Ok(Vec::new())
}

/// Creates the virtual environment of the example, unless it exists with the same packages.
fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let (folder, stamp) = (workspace.path(FOLDER), workspace.path(FOLDER).join("installed.txt"));
    let requirements = workspace.path(EXAMPLE).join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("read {}", requirements.display()))?;
    let python = folder.join("venv/bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    succeed(Command::new(&python).args(install).arg(&requirements))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

fn play(workspace: &Workspace, services: &Services, python: &Path) -> Result<()> {
    let mut cast = Cast::start(workspace, services)?;
    load(&cast)?;
    let script = workspace.path(SEQUENCES);
    println!("   the service in Rust:");
    succeed(cast.tool(python)?.arg(&script))?;
    place(cast.port("orchestrator")?, "before", FIRST, "TEA", 1)?;

    let program = workspace.path(EXAMPLE).join("payment.py");
    cast.replace_payment(vec![python.to_owned(), program])?;
    println!("   the service in Python:");
    succeed(cast.tool(python)?.arg(&script))?;
    first_orders(&cast)?;
    killed(&mut cast)?;
    check_figures(&cast)
}

/// Loads customers, stock and destinations.
fn load(cast: &Cast<'_>) -> Result<()> {
    let account = |customer: &str, cents: usize| {
        format!(r#"{{"customerId":"{customer}","name":"{customer}","balanceCents":{cents}}}"#)
    };
    let mut accounts = vec![account(FIRST, FIRST_CENTS)];
    accounts.extend((0..CUSTOMERS).map(|number| account(&customer(number), BALANCE_CENTS)));
    cast.http("payment", "POST", "/accounts", &accounts.join("\n"))?;
    let stock = r#"{"sku":"TEA","name":"Tea","onHand":10000}
{"sku":"RARE","name":"Rare tea","onHand":20}"#;
    cast.http("inventory", "POST", "/stock", stock)?;
    cast.http("shipping", "POST", "/destinations", r#"{"country":"France","served":true}"#)?;
    Ok(())
}

fn customer(number: usize) -> String {
    format!("C-{}", number % CUSTOMERS)
}

/// Places one order of each outcome: completed, refused by the payment, refused later and refunded.
fn first_orders(cast: &Cast<'_>) -> Result<()> {
    let port = cast.port("orchestrator")?;
    for (id, sku, quantity, answer) in [
        ("enough", "TEA", 2, "Saga completed successfully for order enough"),
        ("too-little", "TEA", 500, "Saga failed for order too-little"),
        ("no-stock", "RARE", 90, "Saga failed for order no-stock"),
    ] {
        place(port, id, FIRST, sku, quantity)?;
        let found = request(port, "GET", &format!("/saga/start/{id}?wait=10"), "")?;
        ensure!(found.contains(answer), "order {id}: {found}");
    }
    let charges =
        "SELECT order_id || ' ' || refunded FROM charge WHERE customer_id = 'FIRST' ORDER BY 1";
    let charges = cast.query("payment", charges)?;
    ensure!(charges.trim() == "before false\nenough false\nno-stock true", "charges: {charges}");
    println!("   an order completed, one was refused, one was refused later and refunded");
    Ok(())
}

/// Places an order until it is accepted, and waits for its end.
fn place(port: u16, id: &str, customer: &str, sku: &str, quantity: usize) -> Result<()> {
    let line = format!(r#"{{"sku":"{sku}","quantity":{quantity},"unitPriceCents":{PRICE_CENTS}}}"#);
    let body = format!(
        r#"{{"orderId":"{id}","customerId":"{customer}","lines":[{line}],"shipTo":{SHIP_TO}}}"#
    );
    let begun = Instant::now();
    loop {
        let answer = request(port, "POST", "/orders", &body);
        let has_ended =
            |text: &String| ["completed", "compensated"].iter().any(|end| text.contains(end));
        if answer.as_ref().is_ok_and(has_ended) {
            return Ok(());
        }
        ensure!(begun.elapsed() < ORDERS_MAX, "order {id} has no outcome: {answer:?}");
        std::thread::sleep(POLL);
    }
}

/// Runs orders while the service is killed with SIGKILL.
fn killed(cast: &mut Cast<'_>) -> Result<()> {
    let (begun, port, next) = (Instant::now(), cast.port("orchestrator")?, AtomicUsize::new(0));
    let client = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= ORDERS {
                return Ok(());
            }
            let sku = if number % 4 == 0 { "RARE" } else { "TEA" };
            place(port, &format!("o-{number}"), &customer(number), sku, 1 + number % 3)?;
            std::thread::sleep(CLIENT_PAUSE);
        }
    };
    let mut kills = 0;
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        while clients.iter().any(|client| !client.is_finished()) {
            std::thread::sleep(PAUSE);
            cast.kill("payment")?;
            kills += 1;
        }
        clients.into_iter().try_for_each(|client| client.join().expect("a client returns"))
    })?;
    println!("   {ORDERS} orders in {:.0} s, {kills} kills", begun.elapsed().as_secs_f64());
    ensure!(kills >= KILLS_MIN, "all orders had ended after {kills} kills");
    Ok(())
}

/// Checks that every order has ended, and that the barrier, the charges, the accounts and the sagas
/// agree.
fn check_figures(cast: &Cast<'_>) -> Result<()> {
    let number = |owner: &str, sql: &str| -> Result<i64> {
        let text = cast.query(owner, sql)?;
        text.trim().parse().with_context(|| format!("{sql}: '{text}'"))
    };
    let all = number("engine", "SELECT count(*) FROM saga")?;
    let completed = number("engine", "SELECT count(*) FROM saga WHERE status = 'completed'")?;
    let compensated = number("engine", "SELECT count(*) FROM saga WHERE status = 'compensated'")?;
    ensure!(all == ORDERS as i64 + FIRST_ORDERS, "{all} sagas");
    ensure!(completed + compensated == all, "{completed} and {compensated} of {all} have ended");
    let kept = number(
        "payment",
        "SELECT count(*) FROM charge WHERE NOT refunded AND customer_id <> 'PROBE'",
    )?;
    ensure!(kept == completed, "{kept} charges of {completed} orders");
    let refunded =
        number("payment", "SELECT count(*) FROM charge WHERE refunded AND customer_id <> 'PROBE'")?;
    ensure!(refunded > 1 && kept > 1, "{kept} charges are kept, {refunded} refunded");
    let cents = "SELECT (SELECT sum(balance_cents) FROM account WHERE customer_id <> 'PROBE')
        + (SELECT sum(amount_cents) FROM charge WHERE NOT refunded AND customer_id <> 'PROBE')";
    let (cents, had) = (number("payment", cents)?, FIRST_CENTS + CUSTOMERS * BALANCE_CENTS);
    ensure!(cents == had as i64, "money: {cents} cents of {had}");
    let rows = |direction: &str, status: &str| {
        number(
            "payment",
            &format!(
                "SELECT count(*) FROM barrier WHERE saga LIKE 'checkout:%'
            AND direction = '{direction}' AND status = '{status}'"
            ),
        )
    };
    let (done, undone) = (rows("action", "done")?, rows("compensation", "done")?);
    ensure!(done == kept + refunded, "{done} actions are done, {kept} + {refunded} charges");
    let refused = rows("action", "refused")?;
    ensure!(done + refused == all, "{done} + {refused} actions of {all} sagas");
    ensure!(undone == refunded, "{undone} undos are done, {refunded} charges are refunded");
    cast.reconcile()?;
    println!("   {all} orders, {completed} completed: money, barrier and reconcile agree");
    Ok(())
}
