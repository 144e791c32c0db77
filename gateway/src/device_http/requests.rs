//! A request, from its head to its answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{ClassLimits, Denial};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, Request};
use protocol::{Now, QoS};
use shadow::{Call, Operation, ThingName};
use tokio::sync::SemaphorePermit;

use super::answer::{Answer, CallRefusal};
use super::caller::Caller;
use super::listener::Desk;
use super::paces::Pending;
use super::rules::DeviceRules;
use super::searches::Searches;
use super::{connections, publish, retained, shadows};
use crate::authentication::NotIdentified;
use crate::control::ControlError;
use crate::front::Admission;
use crate::hub::{Post, Tables};
use crate::presence::{ClientControl, SendAwayRequest};
use crate::shadows::Shadows;
use crate::tail::worker_of;
use crate::worker::Mail;

/// What one request is answered with: who asks, and what it may look at.
pub(super) struct Asked<'a> {
    pub(super) caller: &'a Caller,
    pub(super) headers: &'a HeaderMap,
    pub(super) now: Now,
    desk: &'a Desk,
}

impl Asked<'_> {
    /// What holds for callers now.
    pub(super) fn rules(&self) -> &DeviceRules {
        &self.desk.rules
    }

    /// What the workers share.
    pub(super) fn tables(&self) -> &Tables {
        &self.desk.shared.tables
    }

    /// How far was looked for callers who have found nothing yet.
    pub(super) fn searches(&self) -> &Mutex<Searches> {
        &self.desk.searches
    }

    /// How much whoever asks may do.
    pub(super) fn limits(&self) -> Arc<ClassLimits> {
        Arc::clone(self.rules().classes().limits_of(&self.caller.identity))
    }

    /// Whether a publication of so many bytes keeps the pace.
    pub(super) fn in_pace(&self, bytes: usize, limits: &ClassLimits) -> Result<(), CallRefusal> {
        let mut paces = self.desk.paces.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(paces.publication(self.caller.client(), (bytes, limits), self.now.mono)?)
    }

    /// Whether whoever asks may publish there; what it may not, the audit log is told.
    pub(super) fn may_publish(
        &self,
        action: &str,
        what: (&str, QoS, bool),
    ) -> Result<(), CallRefusal> {
        let may = self.caller.may_publish(what, self.rules());
        may.map_err(|denial| self.denied(action, what.0, &denial))
    }

    /// Whether whoever asks may read all that a filter matches; what it may not, the audit log is told.
    pub(super) fn may_read(&self, action: &str, filter: &str) -> Result<(), CallRefusal> {
        let may = self.caller.may_read(filter, self.rules());
        may.map_err(|denial| self.denied(action, filter, &denial))
    }

    /// Where shadows are asked for.
    pub(super) fn shadows(&self) -> &Shadows {
        self.desk.control.shadows()
    }

    /// One more request about a thing, until what is given back is dropped; none if it is one too many.
    pub(super) fn begin_about(&self, thing: ThingName<'_>) -> Option<Pending<'_>> {
        let of = (self.caller.client().clone(), thing.as_str().into());
        Pending::begin(&self.desk.shadow_paces, of, &self.rules().shadow_rates, self.now.mono)
    }

    /// Asks about clients and things of the fleet, on a thread that may wait.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn ClientControl) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, CallRefusal> {
        let control = Arc::clone(&self.desk.control);
        let asked = tokio::task::spawn_blocking(move || question(control.clients_of_fleet()));
        let answer = asked.await.map_err(|_| CallRefusal::internal("it could not be asked"))?;
        Ok(answer?)
    }

    /// A place among the calls that wait for another gateway, or for a client.
    pub(super) fn wait(&self) -> Result<SemaphorePermit<'_>, CallRefusal> {
        let full = |_| CallRefusal::throttled("too many calls wait for an answer");
        self.desk.waiting.try_acquire().map_err(full)
    }

    /// Hands a publication to the worker of whoever asks.
    pub(super) fn post(&self, post: Post) {
        let mailboxes = &self.desk.shared.mailboxes;
        let worker = worker_of(self.caller.client(), mailboxes.len());
        if let Some(mailbox) = mailboxes.get(usize::from(worker)) {
            mailbox.send(Mail::Post(Box::new(post)));
        }
    }

    /// What whoever asks has no right to, which the audit log is told.
    pub(super) fn denied(&self, action: &str, topic: &str, denial: &Denial) -> CallRefusal {
        if self.desk.lines.admits(self.now.wall.0 / 1000, "denials of calls") {
            let identity = &self.caller.identity;
            let rule = denial.source.as_deref().map(ToString::to_string);
            tracing::info!(
                target: "audit", client_id = identity.client.as_str(), user = identity.user.as_deref(),
                action, topic, reason = denial.cause.as_str(), rule, "a call is denied: {denial}"
            );
        }
        CallRefusal::forbidden(denial.to_string())
    }
}

/// Answers one request of a connection; of one that is not known who it is, with that.
pub(super) async fn answer(
    desk: &Desk,
    caller: Result<&Caller, NotIdentified>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let call = Call::parse(request.method().as_str(), path, query);
    let name = call.as_ref().map_or("none", Call::name);
    let answered = match (call, caller) {
        (_, Err(why)) => Err(why.into()),
        (Err(fault), Ok(_)) => Err(fault.into()),
        (Ok(call), Ok(caller)) => perform(desk, caller, call, request).await,
    };
    let answer = answered.unwrap_or_else(CallRefusal::into_answer);
    desk.metrics.calls().count(name, answer.status().as_u16());
    Ok(answer)
}

async fn perform(
    desk: &Desk,
    caller: &Caller,
    call: Call,
    request: Request<Incoming>,
) -> Result<Answer, CallRefusal> {
    let now = desk.shared.now();
    admit(desk, caller, now)?;
    let (head, body) = request.into_parts();
    let body = if head.method == Method::GET { Bytes::new() } else { read(desk, body).await? };
    let asked = Asked { caller, headers: &head.headers, now, desk };
    let patience = desk.config.answer + receiver_has(&call);
    let answered = tokio::time::timeout(patience, dispatch(&asked, call, body)).await;
    answered.unwrap_or_else(|_| Err(CallRefusal::unavailable("no answer in time")))
}

/// How long the receiver of a message may take, besides the time that an answer has.
const fn receiver_has(call: &Call) -> Duration {
    if let Call::SendMessage { timeout, .. } = call { *timeout } else { Duration::ZERO }
}

/// Whether a request is taken at all.
fn admit(desk: &Desk, caller: &Caller, now: Now) -> Result<(), CallRefusal> {
    if caller.is_expired(now.wall) {
        return Err(CallRefusal::unauthorized("what let it in is over: connect again"));
    }
    if desk.front.ban_of(&caller.identity).is_some() {
        return Err(CallRefusal::forbidden("banned").closing());
    }
    match desk.front.admission() {
        // A client that is sent elsewhere needs its answer all the same.
        Admission::Open | Admission::Warming | Admission::Elsewhere => {}
        Admission::NotYet | Admission::Closed => {
            return Err(CallRefusal::unavailable("this gateway serves nobody now").closing());
        }
    }
    let mut paces = desk.paces.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(paces.request(caller.client(), now.mono)?)
}

/// The whole body, of as many bytes as it may have, in the time that it may take.
async fn read(desk: &Desk, body: Incoming) -> Result<Bytes, CallRefusal> {
    let whole = tokio::time::timeout(desk.config.body, collect(body, desk.config.body_bytes));
    whole.await.unwrap_or_else(|_| Err(CallRefusal::late()))
}

/// Of a body that is too large so much is read all the same: a client that still sends may not hear the answer.
const READ_FOR_NOTHING: usize = 1 << 20;

async fn collect(mut body: Incoming, most: usize) -> Result<Bytes, CallRefusal> {
    let patience = most + READ_FOR_NOTHING;
    let (mut whole, mut len) = (Vec::new(), 0_usize);
    if body.size_hint().lower() > patience as u64 {
        return Err(CallRefusal::too_large());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| CallRefusal::invalid("the body is not whole").closing())?;
        // What follows a body in pieces means nothing here.
        let Ok(data) = frame.into_data() else { continue };
        len = len.saturating_add(data.len());
        if len <= most {
            whole.extend_from_slice(&data);
        } else if len > patience {
            break;
        }
    }
    if len > most { Err(CallRefusal::too_large()) } else { Ok(whole.into()) }
}

async fn dispatch(asked: &Asked<'_>, call: Call, body: Bytes) -> Result<Answer, CallRefusal> {
    match call {
        Call::Publish(call) => publish::publish(asked, call, body).await,
        Call::GetRetained(topic) => retained::get(asked, &topic),
        Call::ListRetained(page) => retained::list(asked, page).await,
        Call::GetShadow(key) => shadows::ask(asked, key, (Operation::Get, b"")).await,
        Call::UpdateShadow(key) => shadows::ask(asked, key, (Operation::Update, &body)).await,
        Call::DeleteShadow(key) => shadows::ask(asked, key, (Operation::Delete, b"")).await,
        Call::ListNamedShadows(key, page) => shadows::names(asked, &key, page).await,
        Call::GetConnection { client, with_socket } => {
            connections::get(asked, client, with_socket).await
        }
        Call::DeleteConnection { client, clean_session, prevent_will } => {
            let how = SendAwayRequest { clean_session, prevent_will };
            connections::end(asked, client, how).await
        }
        Call::ListSubscriptions(client, page) => {
            connections::subscriptions(asked, client, page).await
        }
        Call::SendMessage { client, message, timeout } => {
            connections::give(asked, (client, message), timeout, &body).await
        }
    }
}
