//! A socket's place in a WebSocket: two buffers, so that the framing library never waits.

use std::io::{self, Read, Write};

use tungstenite::WebSocket;
use tungstenite::handshake::server::{ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::WebSocketConfig;

/// Bytes on their way in and out of a WebSocket.
#[derive(Debug, Default)]
pub struct Pipe {
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
    /// The other side has sent its Close frame, and ours is not said yet: what it is owed goes before.
    pub(super) owes_close: bool,
}

impl Pipe {
    /// Adds bytes that came from the socket.
    pub fn put_input(&mut self, bytes: &[u8]) {
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Moves out what the socket must send.
    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        into.append(&mut self.output);
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let waiting = self.input.get(self.read..).unwrap_or_default();
        if waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = waiting.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), waiting.get(..len)) {
            to.copy_from_slice(from);
        }
        self.read += len;
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where an HTTP upgrade stands.
#[derive(Debug)]
pub enum UpgradeStep {
    /// The request is not whole yet.
    More(Upgrade),
    /// It is a WebSocket now; its answer is in the pipe's output.
    Done(Box<WebSocket<Pipe>>),
    /// Refused; the answer, if any, is to be sent before closing.
    Refused(Vec<u8>),
}

/// An HTTP upgrade that waits for more of the request.
#[derive(Debug)]
pub struct Upgrade {
    request: Vec<u8>,
}

/// The longest upgrade request, in bytes.
const REQUEST_LIMIT: usize = 16 * 1024;

/// Goes on with an HTTP upgrade to subprotocol `mqtt` on `path` `[MQTT5-6.0.0-3]`.
///
/// The request is kept until it is whole and then handed to the library at once.
pub fn upgrade(
    before: Option<Upgrade>,
    bytes: &[u8],
    path: &str,
    message_bytes: usize,
) -> UpgradeStep {
    let mut request = before.map(|b| b.request).unwrap_or_default();
    // What was looked at before is not looked at again, or a request that trickles in would cost its length squared.
    let unseen = request.len().saturating_sub(3);
    request.extend_from_slice(bytes);
    if !request.get(unseen..).unwrap_or_default().windows(4).any(|w| w == b"\r\n\r\n") {
        if request.len() > REQUEST_LIMIT {
            return UpgradeStep::Refused(Vec::new());
        }
        return UpgradeStep::More(Upgrade { request });
    }
    let mut pipe = Pipe::default();
    pipe.put_input(&request);
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let check = |request: &Request, response: Response| check(request, response, path);
    let mut limits = WebSocketConfig::default().write_buffer_size(0).read_buffer_size(4096);
    allow(&mut limits, message_bytes);
    match ServerHandshake::start(pipe, check, Some(limits)).handshake() {
        Ok(socket) => UpgradeStep::Done(Box::new(socket)),
        Err(tungstenite::HandshakeError::Interrupted(_)) => UpgradeStep::Refused(Vec::new()),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(refusal))) => {
            UpgradeStep::Refused(answer(refusal.status()))
        }
        Err(tungstenite::HandshakeError::Failure(_)) => {
            UpgradeStep::Refused(answer(StatusCode::BAD_REQUEST))
        }
    }
}

/// Messages, and each frame of them, may have so many bytes.
pub(super) fn allow(limits: &mut WebSocketConfig, bytes: usize) {
    limits.max_message_size = Some(bytes);
    limits.max_frame_size = Some(bytes);
}

/// An answer that refuses an upgrade. The library's own is gone with the pipe it was written to.
fn answer(status: StatusCode) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

#[expect(clippy::result_large_err, reason = "the library's signature")]
fn check(request: &Request, mut response: Response, path: &str) -> Result<Response, ErrorResponse> {
    let refuse = |status: StatusCode| {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = status;
        refusal
    };
    if request.uri().path() != path {
        return Err(refuse(StatusCode::NOT_FOUND));
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names =
        offered.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim);
    let Some(name) = names.find(|name| matches!(*name, "mqtt" | "mqttv3.1")) else {
        return Err(refuse(StatusCode::BAD_REQUEST));
    };
    if let Ok(value) = HeaderValue::from_str(name) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(response)
}
