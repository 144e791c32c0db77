//! A floor for the figures of `./bench/run`: one thread, one epoll, exact topics, one send for each destination and round. It
//! looks at no more of a packet than it must to know where its bytes go, keeps no session, and never sends anything again, so
//! no broker can be much faster on the same machine. Speaks 3.1.1 to the load client, which is well behaved. It finds its
//! ports and its certificate in the environment (`PORT`, `TLS_PORT`, `CERT`, `KEY`), as every `--peer` does.

mod tls;

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use tls::Session;

const LISTENER: u64 = u64::MAX;
const TLS_LISTENER: u64 = LISTENER - 1;
const BUFFER_BYTES: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    tls: Option<Box<Session>>,
    /// The beginning of a packet that is not whole yet.
    rest: Vec<u8>,
    /// What is to be sent.
    outbox: Vec<u8>,
    next_id: u16,
}

#[derive(Default)]
struct Floor {
    connections: Vec<Option<Connection>>,
    receivers: HashMap<Vec<u8>, Vec<usize>>,
    /// Who has something to send.
    dirty: Vec<usize>,
}

fn port(name: &str) -> anyhow::Result<TcpListener> {
    let port = std::env::var(name).with_context(|| format!("{name} must be in the environment"))?;
    Ok(TcpListener::bind(("127.0.0.1", port.parse()?))?)
}

fn main() -> anyhow::Result<()> {
    let listener = port("PORT")?;
    listener.set_nonblocking(true)?;
    let (tls_listener, config) = (port("TLS_PORT")?, tls::config()?);
    tls_listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    epoll::add(&epoll, &tls_listener, EventData::new_u64(TLS_LISTENER), EventFlags::IN)?;
    let (mut floor, mut events) = (Floor::default(), Vec::with_capacity(128));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        events.clear();
        // What did not fit is tried again soon, whoever has something to say.
        let soon = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let patience = (!floor.dirty.is_empty()).then_some(&soon);
        match epoll::wait(&epoll, spare_capacity(&mut events), patience) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept(&epoll, &listener, || Ok(None))?,
                TLS_LISTENER => {
                    let session = || Ok(Some(Box::new(Session::new(&config)?)));
                    floor.accept(&epoll, &tls_listener, session)?;
                }
                at => floor.read(usize::try_from(at)?, &mut buffer),
            }
        }
        floor.flush();
    }
}

impl Floor {
    fn accept(
        &mut self,
        epoll: &OwnedFd,
        listener: &TcpListener,
        session: impl Fn() -> anyhow::Result<Option<Box<Session>>>,
    ) -> anyhow::Result<()> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let data = EventData::new_u64(self.connections.len() as u64);
            epoll::add(epoll, &stream, data, EventFlags::IN | EventFlags::ET)?;
            let (rest, outbox) = (Vec::new(), Vec::new());
            let tls = session()?;
            self.connections.push(Some(Connection { stream, tls, rest, outbox, next_id: 0 }));
        }
        Ok(())
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) {
        loop {
            let Some(connection) = self.connections[at].as_mut() else { return };
            let length = match connection.stream.read(buffer) {
                Ok(0) => return self.connections[at] = None,
                Ok(length) => length,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.connections[at] = None,
            };
            if let Some(tls) = &mut connection.tls {
                if tls.open(&buffer[..length], &mut connection.rest).is_err() {
                    return self.connections[at] = None;
                }
                if !tls.wire.is_empty() {
                    self.dirty.push(at);
                }
                self.take_rest(at);
            } else if connection.rest.is_empty() {
                let took = self.take(at, &buffer[..length]);
                if let Some(connection) = self.connections[at].as_mut() {
                    connection.rest.extend_from_slice(&buffer[took..length]);
                }
            } else {
                connection.rest.extend_from_slice(&buffer[..length]);
                self.take_rest(at);
            }
            if length < buffer.len() {
                return;
            }
        }
    }

    /// Handles whole packets of what waits.
    fn take_rest(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let mut whole = std::mem::take(&mut connection.rest);
        let took = self.take(at, &whole);
        whole.drain(..took);
        if let Some(connection) = self.connections[at].as_mut() {
            connection.rest = whole;
        }
    }

    /// Handles whole packets and tells how many bytes they had.
    fn take(&mut self, at: usize, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some((head, length)) = measure(&bytes[taken..])
            && let Some(packet) = bytes.get(taken..taken + head + length)
        {
            self.handle(at, packet, head);
            taken += packet.len();
        }
        taken
    }

    fn handle(&mut self, at: usize, packet: &[u8], head: usize) {
        let body = &packet[head..];
        match packet[0] >> 4 {
            1 => self.send(at, &[0x20, 2, 0, 0]),
            3 => self.publish(at, packet, head),
            8 => {
                let (id, mut rest, mut granted) = (&body[..2], &body[2..], Vec::new());
                while let [high, low, after @ ..] = rest {
                    let (filter, after) =
                        after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                    self.receivers.entry(filter.to_vec()).or_default().push(at);
                    granted.push(after[0]);
                    rest = &after[1..];
                }
                let answer = [&[0x90, 2 + granted.len() as u8], id, &granted].concat();
                self.send(at, &answer);
            }
            12 => self.send(at, &[0xD0, 0]),
            14 => self.connections[at] = None,
            _ => {}
        }
    }

    /// To whoever has subscribed to its topic, at its own level: 0 or 1.
    fn publish(&mut self, at: usize, packet: &[u8], head: usize) {
        let body = &packet[head..];
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let id = (packet[0] & 0x06 != 0).then(|| [body[topic_end], body[topic_end + 1]]);
        if let Some([high, low]) = id {
            self.send(at, &[0x40, 2, high, low]);
        }
        let Self { connections, receivers, dirty } = self;
        for to in receivers.get(&body[2..topic_end]).into_iter().flatten() {
            let Some(receiver) = connections[*to].as_mut() else { continue };
            let from = receiver.outbox.len();
            if from == 0 {
                dirty.push(*to);
            }
            receiver.outbox.extend_from_slice(packet);
            if id.is_some() {
                receiver.next_id = receiver.next_id.checked_add(1).unwrap_or(1);
                let place = from + head + topic_end;
                receiver.outbox[place..place + 2].copy_from_slice(&receiver.next_id.to_be_bytes());
            }
        }
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        let Some(connection) = self.connections[to].as_mut() else { return };
        if connection.outbox.is_empty() {
            self.dirty.push(to);
        }
        connection.outbox.extend_from_slice(bytes);
    }

    /// What does not fit now is sent with what comes next.
    fn flush(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections[at].as_mut() else { continue };
            let Connection { stream, tls, outbox, .. } = connection;
            let wire = match tls {
                None => outbox,
                Some(tls) => {
                    tls.seal(outbox);
                    outbox.clear();
                    &mut tls.wire
                }
            };
            if wire.is_empty() {
                continue;
            }
            let sent = stream.write(wire).unwrap_or(0);
            wire.drain(..sent);
            if !wire.is_empty() {
                self.dirty.push(at);
            }
        }
    }
}

/// Bytes of the fixed header and of what follows it, once they are known.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((at + 2, length));
        }
    }
    None
}
