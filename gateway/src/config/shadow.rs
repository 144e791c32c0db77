//! What a shadow may be, and how fast it may be asked.

use std::time::Duration;

use shadow::{RequestRates, ScribeLimits, ShadowLimits, WatcherLimits};

use super::settings::section;
use crate::hub::ShadowRules;

section! {
    /// Shadows of things, as AWS has them. What is beyond a limit is answered on the topic `rejected`.
    #[derive(Copy, Eq)]
    pub struct ShadowSettings in "shadow" {
        /// Bytes of desired and reported together, as compact JSON without metadata; more are refused (413).
        document_bytes: u32 = 8_192, "bytes", "what AWS grants; its devices count on no more" in 64..=1_048_576;
        /// Bytes of one request; a longer one is refused (413).
        request_bytes: u32 = 131_072, "bytes", "what AWS takes in one packet" in 64..=16_777_216;
        /// How deep objects and arrays may lie in desired or reported; deeper is refused (400).
        nesting: u16 = 8, "levels", "what AWS grants" in 1..=32;
        /// Length of a client token; a longer one is refused (400).
        token_bytes: u16 = 64, "bytes", "what AWS grants" in 1..=1_024;
        /// Named shadows of one thing; 0 is no limit. One more is refused (400).
        named_shadows: u32 = 100, "shadows", "far more than AWS's own services keep of a device; AWS itself names no number" in 0..=1_000_000;
        /// How long the version of a deleted shadow is known, so that one created again goes on from there.
        tombstone_s: u32 = 172_800, "seconds", "two days, as with AWS" in 60..=31_536_000;
        /// Requests per second of one connection about one thing; 0 is no limit. More are refused (429).
        requests_per_s: u32 = 20, "requests per second", "what AWS grants" in 0..=1_000_000;
        /// The same at once, after a rest.
        requests_burst: u32 = 20, "requests", "one second's worth" in 1..=1_000_000;
        /// Requests of one connection about one thing that are not answered yet; 0 is no limit. More are refused (429).
        requests_in_flight: u32 = 10, "requests", "what AWS grants" in 0..=1_000_000;
        /// Requests of one worker's things that are not answered yet; more are refused (503).
        requests_waiting: u32 = 100_000, "requests", "some seconds of what a disk takes" in 1..=10_000_000;
        /// Requests about one shadow that wait for their turn; more are refused (429).
        requests_waiting_per_shadow: u32 = 64, "requests", "one write of a busy shadow" in 1..=100_000;
        /// Shadows of one worker's things that somebody here watches; of more it is not told here what other gateways make of them.
        watched_shadows: u32 = 100_000, "shadows", "more than one worker serves who watch" in 1..=10_000_000;
        /// Memory of one worker for the documents of shadows whose `documents` somebody here watches; beyond it the `previous` of a change by another gateway is left out.
        watched_bytes: u64 = 67_108_864, "bytes", "64 MiB, small documents of all that may be watched" in 0..=1_099_511_627_776;
    }
}

impl ShadowSettings {
    /// What holds for shadows.
    pub fn rules(&self) -> ShadowRules {
        let limits = ShadowLimits {
            request_bytes: self.request_bytes as usize,
            document_bytes: self.document_bytes as usize,
            nesting: usize::from(self.nesting),
            token_bytes: usize::from(self.token_bytes),
            named_shadows: self.named_shadows as usize,
            tombstone: Duration::from_secs(u64::from(self.tombstone_s)),
        };
        let rates = RequestRates {
            per_s: self.requests_per_s,
            burst: self.requests_burst,
            in_flight: self.requests_in_flight,
        };
        let scribe = ScribeLimits {
            requests: self.requests_waiting as usize,
            requests_per_shadow: self.requests_waiting_per_shadow as usize,
            ..ScribeLimits::default()
        };
        let watcher = WatcherLimits {
            shadows: self.watched_shadows as usize,
            bytes: usize::try_from(self.watched_bytes).unwrap_or(usize::MAX),
            tombstone: limits.tombstone,
        };
        ShadowRules { limits, rates, scribe, watcher }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_what_aws_grants() {
        let rules = ShadowSettings::default().rules();
        assert_eq!(rules.limits, ShadowLimits::default());
        assert_eq!(rules.rates, RequestRates::default());
        assert_eq!(rules.scribe, ScribeLimits::default());
        assert_eq!(rules.watcher, WatcherLimits::default());
    }
}
