//! The comparison of every saga with its order, at the end of a run.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::form::{Form, Kind};
use super::ledger::{Ledger, key_of};

/// The time limit for sagas to end after the last request.
const REST_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// Waits until all sagas have ended and compares each with its order. Returns the number of
/// comparisons.
pub fn compare(form: &Form, ledger: &Ledger) -> Result<usize> {
    rest(form, ledger)?;
    let (mut after, mut compared) = (String::new(), 0);
    loop {
        let page = form.json(0, &format!("/api/v1/sagas?limit=500&after={}", encoded(&after)))?;
        let sagas = page["sagas"].as_array().cloned().unwrap_or_default();
        for saga in &sagas {
            compared += usize::from(compare_one(form, ledger, saga)?);
        }
        match sagas.last().and_then(|saga| saga["id"].as_str()) {
            Some(last) => last.clone_into(&mut after),
            None => return Ok(compared),
        }
    }
}

/// Waits until no saga is running. A stuck saga is at rest.
fn rest(form: &Form, ledger: &Ledger) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut running = Vec::new();
        for status in ["running", "compensating"] {
            let page = form.json(0, &format!("/api/v1/sagas?status={status}&limit=5"))?;
            running.extend(
                page["sagas"].as_array().into_iter().flatten().map(|saga| saga["id"].to_string()),
            );
        }
        if running.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > REST_MAX {
            ledger.offend(
                "running sagas",
                format!("running after {REST_MAX:?}: {}", running.join(", ")),
            );
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

fn compare_one(form: &Form, ledger: &Ledger, saga: &Value) -> Result<bool> {
    let id = saga["id"].as_str().unwrap_or_default();
    let (key, status) = (key_of(id), saga["status"].as_str().unwrap_or_default());
    if ledger.is_decided(key)
        || ledger.is_decided(id)
        || !["completed", "compensated"].contains(&status)
    {
        return Ok(false);
    }
    // the order service has the stored order, the first server builds it from the saga
    for at in if form.kind == Kind::Processes { vec![0, 1] } else { vec![0] } {
        let order = form.json(at, &format!("/orders/{}", encoded(key)))?;
        if let Some(why) = contradiction(status, key, &order, at == 1) {
            ledger.offend("contradiction", format!("{id} is {status}, but {why}: {order}"));
        }
    }
    if form.kind != Kind::Choreographed {
        let view = form.json(0, &format!("/api/v1/sagas/{}", encoded(id)))?;
        ensure!(
            view["status"] == status,
            "{id} is {status} in the list, but {} when shown",
            view["status"]
        );
        if let Some(input) = view["input"]["orderId"].as_str().filter(|input| *input != key) {
            ledger.offend("contradiction", format!("{id} was started with the order {input}"));
        }
    }
    Ok(true)
}

/// Describes how an order contradicts its saga, if it does. `own`: the order is as stored by the
/// order service.
fn contradiction(status: &str, key: &str, order: &Value, own: bool) -> Option<String> {
    let standing = order["status"].as_str();
    if order["orderId"].as_str().is_some_and(|id| id != key) {
        return Some("its order has another id".to_owned());
    }
    let fits = match (status, standing) {
        ("completed", Some("confirmed")) => true,
        ("compensated", Some("cancelled" | "rejected")) => true,
        ("compensated", None) => own || order.is_null(), // refused before its creation
        _ => false,
    };
    (!fits).then(|| format!("its order is {}", standing.unwrap_or("missing")))
}

/// Percent-encodes a path segment or a query value.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~:.".contains(&byte);
    let encode =
        |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_contradicts_a_saga_of_another_outcome() {
        let check = |status: &str, order: Value, fits: bool| {
            assert_eq!(
                contradiction(status, "1", &order, true).is_none(),
                fits,
                "{status} {order}"
            );
        };
        check("completed", json!({ "orderId": "1", "status": "confirmed" }), true);
        check("completed", json!({ "orderId": "2", "status": "confirmed" }), false);
        check("completed", json!({ "orderId": "1", "status": "pending" }), false);
        check("completed", Value::Null, false);
        check("compensated", json!({ "orderId": "1", "status": "cancelled" }), true);
        check("compensated", json!({ "orderId": "1", "status": "confirmed" }), false);
        check("compensated", Value::Null, true);
    }
}
