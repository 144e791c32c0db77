//! The paths of the API, and who may walk them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{BoxError, Extension, Json, Router};
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::caller::Caller;
use super::problem::Problem;
use super::subscribers::Subscribers;
use super::{
    bans, blockers, clients as fleet_clients, events, feed, feed_tokens, glass, maintenance, peers,
    planned, preferences, restart, shadows, tried, wanted,
};
use crate::control::{
    ClientStatus, Control, DrainRequest, DrainStatus, GatewayRecord, GatewayStatus, PeerStatus,
    Readiness, ReloadReport,
};
use crate::metrics::Metrics;
use crate::sessions::SessionStatus;

/// Largest request body.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Longest reason that the audit keeps.
const REASON_LIMIT_BYTES: usize = 4096;
/// Longest time from request to response; the process answers in milliseconds or is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Clients on one page when the caller does not say.
const DEFAULT_PAGE: usize = 100;
/// Clients on one page at most.
const LARGEST_PAGE: usize = 1_000;

/// Answer of `/api/v1/gateways`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayList {
    /// Live gateways of the fleet.
    pub gateways: Vec<GatewayRecord>,
}

/// Answer of `/api/v1/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// Peers of this gateway, up or down.
    pub peers: Vec<PeerStatus>,
}

/// Answer of `/api/v1/clients`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPage {
    /// Clients in order of client id.
    pub clients: Vec<ClientStatus>,
    /// What to ask `after` next; none on the last page.
    pub next: Option<String>,
}

/// The API's description: OpenAPI 3.1 as JSON.
pub fn openapi() -> &'static str {
    include_str!("openapi.json")
}

/// What every route needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) control: Arc<dyn Control>,
    pub(super) metrics: Metrics,
    /// Places for those who follow what happens.
    pub(super) streams: Arc<Semaphore>,
    /// The place of who has a tale told of what would happen: one at a time.
    pub(super) tale: Arc<Semaphore>,
    /// Who reads the calendar by a token; none where nobody may.
    pub(super) subscribers: Option<Arc<Subscribers>>,
}

/// The whole API. Made once: its table of paths is large.
pub(super) fn router(shared: Shared) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    router
        .fallback(|| async { Problem::not_found("no such path; see /api/v1/openapi.json") })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(from_fn_with_state(shared.clone(), guard))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(shared)
}

/// The API as one caller meets it.
pub(super) fn service<B>(
    api: Router,
    caller: Caller,
) -> impl Service<hyper::Request<B>, Response = Response, Error = Infallible, Future: Send>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let api = TowerToHyperService::new(api);
    service_fn(move |mut request: hyper::Request<B>| {
        request.extensions_mut().insert(caller.clone());
        api.call(request)
    })
}

/// Every path with its methods; `openapi.json` lists the same.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let mut routes = vec![
        ("/healthz", get(|| async { "ok\n" })),
        ("/readyz", get(readiness)),
        ("/metrics", get(metrics)),
        ("/api/v1/openapi.json", get(description)),
        ("/api/v1/gateway", get(gateway)),
        ("/api/v1/gateways", get(gateways)),
        ("/api/v1/peers", get(peer_list)),
        ("/api/v1/clients", get(clients)),
        ("/api/v1/sessions/{client_id}", get(session)),
        ("/api/v1/drains", post(start_drain)),
        ("/api/v1/drains/current", get(drain).merge(delete(abort_drain))),
        ("/api/v1/undrain", post(undrain)),
        ("/api/v1/bans", get(bans::list).post(bans::add).delete(bans::remove)),
        ("/api/v1/reload", post(reload)),
        ("/api/v1/restart", get(restart::show).post(restart::begin)),
        ("/api/v1/maintenance/visits", get(visits)),
        ("/api/v1/maintenance/hosts", get(maintenance::hosts)),
        ("/api/v1/maintenance/scheduler", get(maintenance::scheduler)),
        ("/api/v1/maintenance/write-offs", post(maintenance::write_off)),
        ("/api/v1/maintenance/audit", get(maintenance::audit)),
        ("/api/v1/maintenance/executions", get(maintenance::executions)),
        ("/api/v1/maintenance/orders", post(maintenance::order)),
    ];
    routes.extend(fleet_clients::routes());
    routes.extend(wanted::routes());
    routes.extend(planned::routes());
    routes.extend(tried::routes());
    routes.extend(blockers::routes());
    routes.extend(preferences::routes());
    routes.extend(glass::routes());
    routes.extend(events::routes());
    routes.extend(feed::routes());
    routes.extend(feed_tokens::routes());
    routes.extend(shadows::routes());
    routes
}

/// Checks the caller's rights and puts a limit on the time of an answer.
async fn guard(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let by_token = shared.subscribers.is_some() && feed::is_secret(request.uri().path());
    if let Err(problem) = check(&caller, &request, by_token) {
        return problem.into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Err(problem) = glass::check_role(&shared, &caller, (&method, &path)).await {
        return problem.into_response();
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) if method == Method::GET || method == Method::HEAD => {
            Problem::timeout().into_response()
        }
        Err(_) => Problem::unfinished("the gateway is busy, and may go on").into_response(),
    }
}

fn check(caller: &Caller, request: &Request, by_token: bool) -> Result<(), Problem> {
    let reading = request.method() == Method::GET || request.method() == Method::HEAD;
    if !caller.secure {
        check_plain(caller, request.headers())?;
    }
    if !reading && !caller.may_change() {
        return Err(Problem::forbidden(
            "changes need TLS with the certificate of an operator, such as certs/operator.pem",
        ));
    }
    // Only these are for anybody, or for who knows the secret in the path: the numbers too tell how busy a fleet is, and with what.
    let open = matches!(request.uri().path(), "/healthz" | "/readyz" | "/api/v1/openapi.json");
    if !open && !by_token && !caller.may_read() {
        return Err(Problem::forbidden(
            "from beyond this machine, reading needs the certificate of an operator or a gateway",
        ));
    }
    // A page in an operator's browser can post a form, but not JSON, without asking the gateway first.
    let json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let bodied = request.method() == Method::POST || request.method() == Method::PUT;
    if bodied && !json {
        return Err(Problem::media_type());
    }
    Ok(())
}

/// Plain HTTP is for this machine only, and not for a page whose name was made to point here.
fn check_plain(caller: &Caller, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let local = name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if caller.remote.ip().is_loopback() && local {
        Ok(())
    } else {
        Err(Problem::forbidden("plain HTTP is for this machine only; use https"))
    }
}

/// Asks the process on a thread that may wait, so that health and metrics stay quick.
pub(super) async fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&dyn Control) -> T + Send + 'static,
) -> Result<T, Problem> {
    let control = Arc::clone(&shared.control);
    tokio::task::spawn_blocking(move || question(control.as_ref()))
        .await
        .map_err(|_| Problem::internal("the question could not be answered"))
}

async fn readiness(State(shared): State<Shared>) -> Result<(StatusCode, Json<Readiness>), Problem> {
    let readiness = ask(&shared, |control| control.readiness()).await?;
    let status = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((status, Json(readiness)))
}

async fn metrics(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let links = ask(&shared, |control| control.peers()).await?;
    let mut text = shared.metrics.render();
    peers::render(&mut text, &links);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi())
}

async fn gateway(State(shared): State<Shared>) -> Result<Json<GatewayStatus>, Problem> {
    ask(&shared, |control| control.status()).await.map(Json)
}

async fn gateways(State(shared): State<Shared>) -> Result<Json<GatewayList>, Problem> {
    let gateways = ask(&shared, |control| control.gateways()).await?;
    Ok(Json(GatewayList { gateways }))
}

async fn peer_list(State(shared): State<Shared>) -> Result<Json<PeerList>, Problem> {
    let peers = ask(&shared, |control| control.peers()).await?;
    Ok(Json(PeerList { peers }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageRequest {
    after: Option<String>,
    max: Option<usize>,
}

async fn clients(
    State(shared): State<Shared>,
    page: Result<Query<PageRequest>, QueryRejection>,
) -> Result<Json<ClientPage>, Problem> {
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let max = page.max.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&max) {
        return Err(Problem::invalid(format!("max must be 1 to {LARGEST_PAGE}")));
    }
    // One more than asked tells whether there is a next page.
    let mut clients = ask(&shared, move |control| control.clients(page.after, max + 1)).await?;
    let more = clients.len() > max;
    clients.truncate(max);
    let next = clients.last().filter(|_| more).map(|client| client.client_id.clone());
    Ok(Json(ClientPage { clients, next }))
}

async fn session(
    State(shared): State<Shared>,
    client: Result<Path<String>, PathRejection>,
) -> Result<Json<SessionStatus>, Problem> {
    let Path(client) = client.map_err(|error| Problem::invalid(error.body_text()))?;
    ask(&shared, |control| control.session(client))
        .await??
        .map(Json)
        .ok_or_else(|| Problem::not_found("the fleet has no session of this client"))
}

async fn start_drain(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<DrainStatus>), Problem> {
    let body = body.map_err(|_| Problem::too_large(BODY_LIMIT_BYTES))?;
    let request: DrainRequest = if body.is_empty() {
        DrainRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?
    };
    if request.per_s == Some(0) {
        return Err(Problem::invalid("per_s must be at least 1"));
    }
    let says = |why: &String| !why.trim().is_empty() && why.len() <= REASON_LIMIT_BYTES;
    if request.reason.as_ref().is_some_and(|why| !says(why)) {
        return Err(Problem::invalid(format!("reason must have 1 to {REASON_LIMIT_BYTES} bytes")));
    }
    let status = ask(&shared, move |control| control.start_drain(request, caller.name())).await??;
    Ok((StatusCode::ACCEPTED, Json(status)))
}

async fn drain(State(shared): State<Shared>) -> Result<Json<DrainStatus>, Problem> {
    ask(&shared, |control| control.drain())
        .await?
        .map(Json)
        .ok_or_else(|| Problem::not_found("no drain has run since the gateway started"))
}

async fn abort_drain(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DrainStatus>, Problem> {
    Ok(Json(ask(&shared, move |control| control.abort_drain(caller.name())).await??))
}

async fn undrain(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<GatewayStatus>, Problem> {
    Ok(Json(ask(&shared, move |control| control.undrain(caller.name())).await??))
}

async fn reload(State(shared): State<Shared>) -> Result<Json<ReloadReport>, Problem> {
    Ok(Json(ask(&shared, |control| control.reload()).await??))
}

async fn visits(State(shared): State<Shared>) -> Result<Json<serde_json::Value>, Problem> {
    ask(&shared, |control| control.visits()).await.map(Json)
}
