//! Every port of a process, before anything is written for it: bound anew, or taken over from the process before.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Listener, Resolved};
use crate::front::{Bound, Door, FileOwner};
use crate::links;
use crate::succession::Inheritance;
use crate::tls::{LiveTls, Speaks};

/// One bound listener with what it does.
pub(crate) type OpenDoor = (Bound, Arc<Door>);

/// All listeners of a process.
#[derive(Debug)]
pub(crate) struct Ports {
    /// For clients, in the order of the configuration.
    pub(crate) doors: Vec<OpenDoor>,
    /// For operators.
    pub(crate) http: TcpListener,
    /// For peers, where there is a peer link.
    pub(crate) peer: Option<TcpListener>,
    /// For devices by HTTPS, where that is served.
    pub(crate) devices: Option<TcpListener>,
    /// What a successor knows each by, in the order of the four above.
    names: Vec<String>,
}

impl Ports {
    /// Opens them all.
    pub(crate) fn open(
        config: &Resolved,
        mut before: Option<&mut Inheritance>,
    ) -> anyhow::Result<Self> {
        let mut names = Vec::new();
        let mut inherited = |name: String| {
            let taken = before.as_mut().and_then(|before| before.take(&name));
            names.push(name);
            taken
        };
        let mut doors = Vec::new();
        for (number, listener) in config.listeners.iter().enumerate() {
            let (bind, kind) = (&listener.bind, listener.kind);
            let bound = match inherited(format!("clients at {bind}")) {
                Some(descriptor) => Bound::adopt(bind, descriptor),
                None => Bound::new(bind),
            };
            let bound =
                bound.with_context(|| format!("cannot use {bind} for {}", kind.as_str()))?;
            let door = Door {
                number: u16::try_from(number)?,
                kind,
                path: listener.path.clone(),
                tls: door_tls(config, listener)?,
                proxies: listener.proxies.clone(),
            };
            doors.push((bound, Arc::new(door)));
        }
        let bind = config.http.bind;
        let http = match inherited(format!("http at {bind}")) {
            Some(descriptor) => TcpListener::from(descriptor),
            None => {
                TcpListener::bind(bind).with_context(|| format!("cannot use {bind} for http"))?
            }
        };
        let peer = match &config.peer {
            Some(peer) => Some(match inherited(format!("peers at {}", peer.bind)) {
                Some(descriptor) => TcpListener::from(descriptor),
                None => links::listen(peer.bind)?,
            }),
            None => None,
        };
        let devices = match &config.device_http {
            Some(devices) => Some(device_port(devices.bind, &mut inherited)?),
            None => None,
        };
        Ok(Self { doors, http, peer, devices, names })
    }

    /// A copy of each, with its name, for a successor.
    pub(crate) fn copies(&self) -> anyhow::Result<Vec<(String, OwnedFd)>> {
        let mut copies = Vec::new();
        for (bound, _) in &self.doors {
            copies.push(bound.descriptor()?);
        }
        copies.push(self.http.as_fd().try_clone_to_owned()?);
        for listener in self.peer.iter().chain(&self.devices) {
            copies.push(listener.as_fd().try_clone_to_owned()?);
        }
        Ok(self.names.iter().cloned().zip(copies).collect())
    }

    /// All that speak TLS, and those of HTTP.
    pub(crate) fn certificates(&self, http: [Option<&LiveTls>; 2]) -> Vec<LiveTls> {
        let doors = self.doors.iter().filter_map(|(_, door)| door.tls.clone());
        doors.chain(http.into_iter().flatten().cloned()).collect()
    }

    /// The files of Unix sockets.
    pub(crate) fn files(&self) -> Vec<FileOwner> {
        self.doors.iter().filter_map(|(bound, _)| bound.file()).collect()
    }

    /// Where peers dial, as bound and as told.
    pub(crate) fn peers(&self, config: &Resolved) -> Option<(SocketAddr, String)> {
        let bound = self.peer.as_ref()?.local_addr().ok()?;
        Some((bound, config.peer.as_ref()?.advertise.clone()))
    }
}

fn device_port(
    bind: SocketAddr,
    inherited: &mut impl FnMut(String) -> Option<OwnedFd>,
) -> anyhow::Result<TcpListener> {
    match inherited(format!("devices at {bind}")) {
        Some(descriptor) => Ok(TcpListener::from(descriptor)),
        None => {
            TcpListener::bind(bind).with_context(|| format!("cannot use {bind} for device_http"))
        }
    }
}

/// TLS of one listener, if it speaks that.
fn door_tls(config: &Resolved, listener: &Listener) -> anyhow::Result<Option<LiveTls>> {
    let Some(tls) = config.tls.as_ref().filter(|_| listener.kind.is_secure()) else {
        return Ok(None);
    };
    let speaks = if listener.kind.is_websocket() { Speaks::Http } else { Speaks::Mqtt };
    let (clients, own) = (listener.client_certificate, listener.authority.clone());
    Ok(Some(LiveTls::load(tls, clients, own, speaks)?))
}
