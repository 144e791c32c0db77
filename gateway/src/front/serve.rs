//! The accept loops, one per listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::ListenKind;
use crate::transport::{Remote, Stream};

use super::greet::greet;
use super::newcomer::{Newcomer, Origin};
use super::shared::Front;

/// One listener.
#[derive(Debug)]
pub struct Door {
    /// The bound socket.
    pub listener: TcpListener,
    /// What it speaks.
    pub kind: ListenKind,
    /// The WebSocket path.
    pub path: String,
    /// TLS, for those that speak it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// How long to wait after a failed accept: out of descriptors, most likely, and those who are here come first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts until told to stop.
pub async fn serve(door: Door, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let door = Arc::new(door);
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => return,
            accepted = door.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let (stream, remote) = (Stream::Tcp(stream), Remote::Network(remote));
                let origin = Origin { kind: door.kind, remote, certificate: None };
                let newcomer = Newcomer::new(stream, origin, front.places.take());
                tokio::spawn(greet(newcomer, Arc::clone(&door), Arc::clone(&front)));
            }
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
