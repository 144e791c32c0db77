//! Tells whoever supervises this process which one is the gateway now: `MAINPID=`, as systemd and our launcher understand it.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where a supervisor listens, if there is one.
const SOCKET: &str = "NOTIFY_SOCKET";

/// This process serves, for supervisors that wait for that.
pub(super) fn ready() {
    tell("READY=1");
}

/// Another process, or this one again, is the gateway.
pub(super) fn main_pid(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

fn tell(what: &str) {
    let Some(path) = std::env::var_os(SOCKET).filter(|path| !path.is_empty()) else { return };
    if let Err(error) = send(&path, what.as_bytes()) {
        tracing::warn!("the supervisor cannot be told {what}: {error}");
    }
}

fn send(path: &OsStr, what: &[u8]) -> std::io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(what, &address).map(drop)
}
