//! Where the gateways of a fleet are, and what stands in their configuration.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// What a fleet has that another has not.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    everywhere: String,
    only: Vec<(usize, String)>,
}

/// The addresses of one gateway, all on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over TLS.
    pub mqtts: SocketAddr,
    /// MQTT over WebSocket, path `/mqtt`.
    pub websocket: SocketAddr,
    /// Health, metrics and the API.
    pub http: SocketAddr,
    /// The peer link.
    pub peer: SocketAddr,
}

impl Settings {
    /// Sections of TOML for every gateway.
    #[must_use]
    pub fn everywhere(mut self, toml: &str) -> Self {
        self.everywhere.push_str(toml);
        self
    }

    /// Sections of TOML for gateway `number` alone, counted from 1.
    #[must_use]
    pub fn only(mut self, number: usize, toml: impl Into<String>) -> Self {
        self.only.push((number, toml.into()));
        self
    }

    /// The configuration file of gateway `number` in the folder `dir` of its fleet.
    pub(super) fn file(&self, number: usize, place: &Place, dir: &Path) -> String {
        let id = id(number);
        let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let certs = dir.join("certs");
        let Place { mqtt, mqtts, websocket, http, peer } = place;
        let more: String = self
            .only
            .iter()
            .filter(|(of, _)| *of == number)
            .map(|(_, toml)| toml.as_str())
            .collect();
        format!(
            "[gateway]\nid = \"{id}\"\ndata = {data}\nworkers = 2\n\
             [[listen]]\nkind = \"tcp\"\nbind = \"{mqtt}\"\n\
             [[listen]]\nkind = \"tls\"\nbind = \"{mqtts}\"\n\
             [[listen]]\nkind = \"websocket\"\nbind = \"{websocket}\"\n\
             [tls]\nca = {ca}\ncert = {cert}\nkey = {key}\ncrl = {crl}\n\
             [peer]\nbind = \"{peer}\"\n\
             [http]\nbind = \"{http}\"\n\
             {everywhere}\n{more}\n",
            data = quoted(&dir.join("store")),
            ca = quoted(&certs.join("ca.pem")),
            cert = quoted(&certs.join(format!("{id}.pem"))),
            key = quoted(&certs.join(format!("{id}.key"))),
            crl = quoted(&certs.join("crl.pem")),
            everywhere = self.everywhere,
        )
    }
}

/// The name of gateway `number`, counted from 1.
pub(super) fn id(number: usize) -> String {
    format!("gw-{number}")
}

/// Places for so many gateways. All ports are held at the same time while they are chosen, so they are all different.
pub(super) fn places(gateways: usize) -> Vec<Place> {
    let held: Vec<_> = (0..gateways * 5)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
        .collect();
    let mut free = held.iter().map(|held| held.local_addr().expect("its address"));
    let mut next = || free.next().expect("one port was held for each");
    (0..gateways)
        .map(|_| Place {
            mqtt: next(),
            mqtts: next(),
            websocket: next(),
            http: next(),
            peer: next(),
        })
        .collect()
}
