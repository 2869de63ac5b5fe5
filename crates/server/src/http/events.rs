//! `/api/v1/events`: a CloudEvent of a client begins a chain.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sagamore_core::{Body, Name};
use sagamore_engine::{BeginError, BegunChain, ChainBeginning, ChainStatus, Chains};
use serde::Deserialize;

use super::body::{Payload, encoded};
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::routes::{READS, Routes};
use super::shape;
use super::{ids, index, trace};
use crate::parts::Services;
use crate::problem::{Code, Problem};
use crate::view::BegunView;

/// The media type of a CloudEvent in structured mode.
const STRUCTURED: &str = "application/cloudevents+json";

/// The state of the handler.
#[derive(Clone)]
pub struct Events {
    pub chains: Chains,
    pub services: Services,
}

/// A CloudEvent 1.0 in structured mode. Other attributes are extensions, which the server ignores.
#[derive(Deserialize)]
struct StructuredEvent {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    event: String,
    subject: Option<String>,
    sagadefinition: Option<String>,
    sagaversion: Option<u32>,
    data: Option<Body>,
}

/// Returns the route.
pub fn routes(events: Events) -> Routes {
    let begins = READS.body(&shape::EVENT).waits().identified();
    let routes = Routes::new().post("/api/v1/events", begins, begin);
    routes.with_state(events).about(index::EVENTS)
}

/// Begins a chain, and waits for its outcome if the client prefers to. A repeat with the same id
/// returns the same chain.
async fn begin(State(app): State<Events>, request: Request) -> Result<Response, Problem> {
    let wait = Wait::preferred(&request)?;
    let headers = request.headers().clone();
    let payload = Payload::from_request(request, &()).await?;
    let is_structured = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
        text.split(';').next().unwrap_or_default().trim() == STRUCTURED
    });
    let beginning =
        if is_structured { structured(&headers, &payload)? } else { binary(&headers, &payload)? };
    check_owner(&app, &beginning)?;
    let begun = app.chains.begin(beginning).await?;
    let BegunChain { id, version, .. } = &begun;
    let patience = wait.map(Wait::patience).unwrap_or_default();
    let status = app.chains.wait(id, patience).await.map_err(ids::unread)?;
    let status = status.unwrap_or(ChainStatus::Running);
    let view = BegunView {
        id: id.to_string(),
        definition: id.definition().to_owned(),
        version: *version,
        key: id.key().to_owned(),
        status,
    };
    let code = if status.is_at_rest() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("/api/v1/sagas/{}", encoded(id.as_str()));
    let mut response = (code, [(header::LOCATION, location)], Json(view)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

/// Rejects the event of a service of this process or of the configuration: only its own
/// transaction may begin the chain.
fn check_owner(app: &Events, beginning: &ChainBeginning) -> Result<(), Problem> {
    let Ok(plan) = app.chains.plan_of(beginning) else { return Ok(()) }; // reported later
    let service = &plan.begins.service;
    if !app.services.begins_chains(service.as_str()) {
        return Ok(());
    }
    let why = format!(
        "service {service} begins the chains of {} in its own transaction: send the request to it",
        plan.name
    );
    Err(Problem::new(Code::NotOrchestrated, why))
}

/// Reads an event in binary mode: attributes in headers, data in the body.
fn binary(headers: &HeaderMap, payload: &Payload) -> Result<ChainBeginning, Problem> {
    check_version(&required(headers, "ce-specversion")?)?;
    let version = attribute(headers, "ce-sagaversion")?;
    let bad = |text: &str| bad("ce-sagaversion", format_args!("'{text}' is no version"));
    let version = version.map(|text| text.parse().map_err(|_| bad(&text))).transpose()?;
    let body: Body = payload.json(&shape::EVENT)?;
    Ok(ChainBeginning {
        id: required(headers, "ce-id")?,
        source: required(headers, "ce-source")?,
        event: name("ce-type", &required(headers, "ce-type")?)?,
        key: attribute(headers, "ce-subject")?,
        plan: plan("ce-sagadefinition", attribute(headers, "ce-sagadefinition")?)?,
        version,
        body,
        trace: trace::of(headers),
    })
}

/// Reads an event in structured mode: everything in the body.
fn structured(headers: &HeaderMap, payload: &Payload) -> Result<ChainBeginning, Problem> {
    shape::EVENT.check(&payload.0)?;
    let event: StructuredEvent = serde_json::from_slice(&payload.0).map_err(|error| {
        let why = format!("the body is no CloudEvent in structured mode: {error}");
        Problem::new(Code::BodyDoesNotFit, why)
    })?;
    check_version(&event.specversion)?;
    Ok(ChainBeginning {
        id: event.id,
        source: event.source,
        event: name("type", &event.event)?,
        key: event.subject,
        plan: plan("sagadefinition", event.sagadefinition)?,
        version: event.sagaversion,
        body: event.data.ok_or_else(|| {
            Problem::new(Code::BodyDoesNotFit, "data is missing: send it as JSON, not as base64")
        })?,
        trace: trace::of(headers),
    })
}

fn check_version(version: &str) -> Result<(), Problem> {
    match version {
        "1.0" => Ok(()),
        other => Err(bad("specversion", format_args!("'{other}' is not supported, send 1.0"))),
    }
}

fn required(headers: &HeaderMap, header: &'static str) -> Result<String, Problem> {
    attribute(headers, header)?.ok_or_else(|| {
        let why = match header {
            "ce-id" => "add the event's id, which stays the same in every repeat",
            "ce-source" => "add the name of the client, such as /webshop",
            "ce-type" => "add the event's type, such as order.created",
            _ => "add the header; binary mode of CloudEvents 1.0 needs it",
        };
        bad(header, format_args!("{why} (or send Content-Type: {STRUCTURED})"))
    })
}

/// Reads an attribute, whose value is percent-encoded (HTTP binding of CloudEvents, 3.1.3.2).
fn attribute(headers: &HeaderMap, header: &'static str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad(header, format_args!("the header is given twice")));
    }
    let text = decoded(value.as_bytes());
    let text = String::from_utf8(text.into_owned());
    text.map(Some).map_err(|_| bad(header, format_args!("the value is not valid UTF-8")))
}

fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(bytes)
}

fn name(attribute: &str, text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|why| Problem::new(Code::BadName, format!("{attribute}: {why}")))
}

fn plan(attribute: &str, text: Option<String>) -> Result<Option<Name>, Problem> {
    text.map(|text| name(attribute, &text)).transpose()
}

fn bad(header: &str, why: std::fmt::Arguments<'_>) -> Problem {
    Problem::new(Code::BadParameter, format!("{header}: {why}"))
}

impl From<BeginError> for Problem {
    fn from(error: BeginError) -> Problem {
        let detail = error.to_string();
        match error {
            BeginError::UnknownEvent { .. } | BeginError::SeveralPlans { .. } => {
                Problem::new(Code::NoSuchEvent, detail)
            }
            BeginError::BadEvent(_) => Problem::new(Code::BodyDoesNotFit, detail),
            BeginError::Malformed(_) => Problem::new(Code::BadName, detail),
            BeginError::TooLarge { .. } => Problem::new(Code::BodyTooLarge, detail),
            BeginError::OtherEvent { .. } | BeginError::OtherBeginning(_) => {
                Problem::new(Code::OtherInput, detail)
            }
            BeginError::Busy => Problem::new(Code::Busy, detail).retry_after(1),
            BeginError::NoTransport => Problem::new(Code::NotOrchestrated, detail),
            BeginError::Fault(error) => Problem::broke(&error, "begin the chain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sagamore_core::Plan;
    use sagamore_database::Database;
    use sagamore_engine::{Observer, ObserverOptions};
    use sagamore_transport::{Consumer, Log, MemoryDisk, Subscription, Transport, log};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::chains::observer_routes;
    use super::super::state::ObserverApp;
    use super::super::testing::{plan, served};
    use super::*;
    use crate::client::Client;

    /// An observer, and the server with its routes.
    struct Door {
        log: Log,
        database: Database,
        _observer: Observer,
        client: Client,
    }

    impl Door {
        async fn of(services: Services, plans: Vec<Plan>) -> Door {
            let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
            let (transport, database): (Arc<dyn Transport>, _) =
                (Arc::new(log.clone()), Database::memory());
            let options = ObserverOptions::default();
            let opened = Observer::open(options, database.clone(), transport, plans).await;
            let (observer, chains) = opened.unwrap();
            let app = ObserverApp::of(chains, services, None);
            let routes = observer_routes(app);
            let client = served(crate::http::router("an observer", routes, &[])).await;
            Door { log, database, _observer: observer, client }
        }

        /// Subscribes to first events in a group of its own.
        async fn events(&self) -> Box<dyn Consumer> {
            let (group, topics) = ("reader".into(), vec!["bell.rung".into()]);
            self.log.subscribe(Subscription { group, topics, partitions: None }).await.unwrap()
        }

        /// Posts an event with these headers beside the common ones. Returns the status, and the
        /// code of the problem or the id of the chain.
        async fn post(&self, headers: &[(&str, &str)]) -> (u16, String) {
            let address = self.client.to_string().replace("http://", "");
            let common = [
                ("host", address.as_str()),
                ("connection", "close"),
                ("content-length", "2"),
                ("ce-specversion", "1.0"),
                ("ce-source", "/door"),
                ("ce-type", "bell.rung"),
            ];
            let mut request = "POST /api/v1/events HTTP/1.1\r\n".to_owned();
            for (name, value) in common.iter().chain(headers) {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
            request.push_str("\r\n{}");
            let mut connection = TcpStream::connect(&address).await.unwrap();
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            connection.read_to_string(&mut response).await.unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let body: Value = serde_json::from_str(body).unwrap();
            let text = body["code"].as_str().or(body["id"].as_str()).unwrap();
            (status, text.to_owned())
        }

        async fn check(&self, headers: &[(&str, &str)], status: u16, text: &str) {
            assert_eq!(self.post(headers).await, (status, text.to_owned()), "{headers:?}");
        }
    }

    fn remote(names: &[&str]) -> Services {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        Services::Remote(names.iter().map(|name| (name.parse().unwrap(), client.clone())).collect())
    }

    #[tokio::test]
    async fn only_a_service_of_another_process_begins_its_chains() {
        let door = Door::of(remote(&["host"]), vec![plan()]).await;
        door.check(&[("ce-id", "1")], 202, "visit:1").await;
        let door = Door::of(remote(&["host", "guest"]), vec![plan()]).await;
        door.check(&[("ce-id", "1")], 409, "SAGA-0209").await;
    }

    #[tokio::test]
    async fn the_id_of_an_event_cannot_be_replaced_by_an_idempotency_key() {
        let door = Door::of(remote(&[]), vec![plan()]).await;
        let keyed = [("ce-id", "1"), ("idempotency-key", "a")];
        door.check(&keyed, 400, "SAGA-0106").await;
    }

    #[tokio::test]
    async fn a_resend_publishes_the_first_event_again_unless_it_is_too_old() {
        let door = Door::of(remote(&[]), vec![plan()]).await;
        door.check(&[("ce-id", "1")], 202, "visit:1").await;
        let mut events = door.events().await;
        let first = events.poll(10).await.unwrap().remove(0).record;
        let resend = async |id: &str| -> Value {
            let path = format!("/api/v1/sagas/{id}/resend");
            door.client.read(&door.client.post(&path, "", None).await.unwrap()).unwrap()
        };
        assert_eq!(resend("visit:1").await, json!({ "id": "visit:1", "events": 1 }));
        assert_eq!(resend("visit:2").await, json!({ "id": "visit:2", "events": 0 }));
        let again = events.poll(10).await.unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(
            (&again[0].record.headers, &again[0].record.body),
            (&first.headers, &first.body)
        );
        // as old as nine tenths of the retention, and a minute
        let age = ObserverOptions::default().retention / 10 * 9 + Duration::from_secs(60);
        let begun_at = crate::clock::now().minus(age).0;
        let open = door.database.begin().await.unwrap();
        open.tx().execute("UPDATE begun SET begun_at = $1", (begun_at,)).await.unwrap();
        open.commit().await.unwrap();
        assert_eq!(resend("visit:1").await, json!({ "id": "visit:1", "events": 0 }));
        assert_eq!(events.poll(10).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_repeat_with_another_plan_or_version_is_rejected() {
        let (name, next) = ("party".parse().unwrap(), Plan { version: 2, ..plan() });
        let door = Door::of(remote(&[]), vec![plan(), next, Plan { name, ..plan() }]).await;
        let first = [("ce-id", "1"), ("ce-sagadefinition", "visit"), ("ce-sagaversion", "1")];
        for (id, version) in [("1", "1"), ("2", "2")] {
            let mut event = first;
            (event[0].1, event[2].1) = (id, version);
            door.check(&event, 202, &format!("visit:{id}")).await;
            door.check(&event, 202, &format!("visit:{id}")).await;
            door.check(&event[..1], 202, &format!("visit:{id}")).await;
            event[2].1 = if version == "1" { "2" } else { "1" };
            door.check(&event, 409, "SAGA-0203").await;
            door.check(&[event[0], event[2]], 409, "SAGA-0203").await;
            door.check(&[event[0], ("ce-sagadefinition", "party")], 409, "SAGA-0203").await;
        }
        // another id for the chain of the first one
        let mut other = [("ce-id", "3"), ("ce-subject", "1"), first[1], first[2]];
        door.check(&other, 202, "visit:1").await;
        other[3].1 = "2";
        door.check(&other, 409, "SAGA-0203").await;
    }

    #[test]
    fn an_attribute_is_percent_decoded() {
        let check = |value: &str, expected: &str| {
            assert_eq!(decoded(value.as_bytes()), expected.as_bytes(), "{value}");
        };
        check("10248", "10248");
        check("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀");
        check("100%", "100%");
        check("%zz%41", "%zzA");
    }
}
