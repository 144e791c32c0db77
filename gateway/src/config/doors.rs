//! The ways in as written: listeners and certificates.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::section;

section! {
    /// One listener for clients.
    pub struct Listen in "listen" {
        /// What is spoken there.
        kind: ListenKind = ListenKind::Tcp, "\"tcp\", \"tls\", \"websocket\", \"secure_websocket\" or \"unix\"", "the simplest one";
        /// Address to listen on; for `unix` the path of the socket.
        bind: String = "127.0.0.1:1883".to_owned(), "address:port, or path", "loopback: nothing is open to the network unless somebody says so";
        /// Address that clients are sent to, in server references; `bind` when absent.
        advertise: Option<String> = None, "host:port", "clients on this machine can dial what we bind" shown "\"gateway-1.example:8883\"";
        /// Path of the WebSocket; for the two WebSocket kinds only.
        path: String = "/mqtt".to_owned(), "path", "what clients ask for by habit";
        /// Who may open the socket; for `unix` only.
        mode: String = "0660".to_owned(), "octal file mode", "the gateway's user and group";
        /// Whether clients must show a certificate; for the two kinds with TLS only. One that is shown must be good in any case.
        client_certificate: ClientCertificate = ClientCertificate::Required, "\"required\", \"optional\" or \"none\"", "nobody without one gets as far as CONNECT";
        /// Authority that signs the clients of this listener; `tls.ca` when absent.
        ca: Option<PathBuf> = None, "path", "most fleets have one authority" shown "\"certs/other-ca.pem\"";
        /// Certificates that this authority has revoked; together with `ca` only.
        crl: Option<PathBuf> = None, "path", "absent: `tls.crl` is for `tls.ca`, and nothing of another authority is revoked" shown "\"certs/other-crl.pem\"";
        /// Connections open here at once; more are refused (0x97). `limits.connections` when absent.
        connections: Option<u32> = None, "connections", "the limit of the whole gateway is enough for most" shown "50000";
        /// Whether every connection begins with a PROXY protocol header, version 1 or 2; one without it is closed.
        proxy_protocol: bool = false, "true or false", "whoever writes that header says where a client comes from";
        /// Who may write it; connections from elsewhere are closed.
        proxy_trusted: Vec<String> = Vec::new(), "list of addresses or CIDR blocks", "nobody is trusted unless named" shown "[\"10.0.0.0/8\"]";
        /// Allows a listener without TLS beyond loopback, or one with TLS to which anonymous clients need show no certificate; everybody who can reach it can connect.
        insecure_listener_beyond_loopback: bool = false, "true or false", "should be a decision, not an accident";
    }
}

section! {
    /// Certificates of this gateway and of whom it trusts; PEM files, read again when they change.
    pub struct TlsFiles in "tls" {
        /// Authority that signs gateways, devices and operators.
        ca: Option<PathBuf> = None, "path", "without the four files there is no TLS and no peer link" shown "\"certs/ca.pem\"";
        /// Certificate of this gateway.
        cert: Option<PathBuf> = None, "path", "set together with `ca` and `key`" shown "\"certs/gw-1.pem\"";
        /// Private key of this gateway.
        key: Option<PathBuf> = None, "path", "set together with `ca` and `cert`" shown "\"certs/gw-1.key\"";
        /// Certificates that are no longer trusted; connections made with one are cut when it appears here.
        crl: Option<PathBuf> = None, "path", "absent: nothing is revoked" shown "\"certs/crl.pem\"";
        /// The oldest version that clients may speak; peer gateways always speak 1.3.
        min_version: TlsVersion = TlsVersion::V12, "\"1.2\" or \"1.3\"", "devices in the field are old";
        /// What a client gets that asks for a name that no certificate is for.
        unknown_name: UnknownName = UnknownName::Default, "\"default\" for the gateway's own certificate, or \"refuse\"", "clients that dial an address ask for all kinds of names";
        and
        /// More certificates, for clients that ask for one of their names.
        certificate: Vec<TlsCertificate>;
    }
}

section! {
    /// A certificate for clients that ask for one of its names.
    pub struct TlsCertificate in "tls.certificate" {
        /// Names that clients ask for (SNI); `*.example` stands for one label more.
        names: Vec<String> = Vec::new(), "list of names", "a certificate nobody asks for would be useless" shown "[\"mqtt.example\"]";
        /// The certificate.
        cert: Option<PathBuf> = None, "path", "set together with `key`" shown "\"certs/mqtt.example.pem\"";
        /// Its private key.
        key: Option<PathBuf> = None, "path", "set together with `cert`" shown "\"certs/mqtt.example.key\"";
    }
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenKind {
    /// MQTT over TCP.
    Tcp,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    Websocket,
    /// MQTT over WebSocket over TLS.
    SecureWebsocket,
    /// MQTT over a Unix socket.
    Unix,
}

impl ListenKind {
    /// Whether it is TLS.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebsocket)
    }

    /// Whether it is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Websocket | Self::SecureWebsocket)
    }

    /// The word used in the file, the API and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Websocket => "websocket",
            Self::SecureWebsocket => "secure_websocket",
            Self::Unix => "unix",
        }
    }
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// They must.
    Required,
    /// They may; one that does not fit is refused all the same.
    Optional,
    /// They are not asked for one.
    None,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// What a client gets that asks for a name that no certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownName {
    /// The gateway's own certificate.
    Default,
    /// Nothing: the handshake ends.
    Refuse,
}
