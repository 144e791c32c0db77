//! How commands reach the thread of the links.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::QoS;
use tokio::sync::Notify;

use super::command::Command;
use super::counters::LinkCounters;
use super::status::LinkStatus;

/// Commands on their way, and the bell. The lock is held for one append or one swap.
#[derive(Debug)]
pub(super) struct Mailbox {
    waiting: Mutex<Vec<Command>>,
    bell: Notify,
    max: usize,
}

impl Mailbox {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: Mutex::new(Vec::new()), bell: Notify::new(), max }
    }

    /// Takes all of `commands` and leaves it empty. Full: forwards of `QoS` 0 are dropped and counted; all other
    /// commands are bounded by what causes them (each peer's queue bounds forwards, sessions the rest).
    pub(super) fn send(&self, commands: &mut Vec<Command>, counters: &LinkCounters) {
        if commands.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + commands.len() > self.max {
            commands.retain(|command| {
                let keep = !is_droppable(command);
                if !keep {
                    counters.count_mailbox_dropped();
                }
                keep
            });
        }
        waiting.append(commands);
        drop(waiting);
        self.bell.notify_one();
    }

    /// Waits until there may be something to take.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Moves all that waits into `into`, which must be empty.
    pub(super) fn take(&self, into: &mut Vec<Command>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, into);
    }
}

fn is_droppable(command: &Command) -> bool {
    matches!(command, Command::Forward { publication, .. } if publication.qos == QoS::AtMostOnce)
}

/// A way to the links, for any thread.
#[derive(Debug, Clone)]
pub struct LinksSender {
    mailbox: Arc<Mailbox>,
    counters: Arc<LinkCounters>,
}

impl LinksSender {
    pub(super) const fn new(mailbox: Arc<Mailbox>, counters: Arc<LinkCounters>) -> Self {
        Self { mailbox, counters }
    }

    /// Hands over all of `commands`, in order, and leaves it empty with some allocation.
    pub fn send(&self, commands: &mut Vec<Command>) {
        self.mailbox.send(commands, &self.counters);
    }

    /// How every link is, as of a moment ago.
    pub fn peers(&self) -> Vec<LinkStatus> {
        self.counters.peers()
    }

    /// The counters of the links.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }
}
