//! `/api/v1/definitions` and `/api/v1/plans`: list, show, compare, apply, activate, retire.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRef, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sagamore_core::definition::SchemaPlace;
use sagamore_core::{Body, Name};
use sagamore_engine::{
    Chains, Handle, ListedVersion, Registered, RegistrationError, RegistrationMode, StoredVersion,
    VersionKind, VersionStore,
};
use sagamore_inspect::diff::{self, Difference};
use sagamore_inspect::{SagaFile, files};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{self, Payload, Segment};
use super::page::{PAGE, PageRequest, page};
use super::routes::{Kind, Parameter, READS, Routes};
use super::shape;
use crate::presence::Presence;
use crate::problem::{Code, Problem};
use crate::view::{
    DefinitionLine, DefinitionLines, DefinitionView, DiffView, DifferenceView, RegistrationView,
};

/// The stored versions of one kind, with the part of the engine that changes them.
#[derive(Clone)]
pub enum Versions {
    /// Definitions, of an orchestrator.
    Definitions(Handle),
    /// Plans, of an observer.
    Plans(Chains),
}

/// The query parameters of an apply.
const APPLY: &[Parameter] = &[Parameter { name: "dryRun", kind: Kind::Flag }];

/// `?dryRun=true`: the definition is checked and not stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    #[serde(default, rename = "dryRun")]
    dry_run: bool,
}

/// The query parameters of a comparison.
const DIFF: &[Parameter] = &[
    Parameter { name: "from", kind: Kind::Count(u32::MAX) },
    Parameter { name: "to", kind: Kind::Count(u32::MAX) },
];

/// `?from=1&to=2`: the versions to compare.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffQuery {
    from: Option<u32>,
    to: Option<u32>,
}

/// The stored versions, and the announcements of the participants that they name.
#[derive(Clone)]
struct VersionsState {
    versions: Versions,
    presence: Presence,
}

impl FromRef<VersionsState> for Versions {
    fn from_ref(state: &VersionsState) -> Versions {
        state.versions.clone()
    }
}

/// Returns the routes of one kind.
pub fn routes(versions: Versions, presence: Presence) -> Routes {
    let [all, of_name, diff_path, one, activate_path, retire_path] = match versions.kind() {
        VersionKind::Definition => [
            "/api/v1/definitions",
            "/api/v1/definitions/{name}",
            "/api/v1/definitions/{name}/diff",
            "/api/v1/definitions/{name}/{version}",
            "/api/v1/definitions/{name}/{version}/activate",
            "/api/v1/definitions/{name}/{version}/retire",
        ],
        VersionKind::Plan => [
            "/api/v1/plans",
            "/api/v1/plans/{name}",
            "/api/v1/plans/{name}/diff",
            "/api/v1/plans/{name}/{version}",
            "/api/v1/plans/{name}/{version}/activate",
            "/api/v1/plans/{name}/{version}/retire",
        ],
    };
    let routes = Routes::new()
        .get(all, READS.query(PAGE), list)
        .post(all, READS.query(APPLY).body(&shape::SAGA_FILE), apply)
        .get(of_name, READS, list_of)
        .get(diff_path, READS.query(DIFF), diff)
        .get(one, READS, show)
        .post(activate_path, READS, activate)
        .post(retire_path, READS, retire);
    routes.with_state(VersionsState { versions, presence })
}

impl Versions {
    fn kind(&self) -> VersionKind {
        match self {
            Versions::Definitions(_) => VersionKind::Definition,
            Versions::Plans(_) => VersionKind::Plan,
        }
    }

    fn store(&self) -> VersionStore {
        match self {
            Versions::Definitions(handle) => handle.definitions(),
            Versions::Plans(chains) => chains.plans().clone(),
        }
    }

    /// Registers the contents of a file for an operator.
    async fn apply(
        &self,
        file: SagaFile,
        text: &str,
        dry_run: bool,
    ) -> Result<Registered, Problem> {
        let other = |name: &Name, article: &str, address: &str| {
            let why = format!("'{name}' is {article}: post it to {address}");
            Err(Problem::new(Code::InvalidDefinition, why))
        };
        let registered = match (self, file) {
            (Versions::Definitions(handle), SagaFile::Definition(definition)) => {
                let applied = handle.apply(definition, dry_run).await;
                applied.map_err(|error| rejected(error, text))?
            }
            (Versions::Plans(chains), SagaFile::Plan(plan)) => {
                let plans = vec![plan];
                chains.register(plans, RegistrationMode::Apply, dry_run).await?.remove(0)
            }
            (Versions::Definitions(_), SagaFile::Plan(plan)) => {
                return other(&plan.name, "the plan of a choreography", "/api/v1/plans");
            }
            (Versions::Plans(_), SagaFile::Definition(definition)) => {
                return other(&definition.name, "a definition", "/api/v1/definitions");
            }
        };
        Ok(registered)
    }

    async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        match self {
            Versions::Definitions(handle) => handle.activate(name, version).await,
            Versions::Plans(chains) => chains.activate(name, version).await,
        }
    }

    async fn retire(&self, name: &Name, version: u32) -> Result<StoredVersion, RegistrationError> {
        match self {
            Versions::Definitions(handle) => handle.retire(name, version).await,
            Versions::Plans(chains) => chains.retire(name, version).await,
        }
    }

    /// Returns the differences between two stored bodies.
    fn differences(&self, old: &str, new: &str) -> Result<Vec<Difference>, serde_json::Error> {
        Ok(match self {
            Versions::Definitions(_) => {
                diff::of_definitions(&serde_json::from_str(old)?, &serde_json::from_str(new)?)
            }
            Versions::Plans(_) => {
                diff::of_plans(&serde_json::from_str(old)?, &serde_json::from_str(new)?)
            }
        })
    }

    /// Returns a response, in which the key `definition` or `definitions` has the name of the kind.
    fn json(&self, view: &impl Serialize) -> Result<Json<Value>, Problem> {
        let internal = |error| Problem::internal(&error, "write the response");
        let mut value = serde_json::to_value(view).map_err(internal)?;
        if let (VersionKind::Plan, Value::Object(fields)) = (self.kind(), &mut value) {
            for (from, to) in [("definition", "plan"), ("definitions", "plans")] {
                let moved = fields.remove(from);
                fields.extend(moved.map(|moved| (to.to_owned(), moved)));
            }
        }
        Ok(Json(value))
    }
}

type DiffRequest = Result<Query<DiffQuery>, QueryRejection>;
type ApplyRequest = Result<Query<ApplyQuery>, QueryRejection>;
type VersionPath = Result<Path<(String, String)>, PathRejection>;

/// Lists all stored versions, by name and version.
async fn list(
    State(versions): State<Versions>,
    query: PageRequest,
) -> Result<Json<Value>, Problem> {
    let (after, limit) = page(query)?;
    let after = if after.is_empty() { None } else { Some(parsed_id(&after)?) };
    let after = after.as_ref().map(|(name, version)| (name, *version));
    let listed = versions.store().list(after, limit + 1).await;
    let listed = listed.map_err(|error| Problem::broke(&error, "list versions"))?;
    let more = listed.len() > limit as usize;
    let definitions: Vec<DefinitionLine> =
        listed.iter().take(limit as usize).map(DefinitionLine::of_listed).collect();
    let next = definitions.last().filter(|_| more).map(DefinitionLine::id);
    versions.json(&DefinitionLines { definitions, next })
}

/// Lists the versions of one name.
async fn list_of(
    State(versions): State<Versions>,
    Segment(name): Segment,
) -> Result<Json<Value>, Problem> {
    let name = legal(&name)?;
    let listed = versions.store().list_of(&name).await;
    let listed = listed.map_err(|error| Problem::broke(&error, "list versions"))?;
    if listed.is_empty() {
        let why = format!("{} '{name}' is not registered", versions.kind());
        return Err(Problem::new(Code::NoSuchVersion, why));
    }
    let definitions = listed.iter().map(DefinitionLine::of_listed).collect();
    versions.json(&DefinitionLines { definitions, next: None })
}

/// Shows one version with its contents.
async fn show(State(versions): State<Versions>, path: VersionPath) -> Result<Json<Value>, Problem> {
    let (name, version) = version_of(path)?;
    let (listed, body) = stored(&versions, &name, version).await?;
    let line = DefinitionLine::of_listed(&listed);
    let definition = body.as_deref().map(Body::parse).transpose();
    let definition = definition.map_err(unreadable)?;
    versions.json(&DefinitionView { line, definition })
}

async fn stored(
    versions: &Versions,
    name: &Name,
    version: u32,
) -> Result<(ListedVersion, Option<String>), Problem> {
    let found = versions.store().find(name, version).await;
    found.map_err(|error| Problem::broke(&error, "read a version"))?.ok_or_else(|| {
        let why = format!("{} '{name}' has no version {version}", versions.kind());
        Problem::new(Code::NoSuchVersion, why)
    })
}

/// Compares two versions, in words.
async fn diff(
    State(versions): State<Versions>,
    Segment(name): Segment,
    query: DiffRequest,
) -> Result<Json<DiffView>, Problem> {
    let name = legal(&name)?;
    let Query(DiffQuery { from: Some(from), to: Some(to) }) =
        query.map_err(|_| body::bad_query())?
    else {
        let why = "name both versions: ?from=1&to=2";
        return Err(Problem::new(Code::BadParameter, why));
    };
    let (from, old) = contents(&versions, &name, from).await?;
    let (to, new) = contents(&versions, &name, to).await?;
    let view = |Difference { detail, incompatible }| DifferenceView { detail, incompatible };
    let differences = versions.differences(&old, &new).map_err(unreadable)?;
    let differences = differences.into_iter().map(view).collect();
    Ok(Json(DiffView { from, to, differences }))
}

async fn contents(
    versions: &Versions,
    name: &Name,
    version: u32,
) -> Result<(DefinitionLine, String), Problem> {
    let (listed, body) = stored(versions, name, version).await?;
    let body = body.ok_or_else(|| {
        let why = format!("the contents of {name}@{version} were removed after its retirement");
        Problem::new(Code::VersionRetired, why)
    })?;
    Ok((DefinitionLine::of_listed(&listed), body))
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::internal(&error, "read a stored version")
}

/// Registers the contents of the body, YAML or JSON. All violations are reported at once.
async fn apply(
    State(VersionsState { versions, presence }): State<VersionsState>,
    query: ApplyRequest,
    payload: Payload,
) -> Result<Response, Problem> {
    let Query(ApplyQuery { dry_run }) = query.map_err(|_| body::bad_query())?;
    let text = files::text(&payload.0).map_err(Problem::invalid_definition)?;
    let file = checked(text.to_owned()).await?;
    let contents = file.clone();
    let registered = versions.apply(file, text, dry_run).await?;
    let mut view = RegistrationView::of(&registered, dry_run);
    view.warnings = match &contents {
        SagaFile::Definition(definition) => presence.of_definition(definition, !dry_run).await,
        SagaFile::Plan(plan) => presence.of_plan(plan, !dry_run).await,
    };
    if !dry_run {
        let (kind, name, version) = (versions.kind(), &view.line.name, view.line.version);
        tracing::info!(%kind, name, version, outcome = view.outcome, "version applied");
    }
    let status = match (view.outcome.as_str(), dry_run) {
        ("registered", false) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(view)).into_response())
}

/// Parses and checks a file on a thread for blocking work: the check of a plan explores up to
/// hundreds of thousands of states.
async fn checked(text: String) -> Result<SagaFile, Problem> {
    let checked = tokio::task::spawn_blocking(move || files::check_text(&text)).await;
    let checked = checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    checked.map_err(Problem::invalid_definition)
}

/// The problem of a definition that was not registered, with the places of schemas in its text.
fn rejected(error: RegistrationError, text: &str) -> Problem {
    let RegistrationError::Incompatible { changes, .. } = &error else { return error.into() };
    let pointed =
        |(place, detail): &(SchemaPlace, String)| (files::schema_pointer(place), detail.clone());
    let errors = files::violations_at(text, changes.iter().map(pointed));
    Problem::incompatible_schemas(error.to_string(), errors)
}

/// Makes new sagas or chains run by a version.
async fn activate(
    State(versions): State<Versions>,
    path: VersionPath,
) -> Result<Json<DefinitionLine>, Problem> {
    let (name, version) = version_of(path)?;
    let activated = versions.activate(&name, version).await?;
    tracing::info!(kind = %versions.kind(), %name, version, "version activated by an operator");
    Ok(Json(DefinitionLine::of(&activated)))
}

/// Stops starts by a version.
async fn retire(
    State(versions): State<Versions>,
    path: VersionPath,
) -> Result<Json<DefinitionLine>, Problem> {
    let (name, version) = version_of(path)?;
    let retired = versions.retire(&name, version).await?;
    tracing::info!(kind = %versions.kind(), %name, version, "version retired by an operator");
    Ok(Json(DefinitionLine::of(&retired)))
}

fn version_of(path: VersionPath) -> Result<(Name, u32), Problem> {
    let Path((name, version)) = path.map_err(|_| body::bad_path())?;
    Ok((legal(&name)?, number(&version)?))
}

/// Parses `checkout@3`.
fn parsed_id(id: &str) -> Result<(Name, u32), Problem> {
    let bad = || Problem::new(Code::BadParameter, format!("'{id}' must be NAME@VERSION"));
    let (name, version) = id.rsplit_once('@').ok_or_else(bad)?;
    Ok((legal(name)?, number(version)?))
}

fn number(version: &str) -> Result<u32, Problem> {
    version.parse().map_err(|_| {
        Problem::new(Code::BadParameter, format!("the version '{version}' must be a whole number"))
    })
}

fn legal(name: &str) -> Result<Name, Problem> {
    Name::new(name).map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}
