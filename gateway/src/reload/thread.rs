//! The thread that reads files again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use maintenance::pauses::PauseFor;

use crate::control::{ReloadReport, ReloadedPart};
use crate::metrics::ProcessCounters;
use crate::pauses::Pauser;

use super::watch::{Before, Reloadable, Watched};

/// How often files are looked at: a certificate is to be cut within a second of its revocation.
const LOOK: Duration = Duration::from_millis(250);
/// How long a reload that was asked for may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it pauses for.
pub const PAUSES_FOR: &[PauseFor] = &[PauseFor::Certificates];
/// How long files wait for a micro slot: no longer, since a certificate is to be cut within a second of its revocation.
const PAUSE: Duration = Duration::from_millis(300);

/// A letter to the thread.
#[derive(Debug)]
enum Ask {
    Now(Sender<ReloadReport>),
    Stop,
}

/// A way to the thread, for any other.
#[derive(Debug, Clone)]
pub struct ReloadSender(Sender<Ask>);

impl ReloadSender {
    /// A way to nobody.
    #[cfg(test)]
    pub fn unheard() -> Self {
        Self(channel().0)
    }

    /// Reads everything again and waits for what came of it; `None` if the thread does not answer.
    pub fn reload(&self) -> Option<ReloadReport> {
        let (sender, receiver) = channel();
        self.0.send(Ask::Now(sender)).ok()?;
        receiver.recv_timeout(PATIENCE).ok()
    }

    /// Reads everything again, without waiting.
    pub fn hang_up(&self) {
        // What came of it is in the log; after the end of the process nobody cares.
        let (sender, _) = channel();
        let _ = self.0.send(Ask::Now(sender));
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Reload {
    sender: ReloadSender,
    thread: JoinHandle<()>,
}

impl Reload {
    /// A way to it.
    pub fn sender(&self) -> ReloadSender {
        self.sender.clone()
    }

    /// Ends it.
    pub fn stop(self) {
        let _ = self.sender.0.send(Ask::Stop);
        let _ = self.thread.join();
    }
}

/// Starts the thread, which looks after these; they were read after `before` was. It asks for micro slots by `pauser`.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    parts: Vec<Box<dyn Reloadable>>,
    before: &Before,
    (counters, pauser): (Arc<ProcessCounters>, Pauser),
) -> std::io::Result<Reload> {
    let (sender, asks) = channel();
    let parts = parts.into_iter().map(|part| Watched::new(part, before)).collect();
    let reloader = Reloader { parts, counters, pauser };
    let thread = crate::logging::thread("reload", move || reloader.run(&asks))?;
    Ok(Reload { sender: ReloadSender(sender), thread })
}

struct Reloader {
    parts: Vec<Watched>,
    counters: Arc<ProcessCounters>,
    pauser: Pauser,
}

impl Reloader {
    fn run(mut self, asks: &Receiver<Ask>) {
        loop {
            match asks.recv_timeout(LOOK) {
                Ok(Ask::Now(answer)) => drop(answer.send(self.reload_all())),
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        self.pauser.settle(PAUSE);
        let Self { parts, counters, pauser } = self;
        for part in parts.iter_mut() {
            if part.has_changed() {
                reload(part, counters, pauser);
            }
        }
    }

    fn reload_all(&mut self) -> ReloadReport {
        let Self { parts, counters, pauser } = self;
        let reloaded = parts.iter_mut().map(|part| reload(part, counters, pauser)).collect();
        let needs_restart =
            parts.iter().flat_map(|watched| watched.part.needs_restart()).cloned().collect();
        ReloadReport { parts: reloaded, needs_restart }
    }
}

fn reload(watched: &mut Watched, counters: &ProcessCounters, pauser: &mut Pauser) -> ReloadedPart {
    let pauses = watched.part.pauses();
    let pause = pauses.then(|| pauser.wait(PauseFor::Certificates, PAUSE)).flatten();
    let result = watched.reload();
    if let Some(number) = pause {
        pauser.end(number, PAUSE);
    }
    let name = watched.part.name();
    let error = match result {
        Ok(()) => {
            counters.reloads_applied.add_shared(1);
            tracing::info!("{name}: read again and in force");
            None
        }
        Err(error) => {
            counters.reloads_failed.add_shared(1);
            let error = chain(&*error);
            tracing::error!("{name}: cannot be used, what was in force stays: {error}");
            Some(error)
        }
    };
    ReloadedPart { name: name.to_owned(), error }
}

/// An error with its sources, as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
