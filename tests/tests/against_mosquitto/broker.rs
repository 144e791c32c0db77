//! mosquitto, as it comes, with a listener on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::harness::eventually;

/// A mosquitto of this test's own. It is killed when dropped.
pub(crate) struct Mosquitto {
    child: Child,
    place: SocketAddr,
    _dir: TempDir,
}

impl Mosquitto {
    /// Starts it without limits on what may wait.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|free| free.local_addr())
            .expect("a free port");
        let settings = format!(
            "listener {} {}\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n",
            place.port(),
            place.ip()
        );
        let file = dir.path().join("mosquitto.conf");
        std::fs::write(&file, settings).expect("a configuration file");
        let quiet = || Stdio::null();
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(file)
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .spawn()
            .expect("mosquitto is installed");
        eventually("mosquitto listens", || {
            assert_eq!(child.try_wait().expect("a child of ours"), None, "mosquitto ended");
            TcpStream::connect(place).ok()
        });
        Self { child, place, _dir: dir }
    }

    /// Where it listens.
    pub(crate) fn place(&self) -> SocketAddr {
        self.place
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
