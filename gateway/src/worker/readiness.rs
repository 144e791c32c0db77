//! Which sockets of a worker are ready: one epoll that is told of each socket once, when it comes, and tells of each change
//! once. The runtime that the other threads have would keep half a kilobyte more of each connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::hub::ConnId;

/// Sockets that are told of at a time. What they are owed leaves together behind the last of them, so that it is also how many
/// others a client may wait for.
const AT_A_TIME: usize = 128;
/// What belongs to no socket: the bell. No connection has this life in this place.
const BELL: u64 = u64::MAX;

/// What a worker sleeps on.
#[derive(Debug)]
pub(super) struct Readiness {
    epoll: OwnedFd,
    bell: Waker,
}

/// Wakes a worker that sleeps, from any thread.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It counts for longer than a machine lives, and is never read: each time is a change, which the epoll tells.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// What changed of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) conn: ConnId,
    /// There is something to read, or it is over.
    pub(super) readable: bool,
    /// The kernel takes more.
    pub(super) writable: bool,
    /// The other side sends nothing more: reading says so.
    pub(super) ended: bool,
}

/// What a worker was told of, kept for its allocation.
pub(super) struct Changes(Vec<Event>);

impl Default for Changes {
    fn default() -> Self {
        Self(Vec::with_capacity(AT_A_TIME))
    }
}

impl Changes {
    pub(super) fn iter(&self) -> impl Iterator<Item = Change> {
        self.0.iter().filter_map(|event| {
            let (flags, data) = (event.flags, event.data.u64());
            let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            let (index, life) = (u32::try_from(data >> 32).ok()?, data & u64::from(u32::MAX));
            (data != BELL).then_some(Change {
                conn: ConnId { index, life: u32::try_from(life).ok()? },
                readable: over || flags.contains(EventFlags::IN),
                writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
                ended: over,
            })
        })
    }
}

impl Readiness {
    /// # Errors
    /// The system has no more descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, bell: Waker::from(Arc::new(Bell(bell))) })
    }

    /// What wakes the worker.
    pub(super) const fn bell(&self) -> &Waker {
        &self.bell
    }

    /// Tells of a socket from now on, until it is closed; the first time at once.
    ///
    /// # Errors
    /// The system watches no more sockets.
    pub(super) fn watch(&self, socket: impl AsFd, conn: ConnId) -> io::Result<()> {
        let data = EventData::new_u64(u64::from(conn.index) << 32 | u64::from(conn.life));
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, data, all)?)
    }

    /// Waits for changes, at most so long. Whom there was no room for now is told of first the next time.
    pub(super) fn wait(&self, at_most: Duration, changes: &mut Changes) {
        changes.0.clear();
        let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
        let at_most = Timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
        // A signal may interrupt it, which is as if nothing had changed.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut changes.0), Some(&at_most));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn changes(of: &Readiness) -> Vec<Change> {
        let mut changes = Changes::default();
        of.wait(Duration::ZERO, &mut changes);
        changes.iter().collect()
    }

    #[test]
    fn each_change_of_a_socket_is_told_once() {
        let readiness = Readiness::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let conn = ConnId { index: 7, life: 9 };
        readiness.watch(&ours, conn).unwrap();
        let fresh = Change { conn, readable: false, writable: true, ended: false };
        assert_eq!(changes(&readiness), [fresh]);
        assert_eq!(changes(&readiness), []);
        theirs.write_all(b"x").unwrap();
        assert_eq!(changes(&readiness), [Change { readable: true, ..fresh }]);
        assert_eq!(changes(&readiness), [], "though nobody has read it");
        let mut byte = [0];
        (&ours).read_exact(&mut byte).unwrap();
        drop(theirs);
        assert_eq!(changes(&readiness), [Change { readable: true, ended: true, ..fresh }]);
        drop(ours);
        assert_eq!(changes(&readiness), []);
    }

    #[test]
    fn who_sleeps_is_woken_by_the_bell_however_often_it_rang() {
        let readiness = Readiness::new().unwrap();
        let bell = readiness.bell().clone();
        for _ in 0..3 {
            let ringer = bell.clone();
            let ringing = std::thread::spawn(move || {
                ringer.wake_by_ref();
                ringer.wake();
            });
            let mut found = Changes::default();
            while found.0.is_empty() {
                readiness.wait(Duration::from_secs(60), &mut found);
            }
            assert_eq!(found.iter().count(), 0, "it is no socket");
            ringing.join().unwrap();
            readiness.wait(Duration::ZERO, &mut found);
        }
    }
}
