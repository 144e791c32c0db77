//! The API over a loopback port, with a process that only pretends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ::maintenance::audit::{AuditEntry, AuditHead};
use ::maintenance::planner::Agenda;
use ::maintenance::policy::Freeze;
use certs::Role;
use hyper::Method;
use hyper::service::Service as _;
use protocol::{ClientId, Wall};
use serde_json::Value;
use shadow::{Presence, Thing};

use super::*;
use crate::accepts::Accepts;
use crate::bans::{Ban, NewBan};
use crate::cli::{Api, ApiError};
use crate::config::{ClientCertificate, Right, Tls};
use crate::control::*;
use crate::metrics::Metrics;
use crate::presence::*;
use crate::scheduler::*;
use crate::sessions::SessionStatus;
use crate::shadows::Shadows;
use crate::succession::{RestartRequest, RestartStatus};
use crate::tls::{LiveTls, Speaks};

/// A gateway with five clients that drains as soon as it is told to.
#[derive(Debug, Default)]
struct Pretender {
    drain: Mutex<Option<DrainStatus>>,
    bans: Mutex<Vec<Ban>>,
    tokens: Mutex<Vec<StoredFeedToken>>,
    shadows: NoShadows,
}

/// Nobody answers.
#[derive(Debug)]
struct NoShadows(Shadows);

impl Default for NoShadows {
    fn default() -> Self {
        let limits = shadow::ShadowLimits::default();
        Self(Shadows::new(Vec::new(), crate::tail::asks().0, limits))
    }
}

impl Control for Pretender {
    fn shadows(&self) -> &Shadows {
        &self.shadows.0
    }

    fn status(&self) -> GatewayStatus {
        GatewayStatus {
            id: "gw-1".into(),
            incarnation: 7,
            state: GatewayState::Serving,
            connections: 5,
            sessions: 5,
            workers: 2,
            log_seq: 9,
            uptime_s: 1,
            version: "0".into(),
            addresses: vec![Address { kind: "tcp".into(), address: "127.0.0.1:1883".into() }],
        }
    }

    fn readiness(&self) -> Readiness {
        match *self.drain.lock().unwrap() {
            None => Readiness::Ready,
            Some(_) => Readiness::NotReady { reason: "draining".into() },
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        Vec::new()
    }

    fn gateways(&self) -> Vec<GatewayRecord> {
        Vec::new()
    }

    fn clients(&self, after: Option<String>, max: usize) -> Vec<ClientStatus> {
        let client = |n: u8| ClientStatus {
            client_id: format!("c{n}"),
            connected: true,
            clean: false,
            protocol_version: 5,
            remote: None,
            queue_len: 0,
            inflight: 0,
            epoch: 1,
        };
        let after = after.unwrap_or_default();
        (1..=5).map(client).filter(|client| client.client_id > after).take(max).collect()
    }

    fn session(&self, client: String) -> Result<Option<SessionStatus>, ControlError> {
        let known = client == "a/b c";
        Ok(known.then(|| SessionStatus {
            client_id: client,
            clean: false,
            epoch: 1,
            owner: None,
            expiry_s: None,
            expires_at_ms: None,
            subscriptions: 0,
            queue: None,
            dropped: BTreeMap::new(),
        }))
    }

    fn start_drain(&self, request: DrainRequest, _: String) -> Result<DrainStatus, ControlError> {
        let mut drain = self.drain.lock().unwrap();
        if drain.is_some() {
            return Err(ControlError::Refused("a drain runs already".into()));
        }
        let status = DrainStatus {
            id: "d1".into(),
            gateway: "gw-1".into(),
            state: GatewayState::Announced,
            started: "2030-01-01T00:00:00Z".into(),
            moved: 0,
            failed: 0,
            left: 5,
            asking: false,
            per_s: request.per_s.unwrap_or(200),
            evidence: Evidence::default(),
            verdict: None,
        };
        *drain = Some(status.clone());
        Ok(status)
    }

    fn drain(&self) -> Option<DrainStatus> {
        self.drain.lock().unwrap().clone()
    }

    fn abort_drain(&self, _: String) -> Result<DrainStatus, ControlError> {
        self.drain
            .lock()
            .unwrap()
            .take()
            .ok_or_else(|| ControlError::WrongState("no drain runs".into()))
    }

    fn reload(&self) -> Result<ReloadReport, ControlError> {
        Ok(ReloadReport::default())
    }

    fn restart(&self, _: RestartRequest) -> Result<RestartStatus, ControlError> {
        Err(ControlError::Refused("nobody follows a pretender".into()))
    }

    fn restart_status(&self) -> Option<RestartStatus> {
        None
    }

    fn undrain(&self, _: String) -> Result<GatewayStatus, ControlError> {
        Ok(self.status())
    }

    fn bans(&self) -> Result<Vec<Ban>, ControlError> {
        Ok(self.bans.lock().unwrap().clone())
    }

    fn add_ban(&self, new: NewBan) -> Result<Ban, ControlError> {
        let ban = new.begin(Wall(0));
        self.bans.lock().unwrap().push(ban.clone());
        Ok(ban)
    }

    fn remove_ban(&self, on: access::BanOn, _: String) -> Result<Option<Ban>, ControlError> {
        let mut bans = self.bans.lock().unwrap();
        let at = bans.iter().position(|ban| ban.on().as_ref() == Some(&on));
        Ok(at.map(|at| bans.remove(at)))
    }

    fn visits(&self) -> Value {
        serde_json::json!({})
    }

    fn hosts(&self) -> Result<Vec<HostStatus>, ControlError> {
        Ok(Vec::new())
    }

    fn scheduler(&self) -> Result<SchedulerStatus, ControlError> {
        Ok(SchedulerStatus { lease: None, term_held_here: None })
    }

    fn write_off(&self, request: WriteOffRequest, _: String) -> Result<AuditEntry, ControlError> {
        Err(ControlError::Refused(format!("{} lives", request.host)))
    }

    fn audit(&self, _: u64, _: usize) -> Result<AuditPage, ControlError> {
        Ok(AuditPage { entries: Vec::new(), head: AuditHead::default(), checkpoint: None })
    }

    fn executions(&self) -> Result<Vec<VisitDocument>, ControlError> {
        Ok(Vec::new())
    }

    fn order(&self, request: OrderRequest, _: String) -> Result<VisitDocument, ControlError> {
        Err(ControlError::Refused(format!("there is no visit {}", request.visit)))
    }

    fn clients_of_fleet(&self) -> &dyn ClientControl {
        self
    }

    fn maintenance(&self) -> &dyn MaintenanceControl {
        self
    }
}

/// One client that is not there, one thing of another name.
impl ClientControl for Pretender {
    fn presence(&self, client: &ClientId) -> Result<Option<Presence>, ControlError> {
        Ok((client.as_str() == "a/b c").then(Presence::never))
    }

    fn presences(
        &self,
        after: Option<&str>,
        _: usize,
    ) -> Result<Vec<(ClientId, Presence)>, ControlError> {
        let client = ClientId::new("a/b c").unwrap();
        Ok(Vec::from_iter(after.is_none().then(|| (client, Presence::never()))))
    }

    fn subscriptions(&self, _: &ClientId) -> Result<Option<Vec<SubscriptionStatus>>, ControlError> {
        Ok(Some(vec![SubscriptionStatus { filter: "x/#".into(), qos: 1 }]))
    }

    fn send_away(
        &self,
        client: &ClientId,
        how: SendAwayRequest,
        by: &str,
    ) -> Result<SentAway, ControlError> {
        if client.as_str() != "a/b c" || !how.prevent_will {
            return nothing();
        }
        Ok(SentAway { client_id: client.as_str().to_owned(), gateway: Some(by.to_owned()) })
    }

    fn give(
        &self,
        _: &ClientId,
        _: protocol::Publication,
        _: std::time::Duration,
    ) -> Result<Given, ControlError> {
        nothing()
    }

    fn thing(&self, name: &str) -> Result<Option<Thing>, ControlError> {
        let document = ThingDocument { name: "pump".into(), ..ThingDocument::default() };
        Ok((name == "pump").then(|| document.to_thing(Wall(1)).unwrap()))
    }

    fn things(
        &self,
        query: Option<&str>,
        _: Option<&str>,
        _: usize,
    ) -> Result<FoundThings, ControlError> {
        if query == Some("no") {
            return Err(ControlError::Invalid("query: no".into()));
        }
        let pump = self.thing("pump")?.unwrap();
        Ok(FoundThings { things: vec![(pump, Some(Presence::never()))], next: None })
    }

    fn put_things(
        &self,
        things: Vec<ThingDocument>,
        when: PutWhen,
        _: &str,
    ) -> Result<Vec<PutThing>, ControlError> {
        let put = if when == PutWhen::New { PutThing::Known } else { PutThing::Replaced };
        Ok(things.iter().map(|_| put).collect())
    }

    fn remove_thing(&self, name: &str, _: &str) -> Result<Option<Thing>, ControlError> {
        self.thing(name)
    }
}

fn nothing<T>() -> Result<T, ControlError> {
    Err(ControlError::Missing("there is none".into()))
}

/// One policy, in revision 7; nothing else is there.
impl MaintenanceControl for Pretender {
    fn policies(&self) -> Result<Vec<PolicyDocument>, ControlError> {
        let (name, text, by) = ("a b".to_owned(), String::new(), "ada".to_owned());
        let calendars = BTreeMap::new();
        Ok(vec![PolicyDocument { name, text, calendars, revision: 7, by, at_ms: 1 }])
    }

    fn put_policy(
        &self,
        name: String,
        expected: Option<u64>,
        request: PolicyRequest,
        by: String,
    ) -> Result<PolicyAnswer, ControlError> {
        if expected != Some(7) {
            return Err(ControlError::Outdated("it is there in revision 7".into()));
        }
        let PolicyRequest { text, calendars, .. } = request;
        let policy = PolicyDocument { name, text, calendars, revision: 8, by, at_ms: 2 };
        Ok(PolicyAnswer { policy, lints: Vec::new() })
    }

    fn remove_policy(&self, _: Removal) -> Result<PolicyDocument, ControlError> {
        nothing()
    }

    fn freezes(&self) -> Result<Vec<Freeze>, ControlError> {
        Ok(Vec::new())
    }

    fn add_freeze(&self, _: FreezeRequest, _: String) -> Result<Freeze, ControlError> {
        nothing()
    }

    fn remove_freeze(&self, _: Removal) -> Result<Freeze, ControlError> {
        nothing()
    }

    fn blockers(&self) -> Result<Vec<HostBlocker>, ControlError> {
        Ok(Vec::new())
    }

    fn add_blocker(&self, _: BlockerRequest, _: String) -> Result<HostBlocker, ControlError> {
        nothing()
    }

    fn remove_blocker(&self, _: Removal) -> Result<HostBlocker, ControlError> {
        nothing()
    }

    fn preferences(&self) -> Result<Vec<HostPreference>, ControlError> {
        Ok(Vec::new())
    }

    fn add_preference(
        &self,
        _: PreferenceRequest,
        _: String,
    ) -> Result<HostPreference, ControlError> {
        nothing()
    }

    fn remove_preference(&self, _: Removal) -> Result<HostPreference, ControlError> {
        nothing()
    }

    /// Whoever knows the secret may read what is about gw-1.
    fn feed_tokens(&self) -> Result<Vec<StoredFeedToken>, ControlError> {
        Ok(self.tokens.lock().unwrap().clone())
    }

    fn add_feed_token(&self, _: FeedTokenRequest, _: String) -> Result<NewFeedToken, ControlError> {
        nothing()
    }

    fn revoke_feed_token(&self, removal: Removal) -> Result<FeedToken, ControlError> {
        let mut tokens = self.tokens.lock().unwrap();
        let at = tokens.iter().position(|it| it.token.name == removal.name);
        at.map_or_else(nothing, |at| Ok(tokens.remove(at).token))
    }

    fn agenda(&self) -> Result<Agenda, ControlError> {
        Ok(Agenda::default())
    }

    fn operations(&self) -> Result<Vec<OperationDocument>, ControlError> {
        Ok(Vec::new())
    }

    fn add_operations(
        &self,
        _: OperationRequest,
        _: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        nothing()
    }

    fn lints_of(&self, _: Vec<OperationDocument>) -> Result<Vec<String>, ControlError> {
        Ok(Vec::new())
    }

    fn approve_operations(
        &self,
        _: String,
        _: String,
        _: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        nothing()
    }

    fn pass_over_operations(
        &self,
        _: String,
        _: String,
        _: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        nothing()
    }

    fn cancel_operations(&self, _: Removal) -> Result<Vec<OperationDocument>, ControlError> {
        nothing()
    }

    fn order_all(&self, _: WideRequest, _: String) -> Result<WideAnswer, ControlError> {
        nothing()
    }

    fn paused(&self) -> Result<Option<Paused>, ControlError> {
        Ok(None)
    }

    fn plan(&self) -> Result<Option<PlanAnswer>, ControlError> {
        Ok(None)
    }

    fn plan_news(&self) -> Result<Option<PlanNews>, ControlError> {
        Ok(None)
    }

    fn preview(&self, _: WhatIf, _: String) -> Result<PlanPreview, ControlError> {
        nothing()
    }

    fn why(&self, _: String) -> Result<HostWhy, ControlError> {
        nothing()
    }

    fn estimates(&self) -> Result<Vec<::maintenance::operation::Learned>, ControlError> {
        Ok(Vec::new())
    }

    fn allows(&self, _: Right, _: &str) -> Result<Allowed, ControlError> {
        Ok(Allowed::ByRole)
    }

    fn break_glass(&self, _: GlassRequest, _: String) -> Result<Glass, ControlError> {
        nothing()
    }

    fn mend_glass(&self, _: String, _: String) -> Result<Glass, ControlError> {
        nothing()
    }

    fn glasses(&self) -> Result<Vec<Glass>, ControlError> {
        Ok(Vec::new())
    }

    fn begin_despite(&self, _: DespiteRequest, _: String) -> Result<BeginDespite, ControlError> {
        nothing()
    }

    fn despites(&self) -> Result<Vec<BeginDespite>, ControlError> {
        Ok(Vec::new())
    }
}

struct Fixture {
    http: HttpApi,
    certificates: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let certificates = tempfile::tempdir().unwrap();
    let dir = certificates.path();
    certs::development_set(dir, &["gw-1"]).unwrap();
    let file = |name: &str| dir.join(name);
    let tls = Tls::of(file("ca.pem"), file("gw-1.pem"), file("gw-1.key"), Some(file("crl.pem")));
    let tls = LiveTls::load(&tls, ClientCertificate::Optional, None, Speaks::Http).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = Arc::new(Pretender::default());
    let (_, revoked) = tokio::sync::watch::channel(Arc::default());
    let listener = (listener, Accepts::always());
    let http =
        HttpApi::start(listener, (Some(tls), true), control, Metrics::new(1), revoked).unwrap();
    Fixture { http, certificates }
}

impl Fixture {
    fn api(&self, scheme: &str, certificates: &Path) -> Api {
        Api::new(&format!("{scheme}://{}", self.http.address()), certificates).unwrap()
    }

    fn operator(&self) -> Api {
        self.api("https", self.certificates.path())
    }

    fn plain(&self) -> Api {
        self.api("http", self.certificates.path())
    }

    /// Somebody with a device's certificate.
    fn device(&self, dir: &Path) -> Api {
        for (from, to) in [
            ("ca.pem", "ca.pem"),
            ("device-1.pem", "operator.pem"),
            ("device-1.key", "operator.key"),
        ] {
            std::fs::copy(self.certificates.path().join(from), dir.join(to)).unwrap();
        }
        self.api("https", dir)
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn problem(answer: Result<Value, ApiError>) -> Problem {
    let Err(ApiError::Problem(problem)) = answer else { panic!("{answer:?}") };
    problem
}

#[test]
fn anybody_on_this_machine_may_read_without_tls() {
    let fixture = fixture();
    run(async {
        let api = fixture.plain();
        let (status, body) = api.raw(Method::GET, "/healthz", Vec::new()).await.unwrap();
        assert_eq!((status, &body[..]), (200, &b"ok\n"[..]));
        let (status, body) = api.raw(Method::GET, "/metrics", Vec::new()).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.starts_with(b"# HELP tidegate_connections "));
        let gateway: GatewayStatus = api.get("/api/v1/gateway").await.unwrap();
        assert_eq!(gateway.id, "gw-1");
    });
}

#[test]
fn nobody_changes_anything_without_an_operators_certificate() {
    let fixture = fixture();
    let dir = tempfile::tempdir().unwrap();
    run(async {
        for api in [fixture.plain(), fixture.device(dir.path())] {
            let answer = api.post("/api/v1/drains", &DrainRequest::default()).await;
            assert_eq!(problem(answer).status, 403);
            assert_eq!(problem(api.delete("/api/v1/drains/current").await).status, 403);
        }
        let device = fixture.device(dir.path());
        assert_eq!(problem(device.get("/api/v1/clients").await).status, 403);
    });
}

#[test]
fn an_operator_drains_watches_and_aborts() {
    let fixture = fixture();
    run(async {
        let api = fixture.operator();
        assert_eq!(problem(api.get("/api/v1/drains/current").await).status, 404);
        let request = DrainRequest { per_s: Some(50), ..DrainRequest::default() };
        let begun: DrainStatus = api.post("/api/v1/drains", &request).await.unwrap();
        assert_eq!(begun.per_s, 50);
        let again = problem(api.post("/api/v1/drains", &request).await);
        assert_eq!((again.status, again.kind.as_str()), (409, "urn:tidegate:problem:refused"));
        let (status, body) = api.raw(Method::GET, "/readyz", Vec::new()).await.unwrap();
        assert_eq!(
            (status, &body[..]),
            (503, &br#"{"ready":"not_ready","reason":"draining"}"#[..])
        );
        let watched: DrainStatus = api.get("/api/v1/drains/current").await.unwrap();
        assert_eq!(watched, begun);
        let _: DrainStatus = api.delete("/api/v1/drains/current").await.unwrap();
        assert_eq!(problem(api.delete("/api/v1/drains/current").await).status, 409);
    });
}

#[test]
fn clients_come_in_pages() {
    let fixture = fixture();
    run(async {
        let api = fixture.plain();
        let page: ClientPage = api.get("/api/v1/clients?max=3").await.unwrap();
        assert_eq!((page.clients.len(), page.next.as_deref()), (3, Some("c3")));
        let page: ClientPage = api.get("/api/v1/clients?max=3&after=c3").await.unwrap();
        assert_eq!((page.clients.len(), page.next), (2, None));
        assert_eq!(problem(api.get("/api/v1/clients?max=0").await).status, 400);
        assert_eq!(problem(api.get("/api/v1/clients?maximum=1").await).status, 400);
    });
}

#[test]
fn what_cannot_be_understood_is_told_as_a_problem() {
    let fixture = fixture();
    run(async {
        let api = fixture.operator();
        for (body, expected) in [
            (b"{".to_vec(), 400),
            (br#"{"per_s": 0}"#.to_vec(), 400),
            (br#"{"pers": 1}"#.to_vec(), 400),
            (vec![b' '; 70_000], 413),
        ] {
            let (status, body) = api.raw(Method::POST, "/api/v1/drains", body).await.unwrap();
            assert_eq!(status, expected);
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.status, expected);
        }
        assert_eq!(problem(api.get("/nowhere").await).status, 404);
    });
}

#[test]
fn operators_set_and_lift_bans_and_others_only_read_them() {
    let fixture = fixture();
    run(async {
        let api = fixture.operator();
        let ban: Ban = api
            .post("/api/v1/bans", &serde_json::json!({"client": "a b", "for_s": 60}))
            .await
            .unwrap();
        assert_eq!((ban.client.as_deref(), ban.by.as_str()), (Some("a b"), "operator"));
        let list: BanList = fixture.plain().get("/api/v1/bans").await.unwrap();
        assert_eq!(list.bans, [ban]);
        assert_eq!(problem(fixture.plain().delete("/api/v1/bans?client=a%20b").await).status, 403);
        let _: Ban = api.delete("/api/v1/bans?client=a%20b").await.unwrap();
        assert_eq!(problem(api.delete("/api/v1/bans?client=a%20b").await).status, 404);
        for (path, body) in [("client=a&user=b", "{}"), ("", "{\"address\": \"x\"}")] {
            assert_eq!(problem(api.delete(&format!("/api/v1/bans?{path}")).await).status, 400);
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem(api.post("/api/v1/bans", &body).await).status, 400);
        }
    });
}

#[test]
fn policies_are_put_in_the_place_of_what_was_seen() {
    let fixture = fixture();
    run(async {
        let (plain, api) = (fixture.plain(), fixture.operator());
        let path = "/api/v1/maintenance/policies/a%20b";
        let seen: PolicyDocument = plain.get(path).await.unwrap();
        assert_eq!(seen.revision, 7);
        let body = serde_json::json!({"text": "", "reason": "CHG-1"});
        assert_eq!(problem(plain.put(path, &body, Some(7)).await).status, 403);
        assert_eq!(problem(api.put(path, &body, None).await).status, 412);
        let put: PolicyAnswer = api.put(path, &body, Some(7)).await.unwrap();
        assert_eq!((put.policy.name.as_str(), put.policy.by.as_str()), ("a b", "operator"));
        let silent = serde_json::json!({"text": ""});
        assert_eq!(problem(api.put(path, &silent, Some(7)).await).status, 400);
        let large = serde_json::json!({"text": " ".repeat(200_000), "reason": "x"});
        let _: PolicyAnswer = api.put(path, &large, Some(7)).await.unwrap();
        assert_eq!(problem(api.delete(path).await).status, 400, "nobody says why");
        assert_eq!(problem(api.delete(&format!("{path}?reason=x")).await).status, 404);
    });
}

#[test]
fn clients_and_things_of_the_fleet_are_shown_and_changed() {
    let fixture = fixture();
    run(async {
        let (api, plain) = (fixture.operator(), fixture.plain());
        let page: ConnectionPage = plain.get("/api/v1/connections?max=1").await.unwrap();
        assert_eq!(page.connections[0].client_id, "a/b c");
        assert_eq!(page.next.as_deref(), Some("a/b c"));
        let path = "/api/v1/connections/a%2Fb%20c";
        let shown: ConnectionStatus = plain.get(path).await.unwrap();
        assert!(!shown.connected && shown.left.is_empty());
        assert_eq!(problem(plain.get("/api/v1/connections/x").await).status, 404);
        let filters: SubscriptionList = plain.get(&format!("{path}/subscriptions")).await.unwrap();
        assert_eq!(filters.subscriptions.len(), 1);
        assert_eq!(problem(plain.delete(path).await).status, 403);
        assert_eq!(problem(api.delete(path).await).status, 404);
        let kick = format!("{path}?clean_session=true&prevent_will=true");
        let sent: SentAway = api.delete(&kick).await.unwrap();
        assert!(sent.gateway.is_some());
        assert_eq!(problem(api.delete(&format!("{path}?hard=true")).await).status, 400);
        let page: ThingPage = plain.get("/api/v1/things?query=*").await.unwrap();
        assert_eq!(page.things[0].thing.name, "pump");
        assert_eq!(problem(plain.get("/api/v1/things?query=no").await).status, 400);
        let thing: ThingStatus = plain.get("/api/v1/things/pump").await.unwrap();
        assert_eq!(thing.thing.created_at_ms, Some(1));
        let things = serde_json::json!({"things": [{"name": "a"}, {"name": "b"}]});
        let put: ThingsAnswer = api.post("/api/v1/things", &things).await.unwrap();
        assert_eq!(put.things, [PutThing::Known; 2]);
        let none = serde_json::json!({"things": []});
        assert_eq!(problem(api.post("/api/v1/things", &none).await).status, 400);
        let gone: ThingDocument = api.delete("/api/v1/things/pump").await.unwrap();
        assert_eq!(gone.name, "pump");
    });
}

#[test]
fn the_description_lists_every_route_and_no_other() {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let described: BTreeMap<String, BTreeSet<String>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys().map(|m| m.to_uppercase());
            (path.clone(), methods.collect())
        })
        .collect();
    let routes: BTreeSet<String> =
        routes::routes().into_iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), routes);
    let fixture = fixture();
    run(async {
        let api = fixture.operator();
        for (path, methods) in &described {
            // The answer of this one would never end.
            let without_end = path == "/api/v1/maintenance/events";
            let path = &if without_end { format!("{path}?after=soon") } else { path.clone() };
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let (status, _) = api.raw(method.clone(), path, Vec::new()).await.unwrap();
                let known = methods.contains(method.as_str());
                assert_eq!(status != 405, known, "{method} {path} answers {status}");
            }
        }
    });
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let text = openapi();
    for reference in text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn a_page_whose_name_points_here_reads_nothing() {
    use std::io::{Read as _, Write as _};
    let fixture = fixture();
    let mut stream = std::net::TcpStream::connect(fixture.http.address()).unwrap();
    stream
        .write_all(
            b"GET /api/v1/clients HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let fixture = fixture();
    let silent = |_| std::net::TcpStream::connect(fixture.http.address()).unwrap();
    let silent: Vec<_> = (0..300).map(silent).collect();
    run(async {
        let (status, _) = fixture.plain().raw(Method::GET, "/healthz", Vec::new()).await.unwrap();
        assert_eq!(status, 200, "beside {} silent ones", silent.len());
        let gateway: GatewayStatus = fixture.operator().get("/api/v1/gateway").await.unwrap();
        assert_eq!(gateway.id, "gw-1");
    });
}

/// What somebody on another machine is answered, who may be known by a certificate.
async fn from_beyond(path: &str, identity: Option<Role>) -> axum::response::Response {
    let identity = identity.map(|role| (role, "somebody".to_owned()));
    let caller = Caller { remote: ([192, 0, 2, 1], 9).into(), secure: true, identity };
    let request = hyper::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let service = routes::service(routes::router(shared(None)), caller);
    service.call(request).await.unwrap()
}

/// What routes need, of a gateway whose calendars these may read by tokens.
fn shared(subscribers: Option<Arc<subscribers::Subscribers>>) -> routes::Shared {
    let control = Pretender::default();
    let token = FeedToken {
        name: "wall".to_owned(),
        selector: "region=eu".parse().unwrap(),
        until_ms: None,
        reason: "a screen".to_owned(),
        by: "ada".to_owned(),
        since_ms: 1,
        revision: 1,
    };
    control.tokens.lock().unwrap().push(StoredFeedToken::new(token, SECRET));
    let (control, metrics) = (Arc::new(control), Metrics::new(1));
    let (streams, tale) = (events::places(), tried::place());
    routes::Shared { control, metrics, streams, tale, subscribers }
}

const SECRET: &str = "0123456789abcdef";

/// What somebody without a certificate is answered about a calendar.
async fn subscribed(
    shared: &routes::Shared,
    (remote, secure): ([u8; 4], bool),
    secret: &str,
    seen: &str,
) -> axum::response::Response {
    let caller = Caller { remote: (remote, 9).into(), secure, identity: None };
    let request = hyper::Request::get(format!("/feeds/{secret}/maintenance.ics"))
        .header("host", "localhost:18083")
        .header("if-none-match", seen)
        .body(axum::body::Body::empty())
        .unwrap();
    let service = routes::service(routes::router(shared.clone()), caller);
    service.call(request).await.unwrap()
}

#[test]
fn a_calendar_is_read_by_a_token_where_that_is_on_and_from_beyond_with_tls_only() {
    const BEYOND: [u8; 4] = [192, 0, 2, 1];
    const HERE: [u8; 4] = [127, 0, 0, 1];
    let (off, on) = (shared(None), shared(Some(Arc::new(subscribers::Subscribers::new()))));
    run(async {
        let status = async |shared, from, secret| {
            subscribed(shared, from, secret, "").await.status().as_u16()
        };
        assert_eq!(status(&off, (BEYOND, true), SECRET).await, 403);
        assert_eq!(status(&off, (HERE, false), SECRET).await, 404);
        assert_eq!(status(&on, (BEYOND, false), SECRET).await, 403, "not in clear");
        assert_eq!(status(&on, (HERE, false), SECRET).await, 200);
        for wrong in ["0", "0123456789abcdeF", "%ff", "wall"] {
            let answer = status(&on, (BEYOND, true), wrong).await;
            assert!(matches!(answer, 400 | 403), "{wrong}: {answer}");
        }
        let answer = subscribed(&on, (BEYOND, true), SECRET, "").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/calendar; charset=utf-8");
        assert_eq!(answer.headers()["cache-control"], "private, no-cache");
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let again = subscribed(&on, (BEYOND, true), SECRET, &tag).await;
        assert_eq!(again.status(), 304);
        assert_eq!(again.headers()["etag"], tag);
        // A secret opens nothing else.
        let path = format!("/api/v1/gateway?token={SECRET}");
        assert_eq!(from_beyond(&path, None).await.status(), 403);
    });
}

#[test]
fn who_reads_a_calendar_too_often_has_to_wait_and_who_knows_no_token_waits_for_nothing() {
    let shared = shared(Some(Arc::new(subscribers::Subscribers::new())));
    run(async {
        let from = ([192, 0, 2, 1], true);
        assert_eq!(subscribed(&shared, from, SECRET, "").await.status(), 200);
        shared.subscribers.as_ref().unwrap().exhaust("wall");
        let answer = subscribed(&shared, from, SECRET, "").await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "60");
        assert_eq!(subscribed(&shared, from, "0", "").await.status(), 403);
    });
}

#[test]
fn from_beyond_only_health_is_for_everybody_and_who_may_not_has_to_go() {
    run(async {
        for path in ["/healthz", "/readyz", "/api/v1/openapi.json"] {
            assert_eq!(from_beyond(path, None).await.status(), 200, "{path}");
        }
        for path in ["/metrics", "/api/v1/clients", "/nowhere"] {
            for identity in [None, Some(Role::Device)] {
                let refused = from_beyond(path, identity).await;
                assert_eq!(refused.status(), 403, "{path}");
                assert_eq!(refused.headers()[hyper::header::CONNECTION], "close", "{path}");
            }
        }
        for role in [Role::Operator, Role::Gateway] {
            assert_eq!(from_beyond("/metrics", Some(role)).await.status(), 200);
        }
    });
}
