//! Persistent sessions that take no more for now, or not as fast as others: who chooses receivers goes by it.

use protocol::SessionNo;
use protocol::session::Full;

use crate::Routes;

impl Routes {
    /// A session's queue reached its limit, or has room again.
    pub fn set_full(&mut self, session: SessionNo, full: Option<Full>) {
        if let Some(known) = self.sessions.get_mut(&session)
            && known.full != full
        {
            known.full = full;
            self.version += 1;
        }
    }

    /// A session has fallen behind, or keeps up again. It matters to shared groups alone.
    pub fn set_behind(&mut self, session: SessionNo, behind: bool) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.behind = behind;
            let shares = known.subscriptions.iter().any(|s| s.share.is_some());
            self.version += u64::from(shares);
        }
    }

    /// A session takes nothing for now, or takes something again, as the worker says that serves it: it matters like
    /// [`Self::set_behind`].
    pub fn set_stuck(&mut self, session: SessionNo, worker: u8, stuck: bool) {
        if let Some(known) = self.sessions.get_mut(&session) {
            let others = known.stuck.filter(|says| *says != worker);
            let before = std::mem::replace(&mut known.stuck, stuck.then_some(worker).or(others));
            let shares = known.subscriptions.iter().any(|s| s.share.is_some());
            self.version += u64::from(shares && before.is_some() != known.stuck.is_some());
        }
    }

    /// The same, as its document says. Says whether that is news.
    pub fn set_hangs(&mut self, session: SessionNo, hangs: bool) -> bool {
        let Some(known) = self.sessions.get_mut(&session) else { return false };
        let news = std::mem::replace(&mut known.hangs, hangs) != hangs;
        let shares = known.subscriptions.iter().any(|s| s.share.is_some());
        self.version += u64::from(shares && news);
        news
    }
}
