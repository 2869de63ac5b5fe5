//! Liveness, readiness, metrics and version of the process.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_engine::{Filter, Handle, Standing};
use sagamore_transport::Log;

use super::state::App;
use crate::parts::{BrokerHealth, ServiceHost};
use crate::problem::{Code, Problem};

/// Time limit of the engine's database.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Responds while the process runs.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Responds with success if the orchestrator accepts requests and every database can be read.
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if !app.handle.is_open() {
        return Err(
            Problem::new(Code::Unavailable, "the orchestrator accepts no requests").retry_after(1)
        );
    }
    if let Some(turn_max) = app.handle.turn_hangs() {
        let why = format!(
            "the orchestrator's turn has made no step for more than {} s: its leases are not \
             renewed",
            turn_max.as_secs()
        );
        return Err(Problem::new(Code::Unavailable, why).retry_after(1));
    }
    readable(app.services.hosts()).await?;
    let one = Filter { limit: Some(1), ..Filter::default() };
    let why = match tokio::time::timeout(RESPONSE_TIMEOUT, app.handle.list(&one)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!(
            "orchestrator database: no response within {} s",
            RESPONSE_TIMEOUT.as_secs()
        )),
    };
    if let Some(why) = why {
        return Err(Problem::new(Code::Unavailable, why).retry_after(1));
    }
    match unfit(&app.handle).filter(|_| !app.services.are_embedded()) {
        Some(why) => return Err(Problem::new(Code::Unavailable, why).retry_after(1)),
        None => app.brokers.as_deref().map_or(Ok(()), advances)?,
    }
    Ok("ok\n")
}

/// Returns the reason why an orchestrator that shares its sagas accepts no new ones.
fn unfit(handle: &Handle) -> Option<String> {
    let fault =
        || handle.publish_fault().unwrap_or_else(|| "the brokers have not responded".to_owned());
    match handle.standing() {
        Standing::CannotPublish => Some(format!("this orchestrator cannot publish: {}", fault())),
        Standing::Evicted => Some(format!(
            "this orchestrator cannot publish while another one can, so it has released its \
             partitions: {}",
            fault()
        )),
        Standing::Joining if handle.partitions_owned() == 0 => {
            let fault =
                handle.publish_fault().map(|fault| format!(": {fault}")).unwrap_or_default();
            Some(format!("this orchestrator is joining the group{fault}"))
        }
        Standing::Joining | Standing::Member if handle.partitions_owned() > 0 => None,
        Standing::Joining | Standing::Member => Some(
            "this orchestrator owns no reply partition: all are owned by others, or none is free \
             yet"
            .to_owned(),
        ),
    }
}

/// Fails while a partition does not advance or a read permission is missing.
pub fn advances(brokers: &dyn BrokerHealth) -> Result<(), Problem> {
    brokers.advance().map_err(|why| Problem::new(Code::Unavailable, why).retry_after(1))
}

/// Fails unless the database of every service can be read.
pub async fn readable(hosts: &[ServiceHost]) -> Result<(), Problem> {
    for ServiceHost { name, database, .. } in hosts {
        let read = database.query("SELECT 1", ()).await;
        read.map_err(|error| {
            Problem::new(Code::Unavailable, format!("database of {name}: {error}")).retry_after(1)
        })?;
    }
    Ok(())
}

/// Returns the metrics in the Prometheus text format. Gauges that are read on demand are set here.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    metrics::gauge!("sagamore_sagas_in_flight").set(app.handle.in_flight() as f64);
    let oldest = app
        .handle
        .oldest_outstanding()
        .map_or(0.0, |since| app.handle.now().since(since).as_secs_f64());
    metrics::gauge!("sagamore_oldest_outstanding_step_seconds").set(oldest);
    if let Some(log) = app.log.as_ref().map(Log::stats) {
        metrics::gauge!("sagamore_log_bytes").set(log.bytes as f64);
        metrics::gauge!("sagamore_log_unsynced_bytes").set(log.unsynced_bytes as f64);
        metrics::gauge!("sagamore_log_segments").set(log.segments as f64);
        metrics::counter!("sagamore_log_records_total").absolute(log.records);
        metrics::counter!("sagamore_log_batches_total").absolute(log.batches);
        metrics::counter!("sagamore_log_syncs_total").absolute(log.syncs);
    }
    rendered(app.metrics.as_ref())
}

/// Renders the metrics as text.
pub fn rendered(metrics: Option<&PrometheusHandle>) -> Response {
    let text = metrics.map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Returns name and version.
pub async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "name": "sagamore", "version": env!("CARGO_PKG_VERSION") }))
}
