//! Where the gateways of a fleet are, and what stands in their configuration.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// What a fleet has that another has not.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    everywhere: String,
    only: Vec<(usize, String)>,
    cables: bool,
    islands: bool,
    calendar_feeds: bool,
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

    /// Gateways whose silence is noticed as soon as that of a gateway with the usual settings; for tests in which they die.
    #[must_use]
    pub fn mortal() -> Self {
        Self::default().everywhere("[lease]\nttl_ms = 3000\nrenew_ms = 1000\n")
    }

    /// Peers of every gateway dial a cable that the test can cut: its `@extra2@` address.
    #[must_use]
    pub const fn with_cables(mut self) -> Self {
        self.cables = true;
        self
    }

    /// Calendars are read by tokens at every gateway.
    #[must_use]
    pub const fn with_calendar_feeds(mut self) -> Self {
        self.calendar_feeds = true;
        self
    }

    /// Every gateway has a network of its own; see [`may_make_islands`](super::may_make_islands). Clients are let in by
    /// [`Fleet::on`](super::Fleet::on).
    #[must_use]
    pub const fn on_islands(mut self) -> Self {
        self.islands = true;
        self
    }

    /// Whether every gateway has a network of its own.
    pub(super) const fn has_islands(&self) -> bool {
        self.islands
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
        let settings = with_patience(with_rights(format!("{rule}{}\n{more}", self.everywhere)));
        format!(
            "[gateway]\nid = \"{id}\"\ndata = {data}\nworkers = 2\n\
             [[listen]]\nkind = \"tcp\"\nbind = \"{mqtt}\"\n\
             [[listen]]\nkind = \"tls\"\nbind = \"{mqtts}\"\n\
             [[listen]]\nkind = \"websocket\"\nbind = \"{websocket}\"\n\
             [[listen]]\nkind = \"secure_websocket\"\nbind = \"{secure_websocket}\"\n\
             [tls]\nca = {ca}\ncert = {cert}\nkey = {key}\ncrl = {crl}\n\
             [peer]\nbind = \"{peer}\"\n{advertise}\
             [http]\nbind = \"{http}\"\ncalendar_feeds = {feeds}\n\
             {settings}\n",
            feeds = self.calendar_feeds,
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

/// A machine that builds meanwhile may stand still for seconds. What that does to leases, to turns at the store and to
/// connections that are slow to say who they are is for the tests that are about it.
fn with_patience(mut settings: String) -> String {
    if !settings.contains("[lease]") {
        settings.push_str("\n[lease]\nttl_ms = 60000\n");
    }
    if !settings.contains("[store]") {
        settings.push_str("\n[store]\nbusy_ms = 30000\n");
    }
    if settings.contains("connect_timeout_ms") {
        settings
    } else if settings.contains("[limits]") {
        settings.replacen("[limits]", "[limits]\nconnect_timeout_ms = 60000", 1)
    } else {
        settings + "\n[limits]\nconnect_timeout_ms = 60000\n"
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

/// A `--base-port-offset` at which the ports of two gateways of a launched fleet are free, and stay so while this process
/// lives: below the ports of the other blocks, and each with a lock that is held.
pub fn free_offset() -> String {
    let dir = std::env::temp_dir().join("tidegate-test-ports");
    std::fs::create_dir_all(&dir).expect("a folder for port locks");
    let usual: [u16; 6] = [1883, 8883, 8083, 18083, 7883, 18443];
    let lock = |port: u16| {
        let lock = File::create(dir.join(port.to_string())).expect("a port lock");
        let free = lock.try_lock().is_ok() && TcpListener::bind((LOCALHOST, port)).is_ok();
        free.then_some(lock)
    };
    let locks = |offset: &u16| -> Option<Vec<File>> {
        usual.iter().flat_map(|port| [port + offset, port + offset + 10]).map(lock).collect()
    };
    // 20 apart, as a fleet takes the ports of two gateways.
    let free = || (20..1_540).step_by(20).find_map(|offset| Some((offset, locks(&offset)?)));
    let (offset, locks) = free().expect("free places for a launched fleet");
    // Held until the process ends.
    std::mem::forget(locks);
    offset.to_string()
}
