//! When all that was routed by older tables is stored.

use std::fmt;
use std::sync::Arc;

use super::{Mail, Mailbox};

/// Goes to every worker and from there to the committer, behind the writes that were made before. When the last copy is
/// dropped, every publication that was routed before the tables changed is stored; then something is done.
pub struct Settled(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Settled {
    /// Sends it on its way; `then` is called on the committer's thread and must not wait for anything.
    pub fn start(mailboxes: &[Arc<Mailbox>], then: impl FnOnce() + Send + Sync + 'static) {
        let settled = Arc::new(Self(Some(Box::new(then))));
        for mailbox in mailboxes {
            mailbox.send(Mail::Settle(Arc::clone(&settled)));
        }
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settled")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_is_settled_when_every_worker_has_let_go() {
        let mailboxes: Vec<_> = (0..2).map(|_| Arc::new(Mailbox::new(1))).collect();
        let (done, settled) = channel();
        Settled::start(&mailboxes, move || {
            let _ = done.send(());
        });
        let mut letters = Vec::new();
        assert!(mailboxes[0].take(&mut letters, std::task::Waker::noop()));
        letters.clear();
        assert!(settled.try_recv().is_err());
        assert!(mailboxes[1].take(&mut letters, std::task::Waker::noop()));
        letters.clear();
        assert!(settled.try_recv().is_ok());
    }
}
