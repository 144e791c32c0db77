//! What a gateway says to its launcher: which process it is, as it says to systemd. After a restart in place it is another one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Time between two looks at a process that is no child of ours.
const LOOK: Duration = Duration::from_millis(100);
/// Longest notice that is read.
const LONGEST: usize = 4096;

/// Where one gateway says which process it is.
#[derive(Debug)]
pub(super) struct Notices {
    socket: UnixDatagram,
    path: PathBuf,
    main: Option<u32>,
}

impl Notices {
    /// Listens there.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        // One that was left behind.
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), main: None })
    }

    /// What `NOTIFY_SOCKET` is for its processes.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The process that is the gateway after the one that has ended, if it named one. What a process sends before it ends is
    /// here when its end is seen.
    pub(super) fn after(&mut self, ended: u32) -> Option<Followed> {
        let mut bytes = [0; LONGEST];
        while let Ok(n) = self.socket.recv(&mut bytes) {
            let text = bytes.get(..n).and_then(|bytes| std::str::from_utf8(bytes).ok());
            for line in text.unwrap_or_default().lines() {
                let named = line.strip_prefix("MAINPID=").and_then(|pid| pid.parse().ok());
                self.main = named.or(self.main);
            }
        }
        // Once: the number may be another's later.
        let next = self.main.take().filter(|pid| *pid != ended)?;
        Followed::new(next).ok()
    }
}

/// A process that is no child of ours.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) pid: u32,
    process: OwnedFd,
}

impl Followed {
    fn new(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = pidfd_open(raw.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
        Ok(Self { pid, process })
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn has_ended(&self) -> bool {
        // It can be read from when the process is no more. An error means that nobody can know any longer.
        let mut watched = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())) != Ok(0)
    }

    /// Asks it to end, and ends it if it does not within so long.
    pub(super) async fn end(&self, patience: Duration) {
        // An error means that it has ended already.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
        }
    }
}
