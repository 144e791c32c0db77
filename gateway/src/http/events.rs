//! What happens, as it happens: the audit as a stream of events, and that the plan is another one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::maintenance::audit::AuditEntry;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use super::problem::Problem;
use super::routes::{Shared, ask};
use crate::scheduler::PlanNews;

/// Streams that are served at once.
pub(super) const STREAMS: usize = 32;
/// Time between two looks at the audit.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries that are read at once: one who reads slowly has no more of them waiting here.
const PAGE: usize = 100;
/// An empty line at least so often, so that both sides see that the other is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![("/api/v1/maintenance/events", get(events))]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsAsked {
    after: Option<u64>,
}

async fn events(
    State(shared): State<Shared>,
    headers: HeaderMap,
    asked: Result<Query<EventsAsked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let after = match headers.get("last-event-id") {
        Some(seen) => {
            let seen = seen.to_str().ok().and_then(|seen| seen.trim().parse().ok());
            Some(seen.ok_or_else(|| Problem::invalid("last-event-id is a number"))?)
        }
        None => asked.after,
    };
    let place = Arc::clone(&shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy(format!("{STREAMS} streams are open")))?;
    let seen = match after {
        // What became of the plan meanwhile is nowhere written: it is told as it stands.
        Some(after) => Seen { after, plan: 0 },
        // Who has seen nothing is told what happens from now on.
        None => {
            let after = ask(&shared, |control| control.audit(0, 1)).await??.head.seq;
            let news = ask(&shared, |control| control.maintenance().plan_news()).await??;
            Seen { after, plan: news.map_or(0, |news| news.revision) }
        }
    };
    let (sender, events) = mpsc::channel(1);
    tokio::spawn(follow(shared, seen, sender, place));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::new(Events(events))).into_response())
}

/// What whoever follows knows: up to which entry of the audit, and which plan.
struct Seen {
    after: u64,
    plan: u64,
}

/// Sends what is in the audit behind that entry, and that the plan is another one, until nobody listens.
async fn follow(
    shared: Shared,
    mut seen: Seen,
    events: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    // A comment: the other side sees at once that it is served.
    let mut next: Option<String> = Some(":\n\n".to_owned());
    let mut last = Instant::now();
    loop {
        if let Some(text) = next.take() {
            last = Instant::now();
            if events.send(text.into()).await.is_err() {
                return;
            }
        }
        let after = seen.after;
        let page = ask(&shared, move |control| control.audit(after, PAGE)).await;
        if let Ok(Ok(page)) = page
            && let Some(end) = page.entries.last()
        {
            seen.after = end.seq;
            next = Some(page.entries.iter().map(event).collect());
            continue;
        }
        let news = ask(&shared, |control| control.maintenance().plan_news()).await;
        if let Ok(Ok(Some(news))) = news
            && news.revision > seen.plan
        {
            seen.plan = news.revision;
            next = Some(plan_changed(&news));
            continue;
        }
        tokio::select! {
            () = events.closed() => return,
            () = sleep(PAUSE) => {}
        }
        next = (last.elapsed() >= SIGN_OF_LIFE).then(|| ":\n\n".to_owned());
    }
}

fn event(entry: &AuditEntry) -> String {
    let data = serde_json::to_string(entry).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", entry.seq, entry.record.action)
}

/// It has no number: who comes back names the last entry of the audit.
fn plan_changed(news: &PlanNews) -> String {
    let data = serde_json::to_string(news).unwrap_or_default();
    format!("event: plan.changed\ndata: {data}\n\n")
}

/// The body of an answer that goes on.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// As many places as there are streams.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(STREAMS))
}
