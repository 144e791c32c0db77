//! Whom maintenance tells outside of the fleet what happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::endpoint::{Endpoint, WrittenEndpoint, endpoint};
use super::fault::Fault;
use super::settings::section;

section! {
    /// Whom maintenance tells over HTTP what happens: each entry of the audit, signed, until it is taken.
    pub struct WebhookSection in "maintenance.webhook" {
        /// Where each entry is posted to, by the gateway that is the scheduler.
        url: Option<String> = None, "URL", "absent: nobody is told" shown "\"https://hooks.example/tidegate\"";
        /// File with the secret that entries are signed with; at least 16 bytes, read again for each.
        secret: Option<PathBuf> = None, "path", "who is told must know who says so" shown "\"webhook.secret\"";
        /// Authority of its certificate, PEM; needed for `https`.
        ca: Option<PathBuf> = None, "path", "no authority is trusted by itself" shown "\"hooks-ca.pem\"";
        /// Time for an answer.
        timeout_ms: u32 = 10_000, "milliseconds", "who takes longer is asked again" in 100..=60_000;
        /// Longest rest before an entry that was not taken is sent again; the first one is a second, and each is twice the one before.
        retry_s: u32 = 300, "seconds", "who is back is told within minutes" in 1..=86_400;
        /// Entries that may wait; of more, the oldest are never sent.
        backlog: u32 = 10_000, "entries", "weeks of a busy fleet; the audit keeps them for longer" in 1..=1_000_000;
    }
}

/// Whom maintenance tells what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The file of the secret.
    pub secret: PathBuf,
    /// Time for an answer.
    pub timeout: Duration,
    /// Longest rest before something is sent again.
    pub slowest: Duration,
    /// Entries that may wait.
    pub backlog: u64,
}

impl WebhookSection {
    /// As meant; notes what is wrong with it.
    pub(super) fn resolve(&self, base: &Path, faults: &mut Vec<Fault>) -> Option<Webhook> {
        let section = "maintenance.webhook";
        let url = self.url.as_deref()?;
        let shown = "who does what to the fleet";
        let written = WrittenEndpoint { section, url, ca: self.ca.as_ref(), shown };
        let endpoint = endpoint(&written, base, faults);
        let Some(secret) = &self.secret else {
            faults.push(Fault::new("maintenance.webhook.secret", "is needed beside url"));
            return None;
        };
        Some(Webhook {
            endpoint: endpoint?,
            secret: base.join(secret),
            timeout: Duration::from_millis(self.timeout_ms.into()),
            slowest: Duration::from_secs(self.retry_s.into()),
            backlog: self.backlog.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_needs_a_secret_and_tells_nothing_in_the_clear() {
        let resolved = |text: &str| {
            let mut faults = Vec::new();
            let written: WebhookSection = toml::from_str(text).unwrap();
            let meant = written.resolve(Path::new("/base"), &mut faults);
            (meant, faults.iter().map(Fault::to_string).collect::<Vec<_>>())
        };
        assert_eq!(resolved(""), (None, Vec::new()));
        let (meant, faults) = resolved("url = \"http://127.0.0.1:9/x\"\nsecret = \"s\"\n");
        let meant = meant.unwrap();
        assert_eq!((meant.endpoint.path.as_str(), faults.len()), ("/x", 0));
        assert_eq!(meant.secret, Path::new("/base/s"));
        let silent = resolved("url = \"http://127.0.0.1:9/x\"\n");
        assert!(silent.1[0].starts_with("maintenance.webhook.secret"), "{silent:?}");
        let clear = resolved("url = \"http://hooks.example/\"\nsecret = \"s\"\n");
        assert!(clear.1[0].contains("without TLS"), "{clear:?}");
    }
}
