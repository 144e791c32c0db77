//! The paths of shadows.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use shadow::{Ask, Operation, OwnedKey, ShadowKey, ShadowName, ThingName};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared};

/// Names on one page.
const PAGE: usize = 1_000;

/// Answer of `/api/v1/things/{thing}/shadows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowList {
    /// The names of the thing's named shadows, in order.
    pub names: Vec<String>,
    /// What to ask `after` next; none on the last page.
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: Option<String>,
}

type Thing = Result<Path<String>, PathRejection>;
type WhichOf = Result<Query<Named>, QueryRejection>;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/things/{thing}/shadow", get(show).post(change).delete(remove)),
        ("/api/v1/things/{thing}/shadows", get(names)),
    ]
}

async fn show(
    State(shared): State<Shared>,
    thing: Thing,
    named: WhichOf,
) -> Result<impl IntoResponse, Problem> {
    ask(&shared, key(thing, named)?, (Operation::Get, b"")).await
}

async fn change(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    thing: Thing,
    named: WhichOf,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Problem> {
    let body = body.map_err(|_| Problem::too_large(BODY_LIMIT_BYTES))?;
    let key = key(thing, named)?;
    note(&caller, &key, "update");
    ask(&shared, key, (Operation::Update, &body)).await
}

async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    thing: Thing,
    named: WhichOf,
) -> Result<impl IntoResponse, Problem> {
    let key = key(thing, named)?;
    note(&caller, &key, "delete");
    ask(&shared, key, (Operation::Delete, b"")).await
}

async fn names(
    State(shared): State<Shared>,
    thing: Thing,
    page: Result<Query<After>, QueryRejection>,
) -> Result<Json<ShadowList>, Problem> {
    let Path(thing) = thing.map_err(|error| Problem::invalid(error.body_text()))?;
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let thing = ThingName::new(&thing).map_err(|error| Problem::invalid(error.to_string()))?;
    let found = shared.control.shadows().names(thing, page.after.as_deref(), PAGE).await;
    let (names, next) = found.map_err(|refusal| Problem::shadow(&refusal))?;
    Ok(Json(ShadowList { names, next }))
}

fn key(thing: Thing, named: WhichOf) -> Result<OwnedKey, Problem> {
    let invalid = |error: shadow::InvalidReserved| Problem::invalid(error.to_string());
    let Path(thing) = thing.map_err(|error| Problem::invalid(error.body_text()))?;
    let Query(Named { name }) = named.map_err(|error| Problem::invalid(error.body_text()))?;
    let thing = ThingName::new(&thing).map_err(invalid)?;
    let shadow = name.as_deref().map(ShadowName::new).transpose().map_err(invalid)?;
    Ok(ShadowKey { thing, shadow }.into())
}

/// The same as a device asks; the answer is also published to those who subscribe to it.
async fn ask(
    shared: &Shared,
    key: OwnedKey,
    (operation, body): (Operation, &[u8]),
) -> Result<impl IntoResponse + use<>, Problem> {
    let shadows = shared.control.shadows();
    let ask = Ask::parse(operation, body, shadows.limits());
    let asked = async { shadows.ask(key, ask?).await };
    let message = asked.await.map_err(|rejection| Problem::shadow(&rejection.refusal))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], message))
}

fn note(caller: &Caller, key: &OwnedKey, action: &str) {
    let (key, by) = (key.key(), caller.name());
    let (thing, shadow) = (key.thing.as_str(), key.shadow.map(ShadowName::as_str));
    tracing::info!(target: "audit", by, thing, shadow, action, "an operator changes a shadow");
}
