//! The paths of clients and things, of the whole fleet.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use protocol::ClientId;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{Shared, ask};
use crate::presence::{
    ConnectionStatus, PutThing, PutWhen, SendAwayRequest, SentAway, SubscriptionStatus,
    ThingDocument,
};

/// Largest body of things.
pub(super) const THINGS_LIMIT_BYTES: usize = 1024 * 1024;
/// Things that are written down at once.
const MOST_THINGS: usize = 500;
/// On one page when the caller does not say.
const DEFAULT_PAGE: usize = 100;
/// On one page at most.
const LARGEST_PAGE: usize = 1_000;

/// Answer of `/api/v1/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPage {
    /// In order of client id.
    pub connections: Vec<ConnectionStatus>,
    /// What to ask `after` next; none on the last page.
    pub next: Option<String>,
}

/// Answer of `/api/v1/connections/{client_id}/subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionList {
    /// As the client subscribed, in no order.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// Answer of `/api/v1/things`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingPage {
    /// In order of name.
    pub things: Vec<ThingStatus>,
    /// What to ask `after` next; none on the last page. A page may have fewer things than were asked for, or none.
    pub next: Option<String>,
}

/// A thing and its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingStatus {
    /// What is written down about it.
    pub thing: ThingDocument,
    /// Its connection, if a record of it is kept.
    pub connection: Option<ConnectionStatus>,
}

/// Things to be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThingsRequest {
    /// At most 500.
    pub things: Vec<ThingDocument>,
    /// `new` leaves what is known already as it is, `always` writes over it.
    #[serde(default)]
    pub when: PutWhen,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingsAnswer {
    /// One for each, in their order.
    pub things: Vec<PutThing>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageRequest {
    query: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let things = get(things).post(put_things);
    vec![
        ("/api/v1/connections", get(connections)),
        ("/api/v1/connections/{client_id}", get(connection).delete(send_away)),
        ("/api/v1/connections/{client_id}/subscriptions", get(subscriptions)),
        ("/api/v1/things", things.layer(DefaultBodyLimit::max(THINGS_LIMIT_BYTES))),
        ("/api/v1/things/{name}", get(thing).delete(remove_thing)),
    ]
}

fn page(
    asked: Result<Query<PageRequest>, QueryRejection>,
) -> Result<(PageRequest, usize), Problem> {
    let Query(page) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let max = page.max.unwrap_or(DEFAULT_PAGE);
    if (1..=LARGEST_PAGE).contains(&max) {
        Ok((page, max))
    } else {
        Err(Problem::invalid(format!("max must be 1 to {LARGEST_PAGE}")))
    }
}

fn text(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(text) = path.map_err(|error| Problem::invalid(error.body_text()))?;
    Ok(text)
}

fn client_id(path: Result<Path<String>, PathRejection>) -> Result<ClientId, Problem> {
    ClientId::new(&text(path)?).map_err(|_| Problem::not_found("there is no such client id"))
}

async fn connections(
    State(shared): State<Shared>,
    asked: Result<Query<PageRequest>, QueryRejection>,
) -> Result<Json<ConnectionPage>, Problem> {
    let (page, max) = page(asked)?;
    if page.query.is_some() {
        return Err(Problem::invalid("connections have no query; things have"));
    }
    let found = ask(&shared, move |control| {
        control.clients_of_fleet().presences(page.after.as_deref(), max)
    });
    let found = found.await??;
    let next = found.last().filter(|_| found.len() == max);
    let next = next.map(|(client, _)| client.as_str().to_owned());
    let status = |(client, presence): &(ClientId, _)| ConnectionStatus::of(client, presence);
    Ok(Json(ConnectionPage { connections: found.iter().map(status).collect(), next }))
}

async fn connection(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ConnectionStatus>, Problem> {
    let client = client_id(path)?;
    let asked = client.clone();
    let presence =
        ask(&shared, move |control| control.clients_of_fleet().presence(&asked)).await??;
    let presence = presence.ok_or_else(|| Problem::not_found("nothing is known of this client"))?;
    Ok(Json(ConnectionStatus::of(&client, &presence)))
}

async fn subscriptions(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<SubscriptionList>, Problem> {
    let client = client_id(path)?;
    let found = ask(&shared, move |control| control.clients_of_fleet().subscriptions(&client));
    let found = found.await??;
    let none = || Problem::not_found("the fleet has no session of this client");
    Ok(Json(SubscriptionList { subscriptions: found.ok_or_else(none)? }))
}

async fn send_away(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    how: Result<Query<SendAwayRequest>, QueryRejection>,
) -> Result<Json<SentAway>, Problem> {
    let client = client_id(path)?;
    let Query(how) = how.map_err(|error| Problem::invalid(error.body_text()))?;
    let by = caller.name();
    let sent = ask(&shared, move |control| control.clients_of_fleet().send_away(&client, how, &by))
        .await??;
    Ok(Json(sent))
}

async fn things(
    State(shared): State<Shared>,
    asked: Result<Query<PageRequest>, QueryRejection>,
) -> Result<Json<ThingPage>, Problem> {
    let (page, max) = page(asked)?;
    let found = ask(&shared, move |control| {
        control.clients_of_fleet().things(page.query.as_deref(), page.after.as_deref(), max)
    });
    let found = found.await??;
    let status = |(thing, presence): &(shadow::Thing, Option<shadow::Presence>)| {
        let client = ClientId::new(thing.name()).ok();
        let connection = client.zip(presence.as_ref());
        ThingStatus {
            thing: ThingDocument::of(thing),
            connection: connection.map(|(client, it)| ConnectionStatus::of(&client, it)),
        }
    };
    Ok(Json(ThingPage { things: found.things.iter().map(status).collect(), next: found.next }))
}

async fn put_things(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ThingsAnswer>), Problem> {
    let body = body.map_err(|_| Problem::too_large(THINGS_LIMIT_BYTES))?;
    let ThingsRequest { things, when } =
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?;
    if !(1..=MOST_THINGS).contains(&things.len()) {
        return Err(Problem::invalid(format!("things must be 1 to {MOST_THINGS}")));
    }
    let by = caller.name();
    let put = move |control: &dyn crate::control::Control| {
        control.clients_of_fleet().put_things(things, when, &by)
    };
    let things = ask(&shared, put).await??;
    Ok((StatusCode::CREATED, Json(ThingsAnswer { things })))
}

async fn thing(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ThingStatus>, Problem> {
    let name = text(path)?;
    let unknown = || Problem::not_found("there is no such thing");
    let client = ClientId::new(&name).map_err(|_| unknown())?;
    let asked = client.clone();
    let found = ask(&shared, move |control| {
        let clients = control.clients_of_fleet();
        Ok::<_, crate::control::ControlError>((clients.thing(&name)?, clients.presence(&asked)?))
    });
    let (thing, presence) = found.await??;
    let thing = ThingDocument::of(&thing.ok_or_else(unknown)?);
    let connection = presence.map(|it| ConnectionStatus::of(&client, &it));
    Ok(Json(ThingStatus { thing, connection }))
}

async fn remove_thing(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ThingDocument>, Problem> {
    let (name, by) = (text(path)?, caller.name());
    let removed =
        ask(&shared, move |control| control.clients_of_fleet().remove_thing(&name, &by)).await??;
    let removed = removed.ok_or_else(|| Problem::not_found("there is no such thing"))?;
    Ok(Json(ThingDocument::of(&removed)))
}
