//! HTTPS for devices and services: as written, and as meant.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use super::listeners::addresses;
use super::settings::section;
use super::written::Written;

section! {
    /// HTTPS for devices and services, in the shape of AWS's data plane; always with a client certificate.
    pub struct DeviceHttp in "device_http" {
        /// Address to listen on.
        bind: Option<String> = None, "address:port", "absent: nobody may publish by HTTPS" shown "\"127.0.0.1:8443\"";
        /// Address that devices dial; `bind` when absent.
        advertise: Option<String> = None, "host:port", "devices on this machine can dial what we bind" shown "\"gateway-1.example:8443\"";
        /// Connections open here at once; more are closed. `limits.connections_per_address` and the rates of new connections hold here too.
        connections: u32 = 4_096, "connections", "a request takes milliseconds, and its connection need not stay" in 1..=1_000_000;
        /// Largest body of a request; a larger one is refused (413).
        body_bytes: u32 = 131_072, "bytes", "the largest payload that AWS takes" in 1_024..=1_048_576;
        /// Largest head of a request: its line and its headers; a larger one is refused (431).
        header_bytes: u32 = 16_384, "bytes", "user properties stand in a header" in 8_192..=262_144;
        /// Time for the head of a request, and between two requests of a connection; then the connection is closed.
        idle_timeout_ms: u32 = 60_000, "milliseconds", "clients keep a connection for about as long" in 100..=3_600_000;
        /// Time from the head of a request to its whole body; then it is refused (408).
        body_timeout_ms: u32 = 15_000, "milliseconds", "the largest body gets through at 70 kbit/s" in 100..=600_000;
        /// Time that an answer may take, but for messages that wait for their receiver; then it is refused (503).
        answer_timeout_ms: u32 = 15_000, "milliseconds", "longer than the store may be busy" in 100..=120_000;
        /// Calls that wait for another gateway or for a client at once: messages for one client, ends of connections, lists of subscriptions; more are refused (429).
        waiting: u32 = 64, "calls", "each has a thread while it waits, a client's acknowledgement takes milliseconds" in 1..=400;
        /// Requests per second of one client; more are refused (429). A second's worth may come at once; 0 is no limit.
        requests_per_s: u32 = 100, "requests per second", "what AWS lets one connection publish" in 0..=1_000_000;
    }
}

/// HTTPS for devices and services as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHttpListener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// `host:port` that devices dial.
    pub advertise: String,
    /// Connections open at once.
    pub connections: u32,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Largest head, in bytes.
    pub header_bytes: usize,
    /// For a head, and between requests.
    pub idle: Duration,
    /// For a body.
    pub body: Duration,
    /// For an answer.
    pub answer: Duration,
    /// Calls that wait at once.
    pub waiting: u32,
    /// Requests per second of one client; 0 is no limit.
    pub requests_per_s: u32,
}

pub(super) fn device_http(
    written: &Written,
    has_tls: bool,
    faults: &mut Vec<Fault>,
) -> Option<DeviceHttpListener> {
    let it = &written.device_http;
    let Some(bind) = &it.bind else {
        if it.advertise.is_some() {
            let what = "means nothing without device_http.bind";
            faults.push(Fault::new("device_http.advertise", what));
        }
        return None;
    };
    if !has_tls {
        faults.push(Fault::new("device_http.bind", "needs [tls] with ca, cert and key"));
    }
    let (bind, advertise) = addresses("device_http", bind, it.advertise.as_deref(), faults)?;
    let milliseconds = |ms: u32| Duration::from_millis(ms.into());
    Some(DeviceHttpListener {
        bind,
        advertise,
        connections: it.connections,
        body_bytes: it.body_bytes as usize,
        header_bytes: it.header_bytes as usize,
        idle: milliseconds(it.idle_timeout_ms),
        body: milliseconds(it.body_timeout_ms),
        answer: milliseconds(it.answer_timeout_ms),
        waiting: it.waiting,
        requests_per_s: it.requests_per_s,
    })
}
