//! One connection's layers, as a machine that moves with it from thread to thread.

use std::io;

use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

use super::pipe::allow;
use super::{Pipe, TlsLayer};

/// The layers of one connection.
#[derive(Debug)]
pub enum Layer {
    /// MQTT straight on the socket.
    Plain,
    /// TLS.
    Tls(Box<TlsLayer>),
    /// WebSocket `[MQTT5-6.0.0-1]`.
    WebSocket(Box<WebSocket<Pipe>>),
    /// WebSocket in TLS.
    SecureWebSocket(Box<(TlsLayer, WebSocket<Pipe>)>),
}

impl Layer {
    /// Whether socket bytes are MQTT bytes.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Whether there are WebSocket frames in it.
    pub const fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::SecureWebSocket(_))
    }

    /// WebSocket messages may have so many bytes from here on.
    pub fn allow_messages(&mut self, bytes: usize) {
        if let Some(ws) = self.websocket() {
            ws.set_config(|limits| allow(limits, bytes));
        }
    }

    fn websocket(&mut self) -> Option<&mut WebSocket<Pipe>> {
        match self {
            Self::WebSocket(ws) => Some(ws),
            Self::SecureWebSocket(layers) => Some(&mut layers.1),
            Self::Plain | Self::Tls(_) => None,
        }
    }

    /// Takes bytes from the socket and appends what they mean to `plain`. What must be answered without the upper layer's
    /// doing (handshake, pong) is appended to `reply`; a Close frame is answered by [`Self::goodbye`], behind what is owed. What
    /// is encrypted is decrypted where it is.
    ///
    /// # Errors
    /// The connection cannot go on; `UnexpectedEof` is a proper goodbye.
    pub fn ingest(
        &mut self,
        raw: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> io::Result<()> {
        match self {
            Self::Plain => plain.extend_from_slice(raw),
            Self::Tls(tls) => tls.ingest(raw, plain, reply)?,
            Self::WebSocket(ws) => ingest_ws(ws, raw, plain, reply)?,
            Self::SecureWebSocket(layers) => {
                let (tls, ws) = &mut **layers;
                let (mut inner, mut answer) = (Vec::new(), Vec::new());
                tls.ingest(raw, &mut inner, reply)?;
                ingest_ws(ws, &inner, plain, &mut answer)?;
                tls.emit(&answer, reply)?;
            }
        }
        Ok(())
    }

    /// Wraps MQTT bytes and appends what the socket must send.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn emit(&mut self, plain: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain => raw.extend_from_slice(plain),
            Self::Tls(tls) => tls.emit(plain, raw)?,
            Self::WebSocket(ws) => emit_ws(ws, plain, raw)?,
            Self::SecureWebSocket(layers) => {
                let (tls, ws) = &mut **layers;
                let mut inner = Vec::new();
                emit_ws(ws, plain, &mut inner)?;
                tls.emit(&inner, raw)?;
            }
        }
        Ok(())
    }

    /// What the layers say at the end of a connection.
    pub fn goodbye(&mut self, raw: &mut Vec<u8>) {
        if let Some(ws) = self.websocket() {
            let _ = ws.close(None);
            ws.get_mut().owes_close = false;
        }
        match self {
            Self::Plain => {}
            Self::WebSocket(ws) => ws.get_mut().take_output(raw),
            Self::Tls(tls) => tls.goodbye(raw),
            Self::SecureWebSocket(layers) => {
                let (tls, ws) = &mut **layers;
                let mut inner = Vec::new();
                ws.get_mut().take_output(&mut inner);
                let _ = tls.emit(&inner, raw);
                tls.goodbye(raw);
            }
        }
    }
}

fn ingest_ws(
    ws: &mut WebSocket<Pipe>,
    raw: &[u8],
    plain: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> io::Result<()> {
    ws.get_mut().put_input(raw);
    let result = loop {
        match ws.read() {
            Ok(Message::Binary(bytes)) => plain.extend_from_slice(&bytes),
            // MQTT travels in binary frames only [MQTT5-6.0.0-1].
            Ok(Message::Text(_)) => break Err(io::Error::other("a text frame")),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => {
                // The library has the answer ready, and the next flush would send it.
                ws.get_mut().owes_close = true;
                ws.get_mut().take_output(reply);
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(tungstenite::Error::ConnectionClosed) => {
                break Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(other) => break Err(io::Error::other(other)),
        }
    };
    let _ = ws.flush();
    ws.get_mut().take_output(reply);
    result
}

fn emit_ws(ws: &mut WebSocket<Pipe>, plain: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
    if ws.get_ref().owes_close {
        // Until our Close frame is sent we may say more (RFC 6455, 5.5.1), which the library does not let us.
        let payload = bytes::Bytes::copy_from_slice(plain);
        let frame = Frame::message(payload, OpCode::Data(Data::Binary), true);
        return frame.format(raw).map_err(io::Error::other);
    }
    ws.send(Message::Binary(bytes::Bytes::copy_from_slice(plain))).map_err(io::Error::other)?;
    ws.get_mut().take_output(raw);
    Ok(())
}
