//! `/api/v1/sagas`: request body -> start, outcome -> status; lists, one saga, and the verbs.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sagamore_core::id::check_idempotency_key;
use sagamore_core::saga::{Ignored, Rescue, Status, Verb};
use sagamore_core::{Body, Name, SagaId};
use sagamore_engine::{Handle, Start, Started, Summary, VerbError};
use serde::{Deserialize, Serialize};

use super::body::{self, Payload, Segment, encoded};
use super::chains;
use super::ids::{self, Found};
use super::listing::{Asked, Wanted};
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::shape;
use super::{App, trace};
use crate::problem::{Code, Problem};
use crate::view::{Line, Lines, SagaView, Standing, chain_view};

/// The body of a start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody<'a> {
    #[serde(borrow)]
    definition: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    /// May be missing where the program has a sample input for the definition.
    #[serde(default)]
    input: Option<Body>,
}

/// The body of an operator's verb.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RescueBody {
    step: String,
    reason: String,
}

/// The body of a retry: of a saga that is set aside no step is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    step: Option<String>,
    reason: String,
}

/// The answer to a verb.
#[derive(Serialize)]
struct Requested {
    id: String,
    status: Status,
    message: &'static str,
}

/// Starts a saga, and waits for its outcome when the client prefers to.
pub async fn start(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let wait = Wait::wished(&request)?;
    let idempotency_key = idempotency_key(request.headers())?;
    let trace = trace::of(request.headers());
    let payload = Payload::from_request(request, &()).await?;
    let StartBody { definition, key, input } = payload.json(&shape::START)?;
    let definition = legal(Name::new(&definition))?;
    let input = input.map_or_else(|| sample(&app, &definition, &key), Ok)?;
    let start = Start::new(definition, key, input).idempotency_key(idempotency_key).trace(trace);
    let (started, rest) = begin(&app.handle, start, wait).await?;
    let location = format!("/api/v1/sagas/{}", encoded(started.id.as_str()));
    let standing = rest.as_ref().map_or_else(|| Standing::of_start(&started), Standing::of_rest);
    Ok(accepted(&standing, location, wait))
}

/// Returns the input of a start without one, where the program has a sample.
fn sample(app: &App, definition: &Name, key: &str) -> Result<Body, Problem> {
    let sample = app.sample_input.as_ref().and_then(|sample| sample(definition, key));
    let why =
        || format!("input: say what {definition} is started with; only `dev` has sample inputs");
    sample.ok_or_else(|| Problem::new(Code::BodyDoesNotFit, why()))
}

/// Starts the saga; with a wish to wait also gives where it came to rest, if it did in time.
pub async fn begin(
    handle: &Handle,
    start: Start,
    wait: Option<Wait>,
) -> Result<(Started, Option<Summary>), Problem> {
    Ok(match wait {
        Some(wait) => handle.start_and_wait(start, wait.patience()).await?,
        None => (handle.start(start).await?, None),
    })
}

/// 200 with the outcome of a saga at rest, 202 for one under way.
pub fn accepted(standing: &Standing, location: String, wait: Option<Wait>) -> Response {
    let status = if at_rest(standing.status) { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, [(header::LOCATION, location)], Json(standing)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    response
}

/// Whether nothing happens to it until somebody does something.
pub fn at_rest(status: Status) -> bool {
    match status {
        Status::Running | Status::Compensating => false,
        Status::Completed | Status::Compensated | Status::Stuck => true,
    }
}

/// The client's own key for this request.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad =
        |why: &dyn Display| Problem::new(Code::BadParameter, format!("Idempotency-Key: {why}"));
    if values.next().is_some() {
        return Err(bad(&"it is given twice"));
    }
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| bad(&"it is not text in UTF-8"))?;
    check_idempotency_key(text).map_err(|why| bad(&why))?;
    Ok(Some(text.to_owned()))
}

/// A page of sagas of both styles, the newest first.
pub async fn list(State(app): State<Arc<App>>, query: Asked) -> Result<Json<Lines>, Problem> {
    let wanted = Wanted::of(query)?;
    let sagas = match wanted.of_sagas(app.handle.now()) {
        Some(filter) => {
            let page = app.handle.list(&filter).await;
            Line::of_page(
                &page.map_err(|error| Problem::broke(&error, "list sagas"))?,
                app.handle.now(),
            )
        }
        None => Vec::new(),
    };
    let chains = match &app.chains {
        Some(chains) => wanted.chains(chains).await?,
        None => Vec::new(),
    };
    Ok(Json(wanted.page(sagas, chains)))
}

/// One saga with its steps and journal; or a chain, where chains are known as well.
pub async fn show(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = Wait::of(&headers)?;
    if let Some(wait) = wait {
        match app.handle.wait(ids::id_of(&app, &id).await?, wait.patience()).await {
            Ok(_) | Err(VerbError::NotFound(_)) => {} // it is shown as it stands now
            Err(error) => return Err(error.into()),
        }
    }
    let mut response = show_now(&app, &id).await?;
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

async fn show_now(app: &App, id: &str) -> Result<Response, Problem> {
    let missing = match ids::saga(app, id).await? {
        Found::Saga(detail) => return Ok(shown(&SagaView::of(&detail, app.handle.now()))),
        Found::Unreadable(row) => return Ok(shown(&SagaView::of_unreadable(&row))),
        Found::None(saga) => saga,
    };
    if let Some(chains) = &app.chains
        && let Ok(detail) = ids::chain_of(chains, app.plan.as_ref(), id).await?
    {
        let mut view = chain_view(&detail);
        app.services.explain(&detail.header.id, &mut view).await;
        return Ok(shown(&view));
    }
    Err(Problem::no_such_saga(&missing))
}

/// A saga of either style.
pub fn shown(view: &SagaView) -> Response {
    Json(view).into_response()
}

/// The body of a cancel, which may be empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    reason: Option<String>,
}

/// Has a saga undone; a repeated cancel of one that is being undone changes nothing.
pub async fn cancel(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    let id = ids::id_of(&app, &id).await?;
    let empty = body.0.trim_ascii().is_empty();
    let CancelBody { reason } =
        if empty { CancelBody::default() } else { body.json(&shape::CANCEL)? };
    reason.as_deref().map_or(Ok(()), body::reason)?;
    let status = match app.handle.cancel_because(id.clone(), reason.clone()).await {
        Err(VerbError::Ignored(Ignored::AlreadyGoingBack)) => {
            let why = "is stuck while it is undone: one of its steps takes retry, skip or resolve, and no cancel helps";
            return Err(Problem::new(Code::VerbDoesNotApply, format!("{id} {why}")));
        }
        Err(VerbError::Ignored(Ignored::Ended)) => {
            return Err(Problem::new(
                Code::SagaEnded,
                format!("{id} is compensated already: nothing is left to undo"),
            ));
        }
        requested => requested?,
    };
    tracing::info!(saga = %id, reason, "cancelled by a person");
    Ok(requested_answer(&id, status, "cancel requested"))
}

/// Asks a refused step again, in a new generation; or has a saga that is set aside read again.
pub async fn retry(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    let RetryBody { step, reason } = body.json(&shape::RETRY)?;
    if step.is_some() {
        return rescue(&app, &id, &body, Verb::Retry, "retry requested").await;
    }
    let id = match ids::saga(&app, &id).await? {
        Found::Saga(detail) if detail.header.unreadable.is_some() => detail.header.id,
        Found::Unreadable(_) => ids::id_of(&app, &id).await?,
        Found::Saga(_) | Found::None(_) => {
            return rescue(&app, &id, &body, Verb::Retry, "retry requested").await;
        }
    };
    body::reason(&reason)?;
    let status = app.handle.reread(id.clone()).await?;
    tracing::info!(saga = %id, reason, "read again for a person");
    Ok(requested_answer(&id, status, "read again"))
}

/// Passes a stuck step over.
pub async fn skip(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    rescue(&app, &id, &body, Verb::Skip, "step skipped").await
}

/// Takes a person's word that the step was done by hand; or that a chain is taken care of, where chains are known as well.
pub async fn resolve(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    if let Some(chains) = &app.chains
        && matches!(ids::saga(&app, &id).await?, Found::None(_))
        && ids::chain_of(chains, app.plan.as_ref(), &id).await?.is_ok()
    {
        return chains::resolve(chains, app.plan.as_ref(), &id, &body).await;
    }
    rescue(&app, &id, &body, Verb::Resolve, "step resolved").await
}

async fn rescue(
    app: &App,
    id: &str,
    payload: &Payload,
    verb: Verb,
    message: &'static str,
) -> Result<Response, Problem> {
    let id = ids::id_of(app, id).await?;
    let RescueBody { step, reason } = payload.json(&shape::RESCUE)?;
    body::reason(&reason)?;
    let step = legal(Name::new(&step))?;
    let status = app.handle.rescue(id.clone(), Rescue { step, verb, reason }).await?;
    Ok(requested_answer(&id, status, message))
}

fn requested_answer(id: &SagaId, status: Status, message: &'static str) -> Response {
    (StatusCode::ACCEPTED, Json(Requested { id: id.to_string(), status, message })).into_response()
}

fn legal<T>(read: Result<T, sagamore_core::id::Malformed>) -> Result<T, Problem> {
    read.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}

#[cfg(test)]
mod tests {
    use sagamore_core::Definition;
    use sagamore_database::Database;
    use sagamore_engine::{Options, Orchestrator};
    use sagamore_sdk::Message;
    use sagamore_transport::{Log, MemoryDisk, log};
    use serde_json::{Value, json};

    use super::*;
    use crate::client::Client;
    use crate::http::{orchestrator_routes, router, testing::served};
    use crate::parts::Services;

    #[derive(Message)]
    struct Visit {
        guest: String,
    }

    #[derive(Message)]
    #[message(to = "host")]
    struct Open {
        guest: String,
    }

    /// An orchestrator that keeps no saga in memory, behind its routes.
    async fn orchestrated(database: &Database) -> Client {
        let mut visit = Definition::named("visit");
        let input = visit.input::<Visit>();
        visit.pivot("open").asks(OpenFrom { guest: input.guest });
        let (options, definitions) =
            (Options { live_max: 0, ..Options::default() }, vec![visit.build().unwrap()]);
        let log = Arc::new(Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap());
        let opened = Orchestrator::open(options, database.clone(), log, definitions).await;
        let (orchestrator, handle) = opened.unwrap();
        tokio::spawn(orchestrator.run(std::future::pending()));
        let app = App {
            handle,
            chains: None,
            services: Services::Here(Arc::new([])),
            definition: None,
            plan: None,
            sample_input: None,
            brokers: None,
            log: None,
            metrics: None,
        };
        served(router("test", orchestrator_routes(app), &[])).await
    }

    async fn execute(database: &Database, sql: &str) {
        let open = database.begin().await.unwrap();
        open.tx().batch(sql).await.unwrap();
        open.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_saga_that_is_set_aside_offers_a_retry_which_reads_it_again() {
        let database = Database::memory();
        let client = orchestrated(&database).await;
        let start =
            json!({ "definition": "visit", "key": "1", "input": { "guest": "ann" } }).to_string();
        client.post("/api/v1/sagas", start, None).await.unwrap();
        execute(&database, "UPDATE saga SET status = 'paused'").await;
        let shown: Value =
            serde_json::from_slice(&client.get("/api/v1/sagas/visit:1").await.unwrap()).unwrap();
        assert_eq!(
            (&shown["status"], &shown["allowedActions"]),
            (&json!("unreadable"), &json!(["retry"]))
        );

        let retry = || {
            client.post(
                "/api/v1/sagas/visit:1/retry",
                json!({ "reason": "ann: repaired" }).to_string(),
                None,
            )
        };
        let refused = retry().await.unwrap_err().to_string();
        assert!(refused.contains("'paused'"), "{refused}");
        execute(&database, "UPDATE saga SET status = 'running'").await;
        let taken: Value = serde_json::from_slice(&retry().await.unwrap()).unwrap();
        assert_eq!(
            (&taken["status"], &taken["message"]),
            (&json!("running"), &json!("read again"))
        );

        let missing = retry().await.unwrap_err().to_string();
        assert!(
            missing.contains("/step is missing"),
            "only a saga that is set aside takes a retry without a step: {missing}"
        );
    }
}
