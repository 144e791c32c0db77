//! TLS over bytes that somebody else reads and writes. Between records it holds no buffer, so that an idle connection
//! costs its keys and little else.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{ProtocolVersion, ServerConfig};
use rustls_pki_types::CertificateDer;

/// The TLS of one connection.
pub struct TlsLayer {
    session: UnbufferedServerConnection,
    /// The beginning of a record, or of a message of the handshake, whose end has not come.
    rest: Vec<u8>,
}

/// Bytes of a message of the handshake that may wait for its end; a record is shorter.
const LONGEST_REST: usize = 64 * 1024;
/// Plain bytes in one record, and what a record has beside them, in any version.
const RECORD: (usize, usize) = (16 * 1024, 32);
/// Bytes of an alert in its record, and more.
const ALERT_BYTES: usize = 64;

impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of its keys.
        f.debug_struct("TlsLayer").field("rest", &self.rest.len()).finish_non_exhaustive()
    }
}

impl TlsLayer {
    /// The server's side of a handshake that has not begun.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { session: UnbufferedServerConnection::new(config)?, rest: Vec::new() })
    }

    /// Whether the handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the client may wait for what TLS says on its own. Not behind a handshake of 1.3: that is tickets then. In 1.2 the
    /// last word of a handshake is the server's.
    pub fn is_awaited(&self) -> bool {
        self.is_handshaking() || self.session.protocol_version() != Some(ProtocolVersion::TLSv1_3)
    }

    /// What the client showed, its own certificate first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.peer_certificates()
    }

    /// Takes bytes from the socket, which are decrypted where they are, and appends what they mean to `plain` and what
    /// must be answered to `reply`.
    pub(super) fn ingest(
        &mut self,
        raw: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> io::Result<()> {
        let result = if self.rest.is_empty() {
            let (took, result) = take_records(&mut self.session, raw, plain, reply);
            self.rest.extend_from_slice(raw.get(took..).unwrap_or_default());
            result
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(raw);
            let (took, result) = take_records(&mut self.session, &mut rest, plain, reply);
            if took < rest.len() {
                rest.drain(..took);
                self.rest = rest;
            }
            result
        };
        result.map_err(io::Error::other)?;
        if self.rest.len() > LONGEST_REST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake too long"));
        }
        Ok(())
    }

    /// Encrypts bytes and appends what the socket must send.
    pub(super) fn emit(&mut self, plain: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
        if plain.is_empty() {
            return Ok(());
        }
        self.write(raw, |traffic, raw| encrypt(traffic, plain, raw))
    }

    /// Says that nothing more will come.
    pub(super) fn goodbye(&mut self, raw: &mut Vec<u8>) {
        // It is said if it can be: the connection ends anyway.
        let _ = self.write(raw, |traffic, raw| {
            into_room(raw, ALERT_BYTES, |room| traffic.queue_close_notify(room)).map(drop)
        });
    }

    /// Bytes that its buffer takes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.rest.capacity()
    }

    fn write(
        &mut self,
        raw: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            // What waits there is not whole: nothing of it is taken.
            let status = self.session.process_tls_records(&mut self.rest);
            match status.state.map_err(io::Error::other)? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, raw),
                ConnectionState::EncodeTlsData(data) => encode(data, raw)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                ConnectionState::BlockedHandshake
                | ConnectionState::Closed
                | ConnectionState::ReadTraffic(_)
                | ConnectionState::ReadEarlyData(_) => {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                // As of this version of rustls there is no other.
                _ => return Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }
}

/// Handles all whole records; answers how many bytes were theirs.
fn take_records(
    session: &mut UnbufferedServerConnection,
    raw: &mut [u8],
    plain: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> (usize, Result<(), rustls::Error>) {
    let mut took = 0;
    loop {
        let left = raw.get_mut(took..).unwrap_or_default();
        let UnbufferedStatus { discard, state, .. } = session.process_tls_records(left);
        took += discard;
        let said = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    plain.extend_from_slice(record.payload);
                    took += record.discard;
                }
                continue;
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, reply),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                continue;
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                return (took, Ok(()));
            }
            // What comes after the client's goodbye is not its. Early data is not offered.
            Ok(
                ConnectionState::PeerClosed
                | ConnectionState::Closed
                | ConnectionState::ReadEarlyData(_),
            ) => return (raw.len(), Ok(())),
            // As of this version of rustls there is no other.
            Ok(_) => return (raw.len(), Ok(())),
            Err(error) => {
                let left = raw.get_mut(took..).unwrap_or_default();
                // The alert, behind what was answered before the error.
                while session.wants_write()
                    && let Ok(ConnectionState::EncodeTlsData(data)) =
                        session.process_tls_records(left).state
                {
                    // Whether it is heard or not, the connection is over.
                    let _ = encode(data, reply);
                }
                return (took, Err(error));
            }
        };
        if let Err(error) = said {
            return (took, Err(rustls::Error::General(error.to_string())));
        }
    }
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, raw: &mut Vec<u8>) -> io::Result<()> {
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Err(EncodeError::AlreadyEncoded) | Ok(_) => return Ok(()),
    };
    let at = raw.len();
    raw.resize(at + needed, 0);
    data.encode(raw.get_mut(at..).unwrap_or_default()).map(drop).map_err(io::Error::other)
}

fn encrypt(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    plain: &[u8],
    raw: &mut Vec<u8>,
) -> io::Result<()> {
    let room = plain.len() + RECORD.1 * (plain.len() / RECORD.0 + 1);
    match into_room(raw, room, |room| traffic.encrypt(plain, room))? {
        None => Ok(()),
        // An update of the keys goes before it.
        Some(needed) => {
            into_room(raw, needed, |room| traffic.encrypt(plain, room))?;
            Ok(())
        }
    }
}

/// Appends what is written into so much room; answers how much there must be if that was too little.
fn into_room(
    raw: &mut Vec<u8>,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<Option<usize>> {
    let at = raw.len();
    raw.resize(at + room, 0);
    let wrote = write(raw.get_mut(at..).unwrap_or_default());
    raw.truncate(at + wrote.as_ref().copied().unwrap_or(0));
    match wrote {
        Ok(_) => Ok(None),
        Err(EncryptError::InsufficientSize(size)) => Ok(Some(size.required_size)),
        Err(EncryptError::EncryptExhausted) => Err(io::Error::other("a key is used up")),
    }
}
