//! The listener, on a thread and a runtime of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};

use super::connection::serve_stream;
use super::paces::{Paces, ShadowPaces};
use super::rules::DeviceRules;
use super::searches::Searches;
use crate::accepts::Accepts;
use crate::async_thread::AsyncThread;
use crate::authentication::Porter;
use crate::config::DeviceHttpListener;
use crate::control::Control;
use crate::front::Front;
use crate::line_limit::LineLimit;
use crate::metrics::Metrics;
use crate::tls::{LiveTls, Revoked};
use crate::worker::Shared;

/// Rest after a failed accept: out of file descriptors does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What requests have left when the process ends.
const LAST: Duration = Duration::from_secs(2);

/// What the listener is made of.
pub struct DeviceApiParts {
    /// As it is configured.
    pub config: DeviceHttpListener,
    /// With the certificates of the gateway; wants one of the client.
    pub tls: LiveTls,
    /// What holds for callers.
    pub rules: Arc<DeviceRules>,
    /// Who looks at certificates.
    pub porter: Arc<Porter>,
    /// Who knows who is banned, and whether this gateway takes anybody.
    pub front: Arc<Front>,
    /// The workers and the tables.
    pub shared: Shared,
    /// Whom to ask about shadows, and about clients of the whole fleet.
    pub control: Arc<dyn Control>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is revoked.
    pub revoked: watch::Receiver<Arc<Revoked>>,
}

impl std::fmt::Debug for DeviceApiParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceApiParts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What all connections need.
pub(super) struct Desk {
    pub(super) config: DeviceHttpListener,
    pub(super) tls: LiveTls,
    pub(super) rules: Arc<DeviceRules>,
    pub(super) porter: Arc<Porter>,
    pub(super) front: Arc<Front>,
    pub(super) shared: Shared,
    pub(super) control: Arc<dyn Control>,
    pub(super) metrics: Metrics,
    pub(super) revoked: watch::Receiver<Arc<Revoked>>,
    pub(super) paces: Mutex<Paces>,
    pub(super) shadow_paces: Mutex<ShadowPaces>,
    pub(super) searches: Mutex<Searches>,
    /// Calls that may wait for another gateway, or for a client.
    pub(super) waiting: Semaphore,
    pub(super) lines: LineLimit,
    pub(super) accepts: Accepts,
}

impl Desk {
    fn new(parts: DeviceApiParts, accepts: Accepts) -> Self {
        let DeviceApiParts { config, tls, rules, porter, front, shared, control, metrics, revoked } =
            parts;
        Self {
            paces: Mutex::new(Paces::new(config.requests_per_s)),
            shadow_paces: Mutex::default(),
            searches: Mutex::default(),
            waiting: Semaphore::new(config.waiting as usize),
            lines: LineLimit::default(),
            config,
            tls,
            rules,
            porter,
            front,
            shared,
            control,
            metrics,
            revoked,
            accepts,
        }
    }
}

/// The running listener; stops when dropped.
#[derive(Debug)]
pub struct DeviceApi {
    address: SocketAddr,
    _thread: AsyncThread,
}

/// Why it cannot start. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum DeviceApiError {
    /// The address or the thread is not to be had.
    #[error("cannot serve devices by https")]
    Io(#[from] std::io::Error),
}

impl DeviceApi {
    /// Serves on an open listener while `accepts` is on.
    ///
    /// # Errors
    /// [`DeviceApiError`] when the listener or the thread cannot be used.
    pub fn start(
        listener: TcpListener,
        accepts: Accepts,
        parts: DeviceApiParts,
    ) -> Result<Self, DeviceApiError> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(parts, accepts));
        let thread =
            AsyncThread::start_patient("devices", |stopped| serve(listener, desk, stopped))?;
        Ok(Self { address, _thread: thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nobody any more, answers what was asked, and ends.
    pub fn stop(self) {
        drop(self);
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("the listener of devices by https cannot be used: {error}");
            return;
        }
    };
    let (leave, leaving) = watch::channel(false);
    tokio::select! {
        () = accept(&listener, &desk, &leaving) => {}
        _ = stopped => {}
    }
    drop(listener);
    // Each connection has a receiver until it ends.
    drop(leaving);
    leave.send_replace(true);
    let _ = tokio::time::timeout(LAST, leave.closed()).await;
}

async fn accept(
    listener: &tokio::net::TcpListener,
    desk: &Arc<Desk>,
    leaving: &watch::Receiver<bool>,
) {
    let mut accepts = desk.accepts.clone();
    loop {
        accepts.on().await;
        let accepted = tokio::select! {
            () = accepts.off() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                tokio::spawn(serve_stream(stream, remote, Arc::clone(desk), leaving.clone()));
            }
            Err(error) => {
                tracing::warn!("a connection of a device by https is not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
