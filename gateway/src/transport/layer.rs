//! One connection's layers, as a machine that moves with it from thread to thread.

use std::io::{self, Read as _, Write as _};

use rustls::ServerConnection;
use tungstenite::{Message, WebSocket};

use super::Pipe;
use super::pipe::allow;

/// The layers of one connection.
#[derive(Debug)]
pub enum Layer {
    /// MQTT straight on the socket.
    Plain,
    /// TLS.
    Tls(Box<ServerConnection>),
    /// WebSocket `[MQTT5-6.0.0-1]`.
    WebSocket(Box<WebSocket<Pipe>>),
    /// WebSocket in TLS.
    SecureWebSocket(Box<ServerConnection>, Box<WebSocket<Pipe>>),
}

/// Bytes read from TLS at a time.
const CHUNK: usize = 16 * 1024;

impl Layer {
    /// Whether socket bytes are MQTT bytes.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Whether there are WebSocket frames in it.
    pub const fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::SecureWebSocket(..))
    }

    /// WebSocket messages may have so many bytes from here on.
    pub fn allow_messages(&mut self, bytes: usize) {
        if let Self::WebSocket(ws) | Self::SecureWebSocket(_, ws) = self {
            ws.set_config(|limits| allow(limits, bytes));
        }
    }

    /// Takes bytes from the socket and appends what they mean to `plain`. What must be answered without the upper layer's
    /// doing (handshake, pong) is appended to `reply`.
    ///
    /// # Errors
    /// The connection cannot go on; `UnexpectedEof` is a proper goodbye.
    pub fn ingest(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> io::Result<()> {
        match self {
            Self::Plain => plain.extend_from_slice(raw),
            Self::Tls(tls) => ingest_tls(tls, raw, plain, reply)?,
            Self::WebSocket(ws) => ingest_ws(ws, raw, plain, reply)?,
            Self::SecureWebSocket(tls, ws) => {
                let (mut inner, mut answer) = (Vec::new(), Vec::new());
                ingest_tls(tls, raw, &mut inner, reply)?;
                ingest_ws(ws, &inner, plain, &mut answer)?;
                emit_tls(tls, &answer, reply)?;
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
            Self::Tls(tls) => emit_tls(tls, plain, raw)?,
            Self::WebSocket(ws) => emit_ws(ws, plain, raw)?,
            Self::SecureWebSocket(tls, ws) => {
                let mut inner = Vec::new();
                emit_ws(ws, plain, &mut inner)?;
                emit_tls(tls, &inner, raw)?;
            }
        }
        Ok(())
    }

    /// What the layers say at the end of a connection.
    pub fn goodbye(&mut self, raw: &mut Vec<u8>) {
        if let Self::WebSocket(ws) | Self::SecureWebSocket(_, ws) = self {
            let _ = ws.close(None);
        }
        match self {
            Self::Plain => {}
            Self::WebSocket(ws) => ws.get_mut().take_output(raw),
            Self::Tls(tls) => {
                tls.send_close_notify();
                let _ = flush_tls(tls, raw);
            }
            Self::SecureWebSocket(tls, ws) => {
                let mut inner = Vec::new();
                ws.get_mut().take_output(&mut inner);
                let _ = emit_tls(tls, &inner, raw);
                tls.send_close_notify();
                let _ = flush_tls(tls, raw);
            }
        }
    }
}

/// Feeds TLS records, handing each batch of plain bytes on before the next, so that no internal buffer fills.
pub(super) fn ingest_tls(
    tls: &mut ServerConnection,
    mut raw: &[u8],
    plain: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> io::Result<()> {
    while !raw.is_empty() {
        if tls.read_tls(&mut raw)? == 0 {
            break;
        }
        let state = tls.process_new_packets();
        flush_tls(tls, reply)?;
        let state = state.map_err(io::Error::other)?;
        let mut waiting = state.plaintext_bytes_to_read();
        while waiting > 0 {
            let from = plain.len();
            plain.resize(from + waiting.min(CHUNK), 0);
            let space = plain.get_mut(from..).unwrap_or_default();
            let got = tls.reader().read(space)?;
            plain.truncate(from + got);
            waiting -= got.min(waiting);
            if got == 0 {
                break;
            }
        }
    }
    Ok(())
}

fn emit_tls(tls: &mut ServerConnection, mut plain: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
    while !plain.is_empty() {
        let took = tls.writer().write(plain)?;
        plain = plain.get(took..).unwrap_or_default();
        flush_tls(tls, raw)?;
    }
    Ok(())
}

fn flush_tls(tls: &mut ServerConnection, raw: &mut Vec<u8>) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(raw)?;
    }
    Ok(())
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
            Ok(Message::Close(_)) => break Err(io::ErrorKind::UnexpectedEof.into()),
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
    ws.send(Message::Binary(bytes::Bytes::copy_from_slice(plain))).map_err(io::Error::other)?;
    ws.get_mut().take_output(raw);
    Ok(())
}
