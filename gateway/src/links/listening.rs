//! Where peers dial in: at the usual port, and for a while beside it, when that is a successor's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::connection::News;
use super::dial::accept_all;
use super::driver::StartError;
use super::surroundings::Surroundings;
use super::tls::PeerTls;
use crate::accepts::Accepts;

/// Binds the listener of the links.
///
/// # Errors
/// [`StartError::Listen`].
pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    std::net::TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

/// The accept loops; they end with it.
pub(super) struct Listening {
    tls: PeerTls,
    max_frame_bytes: usize,
    connect_limit: Duration,
    news: mpsc::Sender<News>,
    usual: Option<AbortHandle>,
    beside: Option<AbortHandle>,
}

impl Listening {
    pub(super) fn new(tls: PeerTls, around: &Surroundings) -> Self {
        Self {
            tls,
            max_frame_bytes: around.limits.max_frame_bytes,
            connect_limit: around.connect_limit,
            news: around.news.clone(),
            usual: None,
            beside: None,
        }
    }

    /// Accepts at the usual port, while it may.
    pub(super) fn start(&mut self, listener: (TcpListener, Accepts)) {
        self.usual = Some(self.accept(listener));
    }

    /// Accepts beside it, or no longer.
    pub(super) fn beside(&mut self, listener: Option<&std::net::TcpListener>) {
        if let Some(before) = self.beside.take() {
            before.abort();
        }
        let Some(listener) = listener else { return };
        let made = listener.set_nonblocking(true).and_then(|()| listener.try_clone());
        match made.and_then(TcpListener::from_std) {
            Ok(listener) => self.beside = Some(self.accept((listener, Accepts::always()))),
            Err(error) => tracing::warn!("peers cannot dial beside the usual port: {error}"),
        }
    }

    fn accept(&self, listener: (TcpListener, Accepts)) -> AbortHandle {
        let (tls, news) = (self.tls.clone(), self.news.clone());
        let accepting = accept_all(listener, tls, self.max_frame_bytes, self.connect_limit, news);
        tokio::spawn(accepting).abort_handle()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for accepting in [&self.usual, &self.beside].into_iter().flatten() {
            accepting.abort();
        }
    }
}
