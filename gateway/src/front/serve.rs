//! The accept loops, one per listener and thread.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::config::ListenKind;
use crate::tls::LiveTls;

use super::greet::greet;
use super::listening::{Bound, Listening};
use super::newcomer::{Newcomer, Origin};
use super::shared::Front;

/// One listener.
#[derive(Debug)]
pub struct Door {
    /// Which one, in the order of the configuration.
    pub number: u16,
    /// What it speaks.
    pub kind: ListenKind,
    /// The WebSocket path.
    pub path: String,
    /// TLS, for those that speak it.
    pub tls: Option<LiveTls>,
    /// Who may say where a connection comes from, where each must say so.
    pub proxies: Option<Vec<IpNet>>,
}

/// How long to wait after an accept that failed: out of descriptors, most likely, and those who are here come first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long somebody may take to come for the descriptor that was kept for him.
const SPARE_PATIENCE: Duration = Duration::from_millis(1);

/// Accepts until told to stop.
pub async fn serve(
    bound: Bound,
    door: Arc<Door>,
    front: Arc<Front>,
    mut stop: watch::Receiver<bool>,
) {
    let listening = match Listening::new(bound) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(listener = door.kind.as_str(), "cannot be served: {error}");
            return;
        }
    };
    let mut spare = Spare::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => return,
            accepted = listening.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                spare.keep();
                // Without one the connection is closed as it is dropped: it costs nothing more.
                let Some(greeting) = front.places.greet() else { continue };
                let origin = Origin { kind: door.kind, remote, certificate: None };
                let newcomer = Newcomer::new(stream, origin, greeting);
                tokio::spawn(greet(newcomer, Arc::clone(&door), Arc::clone(&front)));
            }
            Err(error) if is_short_of_descriptors(&error) => {
                spare.warn(&error);
                spare.give(&listening, &front).await;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The client gave up before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(listener = door.kind.as_str(), "cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_short_of_descriptors(error: &io::Error) -> bool {
    let code = |errno: rustix::io::Errno| Some(errno.raw_os_error());
    let said = error.raw_os_error();
    said == code(rustix::io::Errno::MFILE) || said == code(rustix::io::Errno::NFILE)
}

/// A descriptor that is kept for the moment when there is no other: with it, a client that cannot be served is closed
/// instead of left to wait, and the queue of the listener does not fill with dead ones.
struct Spare {
    file: Option<File>,
    /// An episode of shortage is told once, and its end.
    short: bool,
}

impl Spare {
    fn new() -> Self {
        Self { file: File::open("/dev/null").ok(), short: false }
    }

    /// A connection was accepted as usual.
    fn keep(&mut self) {
        if self.file.is_none() {
            self.file = File::open("/dev/null").ok();
        }
        if std::mem::take(&mut self.short) {
            tracing::info!("descriptors are free again: connections are accepted");
        }
    }

    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.short, true) {
            tracing::warn!("out of descriptors, new connections are closed: {error}");
        }
    }

    /// Takes one connection off the queue, and closes it.
    async fn give(&mut self, listening: &Listening, front: &Front) {
        drop(self.file.take());
        let taken = tokio::time::timeout(SPARE_PATIENCE, listening.accept()).await;
        if let Ok(Ok(connection)) = taken {
            front.counters.turned_away_descriptors.add_shared(1);
            drop(connection);
        }
        self.file = File::open("/dev/null").ok();
    }
}
