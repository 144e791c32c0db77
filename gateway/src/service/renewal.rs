//! The lease of this gateway is renewed, and peers are asked what they want where it may have ended.

use std::time::Duration;

use super::awaited::SYNC_PATIENCE;
use super::thread::Housekeeper;
use crate::links::Command;

impl Housekeeper {
    /// Proof of life.
    pub(super) fn renew(&mut self) -> bool {
        let began = self.shared.now().mono;
        let ttl = u64::try_from(self.config.ttl.as_millis()).unwrap_or(u64::MAX);
        self.config.me.until_ms = self.shared.now().wall.0.saturating_add(ttl);
        self.config.me.record.state = self.state.get();
        if self.config.me.renewal().and_then(|write| self.write(write)).is_none() {
            tracing::error!("the lease could not be renewed");
            let late = self.awaited.handle_refused(self.shared.now().mono);
            // Until it was looked whether others renew theirs.
            self.ask_peers(late, Duration::MAX);
            return false;
        }
        let now = self.shared.now().mono;
        self.leases.handle_renewed(now);
        let back = self.awaited.handle_renewed(began, now, self.shared.tables.heard());
        self.ask_peers(back, now + SYNC_PATIENCE);
        true
    }

    /// Has the peers say anew what they want, if they are to for this time: until then at most, publications wait for it.
    fn ask_peers(&self, times: Option<u64>, until: Duration) {
        let tables = &self.shared.tables;
        if let Some(times) = times {
            tracing::warn!(
                "others may have taken this gateway for dead: it asks them what they want"
            );
            tables.set_back(times, until);
            if let Some(links) = &self.shared.links {
                links.send(&mut vec![Command::Back(times)]);
            }
        }
        tables.set_awaited(self.awaited.stands());
    }
}
