//! Where the gateways of a fleet are, and what stands in their configuration.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

/// What a fleet has that another has not.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    everywhere: String,
    only: Vec<(usize, String)>,
    cables: bool,
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
    /// MQTT over WebSocket in TLS, path `/mqtt`.
    pub secure_websocket: SocketAddr,
    /// Health, metrics and the API.
    pub http: SocketAddr,
    /// The peer link.
    pub peer: SocketAddr,
    /// For listeners that a test adds: `@extra1@` and `@extra2@` in its settings; none left in a fleet of more than four.
    pub extra: [SocketAddr; 2],
}

impl Settings {
    /// Sections of TOML for every gateway; `@dir@` stands for the folder of the fleet.
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

    /// Peers of every gateway dial a cable that the test can cut: its `@extra2@` address.
    #[must_use]
    pub const fn with_cables(mut self) -> Self {
        self.cables = true;
        self
    }

    /// Whether peers dial cables.
    pub(super) const fn has_cables(&self) -> bool {
        self.cables
    }

    /// One certificate may be any number of clients, unless the test says otherwise.
    fn certificate_rule(&self) -> &'static str {
        let mut all = self.only.iter().map(|(_, toml)| toml).chain([&self.everywhere]);
        let said = all.any(|toml| toml.contains("[access.certificate]"));
        if said { "" } else { "[access.certificate]\nclient_id = \"free\"\n" }
    }

    /// The configuration file of gateway `number` in the folder `dir` of its fleet.
    pub(super) fn file(&self, number: usize, place: &Place, dir: &Path) -> String {
        let id = id(number);
        let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let certs = dir.join("certs");
        let Place { mqtt, mqtts, websocket, secure_websocket, http, peer, extra: [extra1, extra2] } =
            place;
        let more: String = self
            .only
            .iter()
            .filter(|(of, _)| *of == number)
            .map(|(_, toml)| toml.as_str())
            .collect();
        let rule = self.certificate_rule();
        let advertise =
            if self.cables { format!("advertise = \"{extra2}\"\n") } else { String::new() };
        let settings = with_rights(format!("{rule}{}\n{more}", self.everywhere));
        format!(
            "[gateway]\nid = \"{id}\"\ndata = {data}\nworkers = 2\n\
             [[listen]]\nkind = \"tcp\"\nbind = \"{mqtt}\"\n\
             [[listen]]\nkind = \"tls\"\nbind = \"{mqtts}\"\n\
             [[listen]]\nkind = \"websocket\"\nbind = \"{websocket}\"\n\
             [[listen]]\nkind = \"secure_websocket\"\nbind = \"{secure_websocket}\"\n\
             [tls]\nca = {ca}\ncert = {cert}\nkey = {key}\ncrl = {crl}\n\
             [peer]\nbind = \"{peer}\"\n{advertise}\
             [http]\nbind = \"{http}\"\n\
             {settings}\n",
            data = quoted(&dir.join("store")),
            ca = quoted(&certs.join("ca.pem")),
            cert = quoted(&certs.join(format!("{id}.pem"))),
            key = quoted(&certs.join(format!("{id}.key"))),
            crl = quoted(&certs.join("crl.pem")),
        )
        .replace("@dir@", &dir.display().to_string())
        .replace("@extra1@", &extra1.to_string())
        .replace("@extra2@", &extra2.to_string())
    }
}

/// Nobody has rights unless somebody gives them; most tests are about something else.
fn with_rights(settings: String) -> String {
    if settings.contains("allow_all") || settings.contains("acl") {
        settings
    } else if settings.contains("[access]") {
        settings.replacen("[access]", "[access]\nallow_all = true", 1)
    } else {
        format!("[access]\nallow_all = true\n{settings}")
    }
}

/// The name of gateway `number`, counted from 1.
pub(super) fn id(number: usize) -> String {
    format!("gw-{number}")
}

/// A block of ports that no other test process uses while this one lives: its lock file is held, and the ports lie below
/// those that the system gives to connections.
fn block() -> impl Iterator<Item = SocketAddr> {
    let dir = std::env::temp_dir().join("tidegate-test-ports");
    std::fs::create_dir_all(&dir).expect("a folder for port locks");
    let (first, lock) = (0..BLOCKS)
        .find_map(|block| {
            let first = FIRST_PORT + block * BLOCK;
            let lock = File::create(dir.join(first.to_string())).expect("a port lock");
            let free = lock.try_lock().is_ok()
                && (first..first + BLOCK).all(|port| TcpListener::bind((LOCALHOST, port)).is_ok());
            free.then_some((first, lock))
        })
        .expect("a free block of ports");
    // Held until the process ends.
    std::mem::forget(lock);
    (first..first + BLOCK).map(|port| SocketAddr::from((LOCALHOST, port)))
}

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST_PORT: u16 = 20_000;
const BLOCK: u16 = 40;
const BLOCKS: u16 = 296;

/// Places for so many gateways; each call has its own.
pub(super) fn places(gateways: usize) -> Vec<Place> {
    let mut free = block();
    let mut next = || free.next().expect("a fleet of a test has at most six gateways");
    let mut places: Vec<_> = (0..gateways)
        .map(|_| Place {
            mqtt: next(),
            mqtts: next(),
            websocket: next(),
            secure_websocket: next(),
            http: next(),
            peer: next(),
            extra: [SocketAddr::from((LOCALHOST, 0)); 2],
        })
        .collect();
    for (address, free) in places.iter_mut().flat_map(|place| &mut place.extra).zip(free) {
        *address = free;
    }
    places
}

/// A `--base-port-offset` at which the ports of two gateways of a launched fleet are free; each call gives another.
pub fn free_offset() -> String {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let usual: [u16; 5] = [1883, 8883, 8083, 18083, 7883];
    let free = |offset: &u16| {
        let mut ports = usual.iter().flat_map(|port| [port + offset, port + offset + 10]);
        ports.all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    };
    // Processes that run at the same time begin far from each other.
    let process = u16::try_from(std::process::id() % 600).expect("below 600") * 50;
    // No two of the usual ports are a small multiple of this apart, so that two fleets at once do not meet.
    let begin = 1_000 + process + CALLS.fetch_add(1, Ordering::Relaxed) * 440;
    let mut offsets = (begin..).step_by(20).map(|offset| offset % 30_000 + 1_000);
    offsets.find(free).expect("a free place").to_string()
}
