//! Tells somebody outside of the fleet what happens: each entry of the audit is posted, signed, until it is taken.
//!
//! Only the scheduler's gateway tells. What it has told it notes afterwards, so that nothing is left out when another gateway goes
//! on: an entry may come twice, and has an id by which that is seen.

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use maintenance::audit::AuditEntry;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::ask::SchedulerSender;
use super::outgoing::Outgoing;
use super::thread::Scheduler;
use crate::async_thread::AsyncThread;
use crate::config::Webhook;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundTlsError, Unanswered};
use crate::text::hexadecimal;

/// Time between two looks at what there is to tell.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest answer that is read; nobody looks at what it says.
const ANSWER_BYTES: usize = 64 * 1024;
/// What happens when there is another plan.
pub(super) const PLAN_CHANGED: &str = "plan.changed";
/// A secret that can be guessed is none.
const SECRET_BYTES: usize = 16;

/// Tells, on a thread of its own.
pub(super) struct Messenger {
    webhook: Webhook,
    to: Outbound,
    fleet: String,
    scheduler: SchedulerSender,
    metrics: Metrics,
}

/// Why an entry was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0}")]
    Unanswered(#[from] Unanswered),
    #[error("answers with status {0}")]
    Status(u16),
    #[error("the secret cannot be read: {0}")]
    Secret(#[from] std::io::Error),
    #[error("the secret has less than {SECRET_BYTES} bytes")]
    Short,
    #[error("the entry cannot be sent: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Messenger {
    /// Tells whom the configuration says.
    pub(super) fn new(
        webhook: Webhook,
        fleet: String,
        scheduler: SchedulerSender,
        metrics: Metrics,
    ) -> Result<Self, OutboundTlsError> {
        let endpoint = &webhook.endpoint;
        let to = Outbound::new(&endpoint.host, endpoint.port, endpoint.ca.as_deref())?;
        Ok(Self { webhook, to, fleet, scheduler, metrics })
    }

    /// Starts the thread; what was not taken when it ends waits for the next scheduler.
    pub(super) fn spawn(self) -> std::io::Result<AsyncThread> {
        AsyncThread::start("messenger", async move |stopped| {
            tokio::select! {
                _ = stopped => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let mut rests = Rests::default();
        loop {
            sleep(rests.next(self.webhook.slowest)).await;
            let backlog = self.webhook.backlog;
            let outgoing = self.scheduler.act(move |scheduler| scheduler.outgoing(backlog));
            // Who cannot be asked is asked again.
            let Ok(Some(outgoing)) = outgoing else {
                rests.handle(self.tell_plan().await);
                continue;
            };
            self.tell(&outgoing, &mut rests).await;
        }
    }

    /// Tells one after the other, up to the first that is not taken.
    async fn tell(&self, outgoing: &Outgoing, rests: &mut Rests) {
        let counters = self.metrics.process();
        if outgoing.dropped > 0 {
            counters.webhook_dropped.add(outgoing.dropped);
            tracing::error!(
                "{} entries of the audit are never told: too many wait",
                outgoing.dropped
            );
        }
        counters.webhook_waiting.set(outgoing.waiting);
        for (entry, waiting) in outgoing.entries.iter().zip((0..outgoing.waiting).rev()) {
            if let Err(why) = self.post(entry).await {
                counters.webhook_failures.add(1);
                tracing::warn!("entry {} of the audit was not taken: {why}", entry.seq);
                return rests.handle(false);
            }
            rests.handle(true);
            counters.webhook_told.add(1);
            counters.webhook_waiting.set(waiting);
            let seq = entry.seq;
            // What is not noted is told again.
            let _ = self.scheduler.act(move |scheduler| scheduler.note_told(seq));
        }
    }

    /// Whether the webhook knows the newest plan.
    async fn tell_plan(&self) -> bool {
        // Who cannot be asked is asked again.
        let Ok(Some(news)) = self.scheduler.act(Scheduler::outgoing_news) else { return true };
        let id = format!("{}-plan-{}", self.fleet, news.revision);
        let body = json!({"id": id, "fleet": self.fleet, "plan": news});
        if let Err(why) = self.send((PLAN_CHANGED, &id), &body).await {
            self.metrics.process().webhook_failures.add(1);
            tracing::warn!("that the plan is another one was not taken: {why}");
            return false;
        }
        // What is not noted is told again.
        let _ = self.scheduler.act(move |it| it.documents.note_news(news.revision));
        true
    }

    async fn post(&self, entry: &AuditEntry) -> Result<(), NotTaken> {
        let hash: String = entry.hash.to_string().chars().take(16).collect();
        let id = format!("{}-{}-{hash}", self.fleet, entry.seq);
        let body = json!({"id": id, "fleet": self.fleet, "entry": entry});
        self.send((&entry.record.action, &id), &body).await
    }

    /// Sends what has happened, by what name and with which id.
    async fn send(&self, (event, id): (&str, &str), body: &Value) -> Result<(), NotTaken> {
        let secret = std::fs::read(&self.webhook.secret)?;
        let secret = secret.trim_ascii();
        if secret.len() < SECRET_BYTES {
            return Err(NotTaken::Short);
        }
        let body = body.to_string();
        let request = Request::post(&self.webhook.endpoint.path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("tidegate-event", event)
            .header("tidegate-event-id", id)
            .header("tidegate-signature", format!("sha256={}", signature(secret, body.as_bytes())))
            .body(Full::new(Bytes::from(body)))?;
        let (status, _) = self.to.ask(request, (self.webhook.timeout, ANSWER_BYTES)).await?;
        if (200..300).contains(&status) { Ok(()) } else { Err(NotTaken::Status(status)) }
    }
}

/// How long it rests before it tells what is next.
#[derive(Debug, Default)]
struct Rests {
    /// Times that nothing was taken, since something was.
    failures: u32,
}

impl Rests {
    /// Something was taken, or was not.
    const fn handle(&mut self, is_taken: bool) {
        self.failures = if is_taken { 0 } else { self.failures.saturating_add(1) };
    }

    /// Each rest is twice the one before, and at most the slowest.
    fn next(&self, slowest: Duration) -> Duration {
        PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(slowest)
    }
}

/// HMAC-SHA-256 of the body, in hexadecimal digits.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hexadecimal(hmac::sign(&key, body).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_doubles_until_something_is_taken_and_begins_anew_behind_it() {
        let slowest = 20 * PAUSE;
        let mut rests = Rests::default();
        let mut refused = |times: u32, is_taken| {
            (0..times).for_each(|_| rests.handle(false));
            let rest = rests.next(slowest);
            rests.handle(is_taken);
            rest
        };
        assert_eq!(refused(5, true), 16 * PAUSE);
        assert_eq!(refused(1, true), PAUSE, "the next entry has a history of its own");
        assert_eq!(refused(30, true), slowest);
        assert_eq!(refused(0, false), PAUSE);
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }
}
