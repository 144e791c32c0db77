//! What carries MQTT bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tungstenite::{Message, WebSocket};

/// A blocking byte stream with a limit on how long a read may wait.
pub trait Wire: Read + Write + Send {
    /// Limits how long a read may wait; then it fails with `WouldBlock` or `TimedOut`.
    ///
    /// # Errors
    /// The socket is not to be had any more.
    fn set_patience(&mut self, patience: Duration) -> io::Result<()>;

    /// Ends the sending side.
    ///
    /// # Errors
    /// The socket is not to be had any more.
    fn finish(&mut self) -> io::Result<()>;
}

impl Wire for TcpStream {
    fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Wire for UnixStream {
    fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// MQTT in binary WebSocket messages.
#[derive(Debug)]
pub struct WebSocketWire {
    socket: WebSocket<TcpStream>,
    /// Bytes of a message that was not read whole.
    rest: Vec<u8>,
}

impl WebSocketWire {
    /// Wraps a WebSocket after its handshake.
    pub const fn new(socket: WebSocket<TcpStream>) -> Self {
        Self { socket, rest: Vec::new() }
    }

    /// The WebSocket, to send what MQTT would not.
    pub const fn socket(&mut self) -> &mut WebSocket<TcpStream> {
        &mut self.socket
    }
}

impl Wire for WebSocketWire {
    fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.socket.get_ref().set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.socket.close(None).map_err(io::Error::other)
    }
}

impl Read for WebSocketWire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.rest.extend_from_slice(&bytes),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(Message::Text(text)) => return Err(io::Error::other(format!("text: {text}"))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(tungstenite::Error::ConnectionClosed) => return Ok(0),
                Err(other) => return Err(io::Error::other(other)),
            }
        }
        let mut rest = self.rest.as_slice();
        let got = rest.read(buf)?;
        self.rest.drain(..got);
        Ok(got)
    }
}

impl Write for WebSocketWire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send(Message::binary(buf.to_vec())).map_err(io::Error::other)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}
