//! `/api/v1/definitions`: list, show, apply, activate, retire.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sagamore_core::definition::SchemaPlace;
use sagamore_core::{Body, Definition, Name};
use sagamore_engine::{ListedDefinition, RegistrationError};
use sagamore_inspect::diff::{self, Difference};
use sagamore_inspect::{SagaFile, files};
use serde::Deserialize;

use super::body::{self, Payload, Segment};
use super::page::{PageRequest, page};
use super::routes::{Kind, Parameter};
use super::state::App;
use crate::problem::{Code, Problem};
use crate::view::{
    DefinitionLine, DefinitionLines, DefinitionView, DiffView, DifferenceView, RegistrationView,
};

/// The query parameters of an apply.
pub const APPLY: &[Parameter] = &[Parameter { name: "dryRun", kind: Kind::Flag }];

/// `?dryRun=true`: the definition is checked and not stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    #[serde(default, rename = "dryRun")]
    dry_run: bool,
}

/// The query parameters of a comparison.
pub const DIFF: &[Parameter] = &[
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

type DiffRequest = Result<Query<DiffQuery>, QueryRejection>;
type ApplyRequest = Result<Query<ApplyQuery>, QueryRejection>;
type VersionPath = Result<Path<(String, String)>, PathRejection>;

/// Lists all stored versions, by name and version.
pub async fn list(
    State(app): State<Arc<App>>,
    query: PageRequest,
) -> Result<Json<DefinitionLines>, Problem> {
    let (after, limit) = page(query)?;
    let after = if after.is_empty() { None } else { Some(parsed_id(&after)?) };
    let after = after.as_ref().map(|(name, version)| (name, *version));
    let listed = app.handle.definitions(after, limit + 1).await;
    let listed = listed.map_err(|error| Problem::broke(&error, "list definitions"))?;
    let more = listed.len() > limit as usize;
    let definitions: Vec<DefinitionLine> =
        listed.iter().take(limit as usize).map(DefinitionLine::of_listed).collect();
    let next = definitions.last().filter(|_| more).map(DefinitionLine::id);
    Ok(Json(DefinitionLines { definitions, next }))
}

/// Lists the versions of one definition.
pub async fn versions(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
) -> Result<Json<DefinitionLines>, Problem> {
    let name = legal(&name)?;
    let listed = app.handle.definitions_of(&name).await;
    let listed = listed.map_err(|error| Problem::broke(&error, "list definitions"))?;
    if listed.is_empty() {
        let why = format!("definition '{name}' is not registered");
        return Err(Problem::new(Code::NoSuchVersion, why));
    }
    let definitions = listed.iter().map(DefinitionLine::of_listed).collect();
    Ok(Json(DefinitionLines { definitions, next: None }))
}

/// Shows one version with its contents.
pub async fn show(
    State(app): State<Arc<App>>,
    path: VersionPath,
) -> Result<Json<DefinitionView>, Problem> {
    let (name, version) = version_of(path)?;
    let (listed, body) = stored(&app, &name, version).await?;
    let line = DefinitionLine::of_listed(&listed);
    let definition = body.as_deref().map(Body::parse).transpose();
    let definition =
        definition.map_err(|error| Problem::internal(&error, "read a stored definition"))?;
    Ok(Json(DefinitionView { line, definition }))
}

async fn stored(
    app: &App,
    name: &Name,
    version: u32,
) -> Result<(ListedDefinition, Option<String>), Problem> {
    let found = app.handle.definition(name, version).await;
    found.map_err(|error| Problem::broke(&error, "read a definition"))?.ok_or_else(|| {
        let why = format!("definition '{name}' has no version {version}");
        Problem::new(Code::NoSuchVersion, why)
    })
}

/// Compares two versions of a definition, in words.
pub async fn diff(
    State(app): State<Arc<App>>,
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
    let (from, old) = contents(&app, &name, from).await?;
    let (to, new) = contents(&app, &name, to).await?;
    let view = |Difference { detail, incompatible }| DifferenceView { detail, incompatible };
    let differences = diff::of_definitions(&old, &new).into_iter().map(view).collect();
    Ok(Json(DiffView { from, to, differences }))
}

async fn contents(
    app: &App,
    name: &Name,
    version: u32,
) -> Result<(DefinitionLine, Definition), Problem> {
    let (listed, body) = stored(app, name, version).await?;
    let body = body.ok_or_else(|| {
        let why = format!("the contents of {name}@{version} were removed after its retirement");
        Problem::new(Code::VersionRetired, why)
    })?;
    let definition = serde_json::from_str(&body)
        .map_err(|error| Problem::internal(&error, "read a stored definition"))?;
    Ok((DefinitionLine::of_listed(&listed), definition))
}

/// Registers the definition in the body, YAML or JSON. All violations are reported at once.
pub async fn apply(
    State(app): State<Arc<App>>,
    query: ApplyRequest,
    payload: Payload,
) -> Result<Response, Problem> {
    let Query(ApplyQuery { dry_run }) = query.map_err(|_| body::bad_query())?;
    let text = files::text(&payload.0).map_err(Problem::invalid_definition)?;
    let definition = match files::check_text(text).map_err(Problem::invalid_definition)? {
        SagaFile::Definition(definition) => definition,
        SagaFile::Plan(plan) => {
            let why = format!(
                "'{}' is the plan of a choreography: observers load plans from files, with \
                 `definitions` in the configuration or `dev FILE`",
                plan.name
            );
            return Err(Problem::new(Code::InvalidDefinition, why));
        }
    };
    let registered = app.handle.apply(definition, dry_run).await.map_err(|error| match &error {
        RegistrationError::Incompatible { changes, .. } => {
            let pointed = |(place, detail): &(SchemaPlace, String)| {
                (files::schema_pointer(place), detail.clone())
            };
            let errors = files::violations_at(text, changes.iter().map(pointed));
            Problem::incompatible_schemas(error.to_string(), errors)
        }
        _ => error.into(),
    })?;
    let view = RegistrationView::of(&registered, dry_run);
    if !dry_run {
        let (name, version) = (&view.line.name, view.line.version);
        tracing::info!(definition = name, version, outcome = view.outcome, "definition applied");
    }
    let status = match (view.outcome.as_str(), dry_run) {
        ("registered", false) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(view)).into_response())
}

/// Makes new sagas run by a version.
pub async fn activate(
    State(app): State<Arc<App>>,
    path: VersionPath,
) -> Result<Json<DefinitionLine>, Problem> {
    let (name, version) = version_of(path)?;
    let activated = app.handle.activate(&name, version).await?;
    tracing::info!(definition = %name, version, "definition activated by an operator");
    Ok(Json(DefinitionLine::of(&activated)))
}

/// Stops starts by a version.
pub async fn retire(
    State(app): State<Arc<App>>,
    path: VersionPath,
) -> Result<Json<DefinitionLine>, Problem> {
    let (name, version) = version_of(path)?;
    let retired = app.handle.retire(&name, version).await?;
    tracing::info!(definition = %name, version, "definition retired by an operator");
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
