//! What two processes of a restart say to each other: lines of JSON over a socket, the first with descriptors.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Descriptors that go with one letter; the system allows a few more.
pub(super) const MAX_DESCRIPTORS: usize = 250;
/// Longest letter.
const MAX_BYTES: usize = 256 * 1024;

/// To the successor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToSuccessor {
    /// Who it is, and what the descriptors are that come with this.
    Inherit {
        /// The id of the restart.
        restart: String,
        /// Its name in the fleet: the gateway, at the other berth.
        member: String,
        /// What each descriptor is, in their order.
        holdings: Vec<String>,
    },
    /// The peers' port is its own: it may join.
    Go,
    /// Clients that are not moved yet.
    Left(u64),
    /// The old process is empty, and ends.
    Over,
}

/// From the successor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromSuccessor {
    /// It has read all that it needs.
    Prepared,
    /// It serves, and accepts.
    Ready,
    /// It cannot, for this reason.
    Failed(String),
}

/// What came, if anything did.
#[derive(Debug)]
pub(super) enum Heard<T> {
    Letter(T),
    /// Nothing for so long.
    Silence,
    /// The other process has ended, or says what nobody understands.
    Closed,
}

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Line {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, heard: Vec::new() }
    }

    /// Sends a letter, at most within so long.
    pub(super) fn send(&mut self, letter: &impl Serialize) -> io::Result<()> {
        let line = line(letter)?;
        self.stream.write_all(&line)
    }

    /// Sends a letter with descriptors.
    pub(super) fn send_with(
        &mut self,
        letter: &impl Serialize,
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        let line = line(letter)?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|it| it.as_fd()).collect();
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = descriptors.len() <= MAX_DESCRIPTORS;
        if !fits || !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "too many listeners"));
        }
        let sent =
            sendmsg(&self.stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
        self.stream.write_all(line.get(sent..).unwrap_or_default())
    }

    /// The first letter, and the descriptors that come with it.
    pub(super) fn receive_with<T: DeserializeOwned>(
        &mut self,
        limit: Duration,
    ) -> io::Result<(T, Vec<OwnedFd>)> {
        let mut bytes = vec![0; 64 * 1024];
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        self.heard.extend_from_slice(bytes.get(..got.bytes).unwrap_or_default());
        match self.hear(limit) {
            Heard::Letter(letter) => Ok((letter, descriptors)),
            Heard::Silence => Err(ErrorKind::TimedOut.into()),
            Heard::Closed => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Waits for the next letter.
    pub(super) fn hear<T: DeserializeOwned>(&mut self, limit: Duration) -> Heard<T> {
        let until = Instant::now() + limit;
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return serde_json::from_slice(&line).map_or(Heard::Closed, Heard::Letter);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            if self.heard.len() > MAX_BYTES || self.stream.set_read_timeout(Some(left)).is_err() {
                return Heard::Closed;
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Heard::Closed,
                Ok(n) => self.heard.extend_from_slice(bytes.get(..n).unwrap_or_default()),
                // Nothing yet.
                Err(error) if is_early(&error) => {}
                Err(_) => return Heard::Closed,
            }
        }
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn line(letter: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(letter)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn letters_come_one_by_one_and_descriptors_with_the_first() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut here, mut there) = (Line::new(here), Line::new(there));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inherit = ToSuccessor::Inherit {
            restart: "r".into(),
            member: "gw-1~".into(),
            holdings: vec!["http".into()],
        };
        here.send_with(&inherit, &[OwnedFd::from(listener)]).unwrap();
        here.send(&ToSuccessor::Left(7)).unwrap();
        let (letter, mut descriptors) = there.receive_with::<ToSuccessor>(LIMIT).unwrap();
        assert!(matches!(letter, ToSuccessor::Inherit { member, .. } if member == "gw-1~"));
        assert!(matches!(there.hear(LIMIT), Heard::Letter(ToSuccessor::Left(7))));
        assert!(matches!(there.hear::<ToSuccessor>(Duration::from_millis(1)), Heard::Silence));
        // The port was open all the time, and is served by whoever has the descriptor.
        let _waits = TcpStream::connect(address).unwrap();
        let inherited = TcpListener::from(descriptors.pop().unwrap());
        assert!(inherited.accept().is_ok());
        drop(here);
        assert!(matches!(there.hear::<ToSuccessor>(LIMIT), Heard::Closed));
    }

    #[test]
    fn more_descriptors_than_the_system_takes_are_refused() {
        let (here, _there) = UnixStream::pair().unwrap();
        let descriptor = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let many: Vec<_> = (0..=MAX_DESCRIPTORS).map(|_| descriptor()).collect();
        assert!(Line::new(here).send_with(&ToSuccessor::Over, &many).is_err());
    }
}
