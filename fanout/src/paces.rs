//! Persistent sessions that take no more for now, or not as fast as others: who chooses receivers goes by it.

use protocol::SessionNo;
use protocol::session::Full;

use crate::{DurableSubscription, Routes};

impl Routes {
    /// A session's queue reached its limit, or has room again.
    pub fn set_full(&mut self, session: SessionNo, full: Option<Full>) {
        if let Some(known) = self.sessions.get_mut(&session)
            && known.full != full
        {
            known.full = full;
            self.change_of(session, |_| true);
        }
    }

    /// A session has fallen behind, or keeps up again. It matters to shared groups alone.
    pub fn set_behind(&mut self, session: SessionNo, behind: bool) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.behind = behind;
            self.change_of(session, is_shared);
        }
    }

    /// A session takes nothing for now, or takes something again, as the worker says that serves it: it matters like
    /// [`Self::set_behind`].
    pub fn set_stuck(&mut self, session: SessionNo, worker: u8, stuck: bool) {
        if let Some(known) = self.sessions.get_mut(&session) {
            let others = known.stuck.filter(|says| *says != worker);
            let before = std::mem::replace(&mut known.stuck, stuck.then_some(worker).or(others));
            if before.is_some() != known.stuck.is_some() {
                self.change_of(session, is_shared);
            }
        }
    }

    /// The same, as its document says. Says whether that is news.
    pub fn set_hangs(&mut self, session: SessionNo, hangs: bool) -> bool {
        let Some(known) = self.sessions.get_mut(&session) else { return false };
        let news = std::mem::replace(&mut known.hangs, hangs) != hangs;
        if news {
            self.change_of(session, is_shared);
        }
        news
    }

    /// What a session takes changes, which matters to these of its subscriptions.
    fn change_of(&self, session: SessionNo, matters: impl Fn(&DurableSubscription) -> bool) {
        let known = self.sessions.get(&session).into_iter();
        let concerned = known.flat_map(|known| &known.subscriptions).filter(|it| matters(it));
        concerned.for_each(|subscription| self.changes().note(&subscription.filter));
    }
}

const fn is_shared(subscription: &DurableSubscription) -> bool {
    subscription.share.is_some()
}
