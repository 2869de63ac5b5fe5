//! Random requests from the shapes of operations and from values that a client has seen: ids, keys,
//! cursors, steps.

use serde_json::Value;

use super::shapes::Operation;
use crate::random::Random;
use crate::wire::Request;

/// Maximum remembered values of one kind.
const SEEN_MAX: usize = 40;
/// The longest wait in a request, in seconds.
pub const WAIT_S_MAX: u64 = 1;

/// Texts that often break servers.
const NASTY: [&str; 26] = [
    "",
    "\0",
    "a\0b",
    "\u{1}",
    "\n",
    "\u{7f}",
    ".",
    "..",
    "...",
    "/",
    "a/b",
    "../../x",
    ":",
    "checkout:",
    ":1",
    "a:b:c",
    "%",
    "%25",
    "+",
    " ",
    "'; --",
    "\u{fc}",
    "\u{1f600}",
    "\u{202e}",
    "null",
    "-1",
];
/// JSON values of unexpected types and ranges.
const STRANGE: [&str; 18] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e999",
    "-0",
    "9223372036854775808",
    "18446744073709551617",
    "0.10000000000000000001",
    "\"\"",
    "\"\\ud83d\"",
    "\"\\u0000\"",
    "\"1\"",
    "[]",
    "[[]]",
    "{}",
    "{\"a\":{\"a\":1}}",
];

/// The state of one client.
pub struct Client {
    /// The source of its choices.
    pub random: Random,
    /// A name unique among clients.
    name: String,
    number: u64,
    /// Used business keys, each with the body of its order.
    pub orders: Vec<(String, String)>,
    keys: Vec<String>,
    words: Vec<String>,
}

impl Client {
    /// Creates a client that has seen nothing.
    pub fn new(name: String, random: Random) -> Client {
        Client { random, name, number: 0, orders: Vec::new(), keys: Vec::new(), words: Vec::new() }
    }

    /// Remembers the names, ids and cursors in a response.
    pub fn learn(&mut self, answer: &Value) {
        match answer {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let telling = [
                        "id",
                        "orderId",
                        "sku",
                        "customerId",
                        "name",
                        "next",
                        "cursor",
                        "definition",
                    ];
                    if let Some(text) = value.as_str().filter(|_| telling.contains(&name.as_str()))
                    {
                        self.remember(text);
                    }
                    self.learn(value);
                }
            }
            Value::Array(values) => values.iter().take(5).for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    fn remember(&mut self, text: &str) {
        if self.words.len() < SEEN_MAX {
            self.words.push(text.to_owned());
        } else {
            let at = usize::try_from(self.random.below(SEEN_MAX as u64)).unwrap_or(0);
            text.clone_into(&mut self.words[at]);
        }
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    fn pick(&mut self, of: &[String]) -> Option<String> {
        let at = usize::try_from(self.random.below(of.len() as u64)).unwrap_or(0);
        of.get(at).cloned()
    }

    /// Draws a request to this operation, usually a valid one.
    pub fn request(&mut self, operation: &Operation) -> Request {
        let method = match self.random.below(40) {
            0 => self.random.choose(&["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]).to_owned(),
            _ => operation.method.clone(),
        };
        let target = self.target(operation);
        let body = self.body(operation);
        let headers = self.headers(operation);
        Request { method, target, headers, body }
    }

    fn target(&mut self, operation: &Operation) -> String {
        let parts: Vec<String> = operation
            .path
            .split('/')
            .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => {
                    let text = self.segment(name);
                    self.encoded(&text)
                }
                None => part.to_owned(),
            })
            .collect();
        let mut pairs = Vec::new();
        for (name, schema) in &operation.query {
            if self.one_in(3) {
                let value = self.parameter(name, schema);
                pairs.push(format!("{name}={}", self.encoded(&value)));
            }
        }
        if self.one_in(60) {
            pairs.push("colour=red".to_owned());
        }
        if self.one_in(60) {
            pairs.extend(pairs.first().cloned());
        }
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        format!("{}{query}", parts.join("/"))
    }

    fn segment(&mut self, name: &str) -> String {
        match (name, self.random.below(20)) {
            (_, 0 | 1) => self.nasty(),
            ("service", _) => self
                .random
                .choose(&["order", "payment", "inventory", "shipping", "none"])
                .to_owned(),
            ("sku", _) => self.random.choose(&["SAMPLE", "none"]).to_owned(),
            (_, 2 | 3) => self.seen(),
            ("order", 4 | 5) => self.fresh(),
            (_, 4) => "SAMPLE".to_owned(),
            (_, roll) => {
                let ids: Vec<String> = self.orders.iter().map(|(id, _)| id.clone()).collect();
                let id = self.pick(&ids).unwrap_or_else(|| "none".to_owned());
                if roll < 8 {
                    format!("{}:{id}", self.random.choose(&["checkout", "fulfilment"]))
                } else {
                    id
                }
            }
        }
    }

    fn seen(&mut self) -> String {
        let words = std::mem::take(&mut self.words);
        let word = self.pick(&words);
        self.words = words;
        word.unwrap_or_default()
    }

    fn nasty(&mut self) -> String {
        match self.random.below(30) {
            0 => "x".repeat(200),
            1 => "x".repeat(201),
            2 => "x".repeat(5_000),
            _ => self.random.choose(&NASTY).to_owned(),
        }
    }

    /// Returns an unused business key.
    fn fresh(&mut self) -> String {
        self.number += 1;
        format!("{}-{}", self.name, self.number)
    }

    fn parameter(&mut self, name: &str, schema: &Value) -> String {
        if self.one_in(6) {
            return self.nasty();
        }
        if let Some(values) = schema["enum"].as_array() {
            let at = usize::try_from(self.random.below(values.len() as u64)).unwrap_or(0);
            return values[at].as_str().unwrap_or_default().to_owned();
        }
        match (name, schema["type"].as_str()) {
            ("wait", _) => self.random.below(WAIT_S_MAX + 1).to_string(),
            (_, Some("integer")) => {
                self.random.choose(&["1", "2", "50", "500", "501", "0", "4294967296"]).to_owned()
            }
            (_, Some("boolean")) => self.random.choose(&["true", "false"]).to_owned(),
            ("definition", _) => self.random.choose(&["checkout", "fulfilment", "none"]).to_owned(),
            _ => self.seen(),
        }
    }

    /// Percent-encodes a text. Sometimes returns invalid UTF-8, or encodes more than needed.
    fn encoded(&mut self, text: &str) -> String {
        match self.random.below(100) {
            0 => return "%FF".to_owned(),
            1 => return "%00".to_owned(),
            2 => return text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            _ => {}
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
        let encode = |byte: u8| {
            if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(encode).collect()
    }

    fn headers(&mut self, operation: &Operation) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        if operation.body.is_some() {
            match self.random.below(40) {
                0 => add(
                    "content-type",
                    self.random.choose(&["text/plain", "text/xml", "multipart/form-data", "x", ""]),
                ),
                1 => {}
                _ => add("content-type", "application/json"),
            }
        }
        if operation.headers.iter().any(|name| name == "Prefer") && self.one_in(3) {
            add(
                "prefer",
                self.random.choose(&[
                    "wait=0",
                    "wait=1",
                    "wait=1",
                    "respond-async, wait=1",
                    "wait=x",
                    "wait",
                ]),
            );
        }
        match self.random.below(60) {
            0 => add(
                "accept",
                self.random.choose(&[
                    "text/html",
                    "application/json",
                    "*/*",
                    "x",
                    "application/json;q=0",
                ]),
            ),
            1 => add(
                "origin",
                self.random.choose(&["http://evil.example", "null", "http://127.0.0.1"]),
            ),
            2 => add(
                "sec-fetch-site",
                self.random.choose(&["cross-site", "same-origin", "none", "x"]),
            ),
            3 => add(
                "host",
                self.random.choose(&["evil.example", "localhost", "127.0.0.1", "[::1]:80"]),
            ),
            4 => add("if-match", self.random.choose(&["\"1\"", "*", "W/\"x\"", "x"])),
            5 => add("if-none-match", self.random.choose(&["\"1\"", "*", "x"])),
            _ => {}
        }
        if operation.headers.iter().any(|name| name == "Idempotency-Key") && self.one_in(4) {
            let key = match self.random.below(10) {
                0 => self.random.choose(&["", " ", "\u{fc}", "a b"]).to_owned(),
                1 => "k".repeat(self.random.choose(&[200, 255, 256, 500])),
                2..=4 => {
                    let keys = std::mem::take(&mut self.keys);
                    let key = self.pick(&keys);
                    self.keys = keys;
                    key.unwrap_or_else(|| "first".to_owned())
                }
                _ => self.fresh(),
            };
            if self.keys.len() < SEEN_MAX {
                self.keys.push(key.clone());
            }
            headers.push(("idempotency-key".to_owned(), key));
        }
        headers
    }

    fn body(&mut self, operation: &Operation) -> Vec<u8> {
        let Some((schema, lines)) = &operation.body else {
            return if self.one_in(4) { br#"{"reason":"fuzz"}"#.to_vec() } else { Vec::new() };
        };
        let mut text = if self.one_in(6) { self.repeated() } else { None }.unwrap_or_else(|| {
            let key = self.fresh();
            self.value("", schema, &key)
        });
        if *lines && self.one_in(2) {
            text = format!("{text}\n\n{text}\r\n");
        }
        self.damaged(text)
    }

    /// Returns the body of an earlier order.
    fn repeated(&mut self) -> Option<String> {
        let at = usize::try_from(self.random.below(self.orders.len() as u64)).ok()?;
        self.orders.get(at).map(|(_, body)| body.clone())
    }

    fn damaged(&mut self, text: String) -> Vec<u8> {
        let mut bytes = text.into_bytes();
        match self.random.below(80) {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.clear(),
            2 => bytes.insert(bytes.len() / 2, 0xff),
            3 => bytes.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
            4 => bytes = [vec![b'['; 5_000], bytes].concat(),
            5 if self.one_in(4) => {
                bytes.resize(self.random.choose(&[300 * 1024, 1024 * 1024 + 1]), b' ')
            }
            _ => {}
        }
        bytes
    }

    /// Draws a value of this schema, usually one that the shop accepts. `key`: the business key of
    /// the whole body.
    fn value(&mut self, name: &str, schema: &Value, key: &str) -> String {
        if self.one_in(250) {
            return self.random.choose(&STRANGE).to_owned();
        }
        let kind = if schema["type"].is_array() { Some("note") } else { schema["type"].as_str() };
        match kind {
            Some("object") => self.object(schema, key),
            Some("array") => {
                let count = if self.one_in(40) { 0 } else { self.random.choose(&[1, 1, 1, 2, 3]) };
                let values: Vec<String> =
                    (0..count).map(|_| self.value("", &schema["items"], key)).collect();
                format!("[{}]", values.join(","))
            }
            Some("integer") if self.one_in(30) => {
                self.random.choose(&["0", "-1", "1000000000000001"]).to_owned()
            }
            Some("integer") => self.random.choose(&["1", "2", "3", "100"]).to_owned(),
            Some("boolean") => self.random.choose(&["true", "false"]).to_owned(),
            Some("note") => self.random.choose(&["null", "\"x\""]).to_owned(),
            None => self.order(key),
            Some(_) => {
                let text = self.text(name, key);
                Value::String(text).to_string()
            }
        }
    }

    fn object(&mut self, schema: &Value, key: &str) -> String {
        let Some(properties) = schema["properties"].as_object() else { return "{}".to_owned() };
        let mut fields = Vec::new();
        for (name, schema) in properties {
            if self.one_in(250) {
                continue;
            }
            let value = self.value(name, schema, key);
            fields.push(format!("\"{name}\":{value}"));
            if self.one_in(400) {
                fields.push(format!("\"{name}\":{value}"));
            }
        }
        if self.one_in(150) {
            fields.push("\"colour\":\"red\"".to_owned());
        }
        format!("{{{}}}", fields.join(","))
    }

    /// Draws the input of a start, usually the order with the saga's key.
    fn order(&mut self, key: &str) -> String {
        let id = if self.one_in(8) { self.fresh() } else { key.to_owned() };
        let id = Value::String(id).to_string();
        let customer = self.random.choose(&["\"SAMPLE\"", "\"NOBODY\"", "\"SAMPLE\"", "2"]);
        let country = self.random.choose(&["Sampleland", "Sampleland", "Nowhere"]);
        let price = self.random.choose(&["100", "0.1", "1e2", "100"]);
        format!(
            concat!(
                r#"{{"orderId":{},"customerId":{},"#,
                r#""lines":[{{"sku":"SAMPLE","quantity":1,"unitPriceCents":{}}}],"#,
                r#""shipTo":{{"name":"N","address":"1","city":"C","country":"{}"}}}}"#
            ),
            id, customer, price, country
        )
    }

    fn text(&mut self, name: &str, key: &str) -> String {
        if self.one_in(120) {
            return self.nasty();
        }
        match name {
            "orderId" | "key" => key.to_owned(),
            "definition" => {
                self.random.choose(&["checkout", "checkout", "checkout", "fulfilment"]).to_owned()
            }
            "customerId" => self.random.choose(&["SAMPLE", "SAMPLE", "NOBODY"]).to_owned(),
            "sku" => self.random.choose(&["SAMPLE", "SAMPLE", "SAMPLE", "NONE"]).to_owned(),
            "country" => self.random.choose(&["Sampleland", "Sampleland", "Nowhere"]).to_owned(),
            "step" => self
                .random
                .choose(&["create-order", "charge-payment", "confirm-order", "none"])
                .to_owned(),
            "reason" => "fuzz: random verb".to_owned(),
            _ => self.seen(),
        }
    }
}
