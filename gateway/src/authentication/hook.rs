//! The hook over HTTP or HTTPS.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use access::{CachedAnswer, HookAllows, HookAnswer, HookCache, HookError, HookKey, WhenDown};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use protocol::{Now, Wall};

use super::NotIdentified;
use super::shares::Shares;
use crate::config::Hook;
use crate::line_limit::LineLimit;
use crate::outbound::{Outbound, OutboundTlsError, Unanswered};

/// The hook, and what it said.
pub(super) struct HookClient {
    config: Hook,
    to: Outbound,
    open: Shares,
    failures: LineLimit,
    cache: Mutex<HookCache>,
    /// Keeps what is remembered from being read.
    secret: [u8; 32],
}

impl std::fmt::Debug for HookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why there is no answer that counts. The hook's fault, or the network's.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("answers badly: {0}")]
    Answer(#[from] HookError),
}

/// The largest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

impl HookClient {
    pub(super) fn new(config: Hook, secret: [u8; 32]) -> Result<Self, OutboundTlsError> {
        let to = Outbound::new(&config.host, config.port, config.ca.as_deref())?;
        let cache = Mutex::new(HookCache::new(config.answers, config.fresh));
        let (open, failures) = (Shares::new(config.at_once), LineLimit::default());
        Ok(Self { config, to, open, failures, cache, secret })
    }

    pub(super) const fn config(&self) -> &Hook {
        &self.config
    }

    /// What the hook says to a question about somebody of this address, now or a while ago; `None` if it is down and
    /// everybody comes in then.
    pub(super) async fn ask(
        &self,
        body: Vec<u8>,
        address: Option<IpAddr>,
        now: Now,
    ) -> Result<Option<HookAllows>, NotIdentified> {
        let key = HookKey::of(&body, &self.secret);
        let remembered = self.cache().get(key, now);
        if let CachedAnswer::Fresh(answer) = remembered {
            return decided(answer).map(Some);
        }
        let _place = self.open.take(address).ok_or(NotIdentified::Busy)?;
        match self.exchange(body, now.wall).await {
            Ok(answer) => {
                self.cache().put(key, answer.clone(), now);
                decided(answer).map(Some)
            }
            Err(unanswered) => {
                if self.failures.admits(now.wall.0 / 1000, "failures of the hook") {
                    tracing::warn!("the hook {unanswered}");
                }
                match (self.config.when_down, remembered) {
                    (WhenDown::Allow, CachedAnswer::Stale(HookAnswer::Allow(allows))) => {
                        Ok(Some(allows))
                    }
                    (WhenDown::Allow, _) => Ok(None),
                    (WhenDown::LastAnswer, CachedAnswer::Stale(answer)) => {
                        decided(answer).map(Some)
                    }
                    (WhenDown::LastAnswer | WhenDown::Deny, _) => Err(NotIdentified::HookDown),
                }
            }
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HookCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, body: Vec<u8>, now: Wall) -> Result<HookAnswer, NoAnswer> {
        let request = Request::post(&self.config.path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(Unanswered::from)?;
        let (status, body) = self.to.ask(request, (self.config.timeout, ANSWER_BYTES)).await?;
        Ok(HookAnswer::parse(status, &body, now)?)
    }
}

fn decided(answer: HookAnswer) -> Result<HookAllows, NotIdentified> {
    match answer {
        HookAnswer::Allow(allows) => Ok(allows),
        HookAnswer::Deny => Err(NotIdentified::Hook),
    }
}
