//! How long a client may go back to what it has acknowledged.

use std::time::Duration;

use super::settings::section;

section! {
    /// Clients that ask for it are shown positions, and go on behind one that they show.
    #[derive(Copy, Eq)]
    pub struct ResumeSettings in "resume" {
        /// How long messages that a client has acknowledged are kept for it, and with them everything that was stored since; 0 means that positions are not to be had.
        keep_s: u32 = 600, "seconds", "a program that is restarted, or rolled back to its last saved state" in 0..=604_800;
        /// Messages kept of one session beyond those that wait; then the oldest are forgotten. 8 bytes each in every gateway.
        keep_messages: u32 = 10_000, "messages", "a tenth of what may wait for it" in 1..=100_000_000;
        /// After so long without a message a client is shown a newer position, so that its own does not age out. Should be well below `keep_s`.
        advance_s: u32 = 30, "seconds", "twice within the minute that a client may count on" in 1..=3_600;
    }
}

impl ResumeSettings {
    /// How often a client without messages is shown a newer position; none if positions are not to be had.
    pub fn advance(&self) -> Option<Duration> {
        (self.keep_s > 0).then(|| Duration::from_secs(u64::from(self.advance_s)))
    }

    /// How long what is acknowledged is kept.
    pub fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_s))
    }
}
