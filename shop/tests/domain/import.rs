//! Files of JSON lines: each bad line is reported with place and reason, and the valid lines are
//! read.

use sagamore_shop::Order;
use sagamore_shop::import::{LINE_BYTES_MAX, Record, lines};
use sagamore_shop::inventory::Delivery;
use sagamore_shop::payment::Account;
use sagamore_shop::shipping::Destination;

use crate::shop::{account, destination};

fn read<T: Record>(text: &str) -> (Vec<T>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for line in lines::<T, _>(T::FILE, text.as_bytes()) {
        match line {
            Ok(row) => good.push(row),
            Err(line) => bad.push(line.to_string()),
        }
    }
    (good, bad)
}

#[test]
fn bad_lines_are_reported_with_file_line_and_reason() {
    let text = r#"{"customerId": "VINET", "name": "VINET & sons", "balanceCents": 1000}

        {"customerId": "", "name": "", "balanceCents": 1}
        {"customerId": "ALFKI", "name": "Alfreds", "balanceCents": -1}
        {"customerId": "ALFKI", "name": "Alfreds"}
        {"customerId": "ALFKI", "name": "Alfreds", "balanceCents": 1.5}
        not JSON
        {"customerId": "ALFKI", "name": "Alfreds", "balanceCents": 99999999999999999999}
        {"customerId": "TOMSP", "name": "TOMSP & sons", "balanceCents": 50}"#;
    let (good, bad) = read::<Account>(text);
    assert_eq!(good, [account("VINET", 1_000), account("TOMSP", 50)]);
    let wanted = [
        "accounts.jsonl:3: customerId: is empty",
        "accounts.jsonl:4: balanceCents: -1 is not from 0 to 1000000000000000",
        "accounts.jsonl:5: missing field `balanceCents` (column 42)",
        "accounts.jsonl:6: invalid type: floating point `1.5`, expected i64 (column 62)",
        "accounts.jsonl:7: expected ident (column 2)",
        "accounts.jsonl:8: invalid type: floating point `1e+20`, expected i64 (column 79)",
    ];
    assert_eq!(bad, wanted);
}

#[test]
fn invalid_orders_are_bad_lines() {
    let check = |lines: &str, country: &str, reason: &str| {
        let text = format!(
            r#"{{"orderId": "1", "customerId": "A", "placedOn": "1996-07-04", "lines": {lines},
                "shipTo": {{"name": "", "address": "", "city": "", "region": null,
                    "country": "{country}"}}}}"#
        );
        let (good, bad) = read::<Order>(&text.replace('\n', " "));
        match reason {
            "" => assert_eq!((good.len(), bad), (1, vec![])),
            reason => assert_eq!((good, bad), (vec![], vec![format!("orders.jsonl:1: {reason}")])),
        }
    };
    check(r#"[{"sku": "1", "quantity": 1, "unitPriceCents": 0}]"#, "France", "");
    check(r#"[{"sku": "1", "quantity": 1, "unitPriceCents": 0}]"#, "", "shipTo.country: is empty");
    check("[]", "France", "lines: is empty, and an order needs at least one line");
    check(
        r#"[{"sku": "1", "quantity": 1, "unitPriceCents": 0, "discount": 1}]"#,
        "France",
        "unknown field `discount`, expected one of `sku`, `quantity`, `unitPriceCents` (column \
         131)",
    );
    let check_line = |quantity: i64, price: i64, reason: &str| {
        let line =
            format!(r#"[{{"sku": "1", "quantity": {quantity}, "unitPriceCents": {price}}}]"#);
        check(&line, "France", reason);
    };
    check_line(0, 1, "lines[0].quantity: 0 is not from 1 to 1000000000000");
    check_line(-1, 1, "lines[0].quantity: -1 is not from 1 to 1000000000000");
    check_line(1, -1, "lines[0].unitPriceCents: -1 is not from 0 to 1000000000000000");
    check_line(
        1_000_000_000_000,
        1_000_000_000_000_000,
        "lines: the total is more than 1000000000000000 cents",
    );
}

#[test]
fn texts_with_control_characters_are_bad_lines() {
    let (good, bad) = read::<Delivery>("{\"sku\": \"a\\u0000b\", \"name\": \"\", \"onHand\": 1}");
    assert_eq!(
        (good, bad),
        (vec![], vec!["stock.jsonl:1: sku: contains a control character".to_owned()])
    );
    let (good, bad) = read::<Delivery>("{\"sku\": \"a\", \"name\": \"\\u0000\", \"onHand\": 1}");
    assert_eq!(
        (good, bad),
        (vec![], vec!["stock.jsonl:1: name: contains a control character".to_owned()])
    );
}

#[test]
fn byte_order_marks_crlf_and_a_missing_final_newline_are_accepted() {
    let text = "\u{feff}{\"country\": \"France\", \"served\": true}\r\n\r\n{\"country\": \
        \"Ireland\", \"served\": false}";
    assert_eq!(
        read(text),
        (vec![destination("France", true), destination("Ireland", false)], vec![])
    );
}

#[test]
fn invalid_utf8_affects_only_its_line() {
    let text = b"{\"country\": \"Fran\xe7e\", \"served\": true}\n{\"country\": \"Ireland\", \
        \"served\": false}\n";
    let mut lines = lines::<Destination, _>("map.jsonl", text.as_slice());
    let bad = lines.next().unwrap().unwrap_err();
    assert_eq!((bad.file.as_str(), bad.line), ("map.jsonl", 1));
    assert_eq!(lines.next(), Some(Ok(destination("Ireland", false))));
    assert_eq!(lines.next(), None);
}

#[test]
fn an_overlong_line_is_skipped_without_buffering() {
    let endless = usize::try_from(LINE_BYTES_MAX).unwrap() * 2 + 7;
    let text =
        format!("{}\n{{\"country\": \"Ireland\", \"served\": false}}\n", "x".repeat(endless));
    let wanted = vec!["destinations.jsonl:1: is longer than 1048576 bytes".to_owned()];
    assert_eq!(read(&text), (vec![destination("Ireland", false)], wanted));
}
