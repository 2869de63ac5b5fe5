//! `/api/v1/sagas`: start, list, show, and the operators' verbs.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sagamore_core::id::check_idempotency_key;
use sagamore_core::saga::{IgnoreReason, Rescue, Status, Verb};
use sagamore_core::{Body, Name, SagaId};
use sagamore_engine::{Chains, Handle, Start, Started, Summary, VerbError};
use serde::{Deserialize, Serialize};

use super::body::{self, Payload, Segment, encoded};
use super::chains;
use super::ids::{self, SagaLookup};
use super::listing::{ListFilter, ListRequest};
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::shape;
use super::state::App;
use super::trace;
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
    /// Optional if the program has a sample input for the definition.
    #[serde(default)]
    input: Option<Body>,
    /// Without it the active version.
    #[serde(default)]
    version: Option<u32>,
}

/// The body of `skip`, `resolve`, `compensate`, and `retry` of a step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RescueBody {
    step: String,
    reason: String,
    /// The output of a resolved action, for later steps.
    #[serde(default)]
    output: Option<Body>,
}

/// The body of `retry`. A saga that is set aside has no known step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    step: Option<String>,
    reason: String,
}

/// The response to a verb.
#[derive(Serialize)]
struct VerbReceipt {
    id: String,
    status: Status,
    message: &'static str,
}

/// Starts a saga, and waits for its outcome if the client prefers to.
pub async fn start(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let wait = Wait::preferred(&request)?;
    let idempotency_key = idempotency_key(request.headers())?;
    let trace = trace::of(request.headers());
    let payload = Payload::from_request(request, &()).await?;
    let StartBody { definition, key, input, version } = payload.json(&shape::START)?;
    let definition = legal(Name::new(&definition))?;
    let input = input.map_or_else(|| sample(&app, &definition, &key), Ok)?;
    let start = Start::new(definition, key, input)
        .version(version)
        .idempotency_key(idempotency_key)
        .trace(trace);
    let (started, rest) = begin(&app.handle, start, wait).await?;
    let location = format!("/api/v1/sagas/{}", encoded(started.id.as_str()));
    let standing = rest.as_ref().map_or_else(|| Standing::of_start(&started), Standing::of_rest);
    Ok(accepted(&standing, location, wait))
}

/// Returns the program's sample as the input of a start without one.
fn sample(app: &App, definition: &Name, key: &str) -> Result<Body, Problem> {
    let sample = app.sample_input.as_ref().and_then(|sample| sample(definition, key));
    let why = || {
        format!("input is missing: add the input of {definition} (only `dev` has sample inputs)")
    };
    sample.ok_or_else(|| Problem::new(Code::BodyDoesNotFit, why()))
}

/// Starts the saga. With `wait`, also returns the saga's summary if it came to rest in time.
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

/// Returns 200 with the outcome of a saga at rest, or 202 for a saga in progress.
pub fn accepted(standing: &Standing, location: String, wait: Option<Wait>) -> Response {
    let status = if at_rest(standing.status) { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, [(header::LOCATION, location)], Json(standing)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    response
}

/// Whether the saga stays as it is until an operator acts.
pub fn at_rest(status: Status) -> bool {
    match status {
        Status::Running | Status::Compensating => false,
        Status::Completed | Status::Compensated | Status::Stuck => true,
    }
}

/// Returns the request's idempotency key, if there is one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad =
        |why: &dyn Display| Problem::new(Code::BadParameter, format!("Idempotency-Key: {why}"));
    if values.next().is_some() {
        return Err(bad(&"the header is given twice"));
    }
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| bad(&"the value is not valid UTF-8"))?;
    check_idempotency_key(text).map_err(|why| bad(&why))?;
    Ok(Some(text.to_owned()))
}

/// Lists sagas of both styles, newest first.
pub async fn list(State(app): State<Arc<App>>, query: ListRequest) -> Result<Json<Lines>, Problem> {
    let filter = ListFilter::of(query)?;
    let sagas = match filter.of_sagas(app.handle.now()) {
        Some(filter) => {
            let page = app.handle.list(&filter).await;
            let page = page.map_err(|error| Problem::broke(&error, "list sagas"))?;
            let mut lines = Line::of_page(&page, app.handle.now());
            app.stand_ins.mark_lines(&mut lines);
            lines
        }
        None => Vec::new(),
    };
    let chains = match &app.chains {
        Some(chains) => {
            let mut lines = filter.chains(chains).await?;
            app.stand_ins.mark_lines(&mut lines);
            lines
        }
        None => Vec::new(),
    };
    Ok(Json(filter.page(sagas, chains)))
}

/// Shows one saga with its steps and journal, or a chain if this process has the observer's view.
pub async fn show(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = Wait::of(&headers)?;
    if let Some(wait) = wait {
        match app.handle.wait(ids::id_of(&app, &id).await?, wait.patience()).await {
            Ok(_) => {}
            // the view below reports what is missing
            Err(VerbError::NotFound(_)) => wait_for_chain(&app, &id, wait).await?,
            Err(error) => return Err(error.into()),
        }
    }
    let mut response = show_now(&app, &id).await?;
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

/// Returns the view of chains, if there is one and the text may denote a chain. Without a plan of
/// the program only a full id does.
fn chains_for<'a>(app: &'a App, id: &str) -> Option<&'a Chains> {
    let may_be_chain = app.plan.is_some() || id.parse::<SagaId>().is_ok();
    app.chains.as_ref().filter(|_| may_be_chain)
}

/// Waits for a chain, also for its first event if its plan is known.
async fn wait_for_chain(app: &App, id: &str, wait: Wait) -> Result<(), Problem> {
    let Some(chains) = chains_for(app, id) else { return Ok(()) };
    let chain = match ids::chain_of(chains, app.plan.as_ref(), id).await? {
        Ok(detail) => detail.header.id,
        Err(chain) if !chains.knows(chain.definition()) => return Ok(()),
        Err(chain) => chain,
    };
    chains.wait(&chain, wait.patience()).await.map(drop).map_err(ids::unread)
}

async fn show_now(app: &App, id: &str) -> Result<Response, Problem> {
    let missing = match ids::saga(app, id).await? {
        SagaLookup::Saga(detail) => {
            let mut view = SagaView::of(&detail, app.handle.now());
            app.stand_ins.mark(&mut view);
            view.warnings = app.presence().of_saga(&detail.saga).await;
            return Ok(shown(&view));
        }
        SagaLookup::Unreadable(row) => return Ok(shown(&SagaView::of_unreadable(&row))),
        SagaLookup::None(saga) => saga,
    };
    if let Some(chains) = chains_for(app, id)
        && let Ok(detail) = ids::chain_of(chains, app.plan.as_ref(), id).await?
    {
        let mut view = chain_view(&detail);
        let reactions = app.reactions.as_deref();
        app.services.explain(&detail.header.id, &mut view, reactions).await;
        app.stand_ins.mark(&mut view);
        return Ok(shown(&view));
    }
    Err(Problem::no_such_saga(&missing))
}

/// Returns the view of a saga of either style as a response.
fn shown(view: &SagaView) -> Response {
    Json(view).into_response()
}

/// The body of `cancel`, which may be empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    reason: Option<String>,
}

/// Requests the compensation of a saga. A repeated cancel changes nothing.
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
        Err(VerbError::Ignored(IgnoreReason::AlreadyGoingBack)) => {
            let why = "is stuck during compensation, so cancel does not apply: use retry, skip or \
                resolve on the stuck step";
            return Err(Problem::new(Code::VerbDoesNotApply, format!("{id} {why}")));
        }
        Err(VerbError::Ignored(IgnoreReason::Ended)) => {
            return Err(Problem::new(
                Code::SagaEnded,
                format!("{id} is already compensated: there is nothing to undo"),
            ));
        }
        requested => requested?,
    };
    tracing::info!(saga = %id, reason, "saga cancelled by an operator");
    Ok(receipt(&id, status, "cancel requested"))
}

/// Resends a refused step in a new generation, or reads a saga that is set aside again.
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
        SagaLookup::Saga(detail) if detail.header.unreadable.is_some() => detail.header.id,
        SagaLookup::Unreadable(_) => ids::id_of(&app, &id).await?,
        SagaLookup::Saga(_) | SagaLookup::None(_) => {
            return rescue(&app, &id, &body, Verb::Retry, "retry requested").await;
        }
    };
    body::reason(&reason)?;
    let status = app.handle.reread(id.clone()).await?;
    tracing::info!(saga = %id, reason, "saga read again for an operator");
    Ok(receipt(&id, status, "read again"))
}

/// Skips a stuck step.
pub async fn skip(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    rescue(&app, &id, &body, Verb::Skip, "step skipped").await
}

/// Marks a step as done manually, or a chain as repaired.
pub async fn resolve(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    if let Some(chains) = chains_for(&app, &id)
        && matches!(ids::saga(&app, &id).await?, SagaLookup::None(_))
        && ids::chain_of(chains, app.plan.as_ref(), &id).await?.is_ok()
    {
        return chains::resolve(chains, app.plan.as_ref(), &id, &body).await;
    }
    rescue(&app, &id, &body, Verb::Resolve, "step resolved").await
}

/// Gives up a step whose outcome only an operator knows. The saga compensates, and undoes the step.
pub async fn compensate(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    body: Payload,
) -> Result<Response, Problem> {
    rescue(&app, &id, &body, Verb::Compensate, "compensation requested").await
}

async fn rescue(
    app: &App,
    id: &str,
    payload: &Payload,
    verb: Verb,
    message: &'static str,
) -> Result<Response, Problem> {
    let id = ids::id_of(app, id).await?;
    let shape = if verb == Verb::Resolve { &shape::RESOLVE } else { &shape::RESCUE };
    let RescueBody { step, reason, output } = payload.json(shape)?;
    body::reason(&reason)?;
    let rescue = Rescue::new(legal(Name::new(&step))?, verb, reason).output(output);
    let status = app.handle.rescue(id.clone(), rescue).await?;
    Ok(receipt(&id, status, message))
}

fn receipt(id: &SagaId, status: Status, message: &'static str) -> Response {
    (StatusCode::ACCEPTED, Json(VerbReceipt { id: id.to_string(), status, message }))
        .into_response()
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
    use crate::stand_in::StandIns;

    #[derive(Message)]
    struct Visit {
        guest: String,
    }

    #[derive(Message)]
    #[message(to = "host")]
    struct Open {
        guest: String,
    }

    /// Starts an orchestrator that keeps no saga in memory, behind its routes.
    async fn orchestrated(database: &Database) -> Client {
        let mut visit = Definition::named("visit");
        let input = visit.input::<Visit>();
        visit.pivot("open").sends(OpenFrom { guest: input.guest });
        let (options, definitions) =
            (Options { live_max: 0, ..Options::default() }, vec![visit.build().unwrap()]);
        let log = Arc::new(Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap());
        let opened = Orchestrator::open(options, database.clone(), log, definitions).await;
        let (orchestrator, handle) = opened.unwrap();
        tokio::spawn(orchestrator.run(std::future::pending()));
        let app = App {
            handle,
            chains: None,
            services: Services::Embedded(Arc::new([])),
            definition: None,
            plan: None,
            sample_input: None,
            brokers: None,
            log: None,
            metrics: None,
            replies: None,
            stand_ins: StandIns::default(),
            reactions: None,
            bound: Arc::default(),
        };
        served(router("test", orchestrator_routes(app), &[])).await
    }

    async fn execute(database: &Database, sql: &str) {
        let open = database.begin().await.unwrap();
        open.tx().batch(sql).await.unwrap();
        open.commit().await.unwrap();
    }

    #[tokio::test]
    async fn retry_reads_a_saga_that_is_set_aside_again() {
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
        let unreadable = retry().await.unwrap_err().to_string();
        assert!(unreadable.contains("'paused'"), "{unreadable}");
        execute(&database, "UPDATE saga SET status = 'running'").await;
        let receipt: Value = serde_json::from_slice(&retry().await.unwrap()).unwrap();
        assert_eq!(
            (&receipt["status"], &receipt["message"]),
            (&json!("running"), &json!("read again"))
        );

        let missing = retry().await.unwrap_err().to_string();
        assert!(
            missing.contains("/step is missing"),
            "only a saga that is set aside supports a retry without a step: {missing}"
        );
    }
}
