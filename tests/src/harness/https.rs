//! As much of HTTPS as a device needs.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::tls::{Identity, TlsFailure, dial_tls};
use super::wire::Wire;

/// A device that speaks HTTPS: where to, and with which certificate.
#[derive(Debug, Clone)]
pub struct HttpsDevice {
    address: SocketAddr,
    certs: PathBuf,
    name: String,
}

/// What it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsAnswer {
    /// The status code.
    pub status: u16,
    /// The lines between status and body, in lower case.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl HttpsAnswer {
    /// A header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a document of json")
    }
}

impl HttpsDevice {
    /// With `NAME.pem` and `NAME.key` of a folder, whose authority it trusts.
    pub fn new(address: SocketAddr, certs: &Path, name: &str) -> Self {
        Self { address, certs: certs.to_owned(), name: name.to_owned() }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// [`TlsFailure`] if the handshake fails.
    pub fn dial(&self) -> Result<Box<dyn Wire>, TlsFailure> {
        dial_tls(self.address, &self.certs, Identity::Of(&self.certs, &self.name))
    }

    /// Asks, on a connection of its own; `headers` are whole lines.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> HttpsAnswer {
        let mut wire = self.dial().expect("a connection");
        wire.write_all(&request(method, path, headers, body)).expect("a request");
        read_answer(&mut *wire).expect("an answer")
    }

    /// The same without headers and body.
    pub fn get(&self, path: &str) -> HttpsAnswer {
        self.ask("GET", path, &[], b"")
    }

    /// The same with a body.
    pub fn post(&self, path: &str, body: &str) -> HttpsAnswer {
        self.ask("POST", path, &[], body.as_bytes())
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\n");
    headers.iter().for_each(|line| head.extend([*line, "\r\n"]));
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// The next answer of a connection, whole.
///
/// # Errors
/// The connection ended before it.
pub fn read_answer(wire: &mut dyn Wire) -> io::Result<HttpsAnswer> {
    let mut bytes = Vec::new();
    let ends = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let at = loop {
        if let Some(at) = ends(&bytes) {
            break at;
        }
        let mut byte = [0];
        wire.read_exact(&mut byte)?;
        bytes.extend(byte);
    };
    let head = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
    let mut answer = HttpsAnswer { status, head, body: String::new() };
    let len = answer.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    wire.read_exact(&mut body)?;
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}
