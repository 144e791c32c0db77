//! What the cores of a worker say and ask: kept until the round is over.

use std::time::Duration;

use bytes::Bytes;

use crate::hub::{Ask, Close, ConnId, Outlet, Passing};
use crate::links::Command;
use crate::tail::{ShadowQuestion, TailAsk};

use super::Mail;
use super::io::{Closing, Io};
use super::outbox::Outbox;

/// How long a client that was told to go may take to close.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of an outbox that do not wait for the end of the round.
const EARLY_BYTES: usize = 256 * 1024;

impl Outlet for Io {
    fn outbox(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        Some(self.outbox_of(conn)?.bytes())
    }

    fn outbox_and_waiting(&mut self, conn: ConnId) -> Option<(&mut Vec<u8>, usize)> {
        let socket = self.sockets.get_mut(conn.index as usize).filter(|s| s.life == conn.life)?;
        if !socket.dirty {
            socket.dirty = true;
            self.dirty.push(conn.index);
        }
        if socket.outbox_len() > EARLY_BYTES && !socket.blocked {
            self.write_early(conn);
        }
        let outbox = self.sockets.get_mut(conn.index as usize)?.sending(&mut self.pool).outbox();
        let waiting = outbox.len();
        Some((outbox.bytes(), waiting))
    }

    fn hold(&mut self, conn: ConnId, memory: Bytes) {
        if let Some(outbox) = self.outbox_of(conn) {
            outbox.hold(memory);
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if let Some(memory) = self.memory_of(bytes) {
            return memory;
        }
        let mut copy = self.memory_for(bytes.len());
        copy.extend_from_slice(bytes);
        copy.into()
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        let until = self.now + LINGER;
        if let Some(socket) = self.socket(conn)
            && socket.closing.is_none()
        {
            socket.closing = Some(Box::new(Closing { how, shut: false, until }));
            self.closings += 1;
            self.wake(conn);
            self.mark(conn.index);
        }
    }

    fn resume(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn) {
            socket.paused = false;
            self.wake(conn);
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Read(client) => self.to_tail.push(TailAsk::Read { worker: self.worker, client }),
            Ask::Presence(client) => {
                self.to_tail.push(TailAsk::Presence { worker: self.worker, client });
            }
            Ask::Attach { session, after, credit } => {
                self.to_tail.push(TailAsk::Attach { worker: self.worker, session, after, credit });
            }
            Ask::Detach(session) => self.to_tail.push(TailAsk::Detach(session)),
            Ask::Advance(session) => self.to_tail.push(TailAsk::Advance(session)),
            Ask::NotGiven(of) => self.to_tail.push(TailAsk::NotGiven(of)),
            Ask::Pull(session, credit) => self.to_tail.push(TailAsk::Pull(session, credit)),
            Ask::Release { to, request, client, epoch } => {
                let request = (u64::from(self.worker) << 56) | request;
                self.to_links.push(Command::Release { to, request, client, epoch });
            }
            Ask::Released { to, request, outcome } => {
                self.to_links.push(Command::Released { to, ticket: request, outcome });
            }
            Ask::Interest => self.tells_interest = true,
            Ask::Workers(workers, forward) => self.forward_to_workers(workers, forward),
            Ask::Peers(peers, forward) => self.forward_to_peers(peers, &forward),
            Ask::Refresh(refresh) => {
                self.to_tail.push(TailAsk::Refresh { worker: self.worker, refresh });
            }
            Ask::CatchUp(look) => {
                self.to_tail.push(TailAsk::CatchUp { worker: self.worker, look });
            }
            Ask::SessionNumbers => self.wants_numbers = true,
            Ask::Authenticate(ask) => self.to_desk.push(*ask),
            Ask::Shadow(worker, mail) => {
                if let Some(letters) = self.to_workers.get_mut(usize::from(worker)) {
                    letters.push(Mail::Shadow(mail));
                }
            }
            Ask::ReadShadow(key, most) => {
                let worker = self.worker;
                self.to_tail.push(TailAsk::Shadow(ShadowQuestion::Read { worker, key, most }));
            }
        }
    }

    fn pass(&mut self, workers: u64, passing: &Passing<'_>) {
        let mut left = workers;
        while left != 0 {
            self.pass_to(left.trailing_zeros() as usize, passing);
            left &= left - 1;
        }
    }
}

impl Io {
    /// What waits for a connection, which is heard of when it is sent.
    fn outbox_of(&mut self, conn: ConnId) -> Option<&mut Outbox> {
        let socket = self.sockets.get_mut(conn.index as usize).filter(|s| s.life == conn.life)?;
        if !socket.dirty {
            socket.dirty = true;
            self.dirty.push(conn.index);
        }
        Some(socket.sending(&mut self.pool).outbox())
    }
}
