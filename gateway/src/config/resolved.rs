//! The configuration as meant: checked, whole, in the types the running code uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use access::Classes;
use maintenance::StandIns;
use maintenance::fleet::OwnDrain;
use protocol::GatewayId;
use protocol::peer::PeerLimits;

use super::asked::Prometheus;
use super::authentication::{self, Authentication};
use super::classes;
use super::device_http::{DeviceHttpListener, device_http};
use super::fault::{ConfigError, Fault};
use super::limits::Limits;
use super::listeners::{Authority, Listener, Tls, addresses, listeners, tls};
use super::mqtt::Mqtt;
use super::presence::PresenceSettings;
use super::programs::{self, HostProgram};
use super::resume::ResumeSettings;
use super::rights::Rights;
use super::roles::Roles;
use super::shadow::ShadowSettings;
use super::source::Source;
use super::threads::threads;
use super::told::Webhook;
use super::windows::{self, MaintenanceWindow};
use super::written::{
    DrainSettings, LeaseSettings, Log, Maintenance, Store, Wills, Written, parse,
};

/// What one gateway process is told to be. Nothing in it needs another check.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Name of this gateway, unique in the fleet.
    pub id: GatewayId,
    /// Name of the fleet.
    pub fleet: String,
    /// Programs that may follow in place, besides the one that runs.
    pub successors: Vec<PathBuf>,
    /// Folder of the store.
    pub data: PathBuf,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Threads that new connections meet.
    pub front_threads: NonZeroUsize,
    /// Listeners for clients; at least one.
    pub listeners: Vec<Listener>,
    /// Certificates; there whenever a listener or the peer link needs them.
    pub tls: Option<Tls>,
    /// The peer link; none when this gateway is alone.
    pub peer: Option<PeerListener>,
    /// Health, metrics and the API.
    pub http: HttpListener,
    /// HTTPS for devices and services, if it is served.
    pub device_http: Option<DeviceHttpListener>,
    /// How much of anything.
    pub limits: Limits,
    /// What the standard leaves to us.
    pub mqtt: Mqtt,
    /// How durable is durable.
    pub store: Store,
    /// How long a client may go back.
    pub resume: ResumeSettings,
    /// Who is there.
    pub presence: PresenceSettings,
    /// What a shadow may be, and how fast it may be asked.
    pub shadow: ShadowSettings,
    /// Proof of life.
    pub lease: Lease,
    /// Classes of clients, and the limits of everybody else.
    pub classes: Arc<Classes>,
    /// Where it stands who may say what.
    pub rights: Rights,
    /// How clients are identified.
    pub authentication: Authentication,
    /// Pace of a drain, where the request does not say.
    pub drain: DrainDefaults,
    /// Clients that are not moved at about the same time.
    pub stand_ins: Arc<StandIns>,
    /// When this gateway may be drained by itself, and how many may be at once.
    pub maintenance: MaintenanceLimits,
    /// What the configuration is called.
    pub revision: Option<String>,
    /// What is logged.
    pub log: Log,
    /// The file, if it came from one.
    pub source: Option<Source>,
}

impl Resolved {
    /// The files that are read again when they change.
    pub fn files(&self) -> Vec<PathBuf> {
        let authorities = self.listeners.iter().filter_map(|listener| listener.authority.as_ref());
        let tls =
            self.tls.iter().flat_map(Tls::files).chain(authorities.flat_map(Authority::files));
        let own = self.source.iter().map(|source| source.path().to_owned());
        tls.chain(self.authentication.files()).chain(self.rights.files()).chain(own).collect()
    }
}

/// Where peer gateways dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerListener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// `host:port` that peer gateways dial.
    pub advertise: String,
}

/// Where operators dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// `host:port` that operators dial.
    pub advertise: String,
    /// Whether calendars are read by a token.
    pub calendar_feeds: bool,
}

/// Proof of life in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Silence after which a gateway counts as dead.
    pub ttl: Duration,
    /// Time between renewals.
    pub renew: Duration,
}

impl Lease {
    /// The limits of a peer link. However short the lease is, the dialling side pings three times before the other one takes
    /// the connection for stale.
    pub fn link_limits(&self) -> PeerLimits {
        let limits = PeerLimits::default();
        let stale_after = self.ttl.saturating_sub(self.renew);
        PeerLimits { stale_after, ping_every: limits.ping_every.min(stale_after / 3), ..limits }
    }
}

/// Pace of a drain, where the request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainDefaults {
    /// Clients moved per second.
    pub per_s: u32,
    /// Time between "not ready" and the first refused client.
    pub announce: Duration,
    /// Time after which a drain gives up and serves again.
    pub timeout: Duration,
    /// Clients per second that this gateway takes from all others that are drained.
    pub accept_per_s: u32,
    /// What 99 of 100 clients that come should be answered within.
    pub connect_p99: Duration,
    /// How long a client may take to finish what is under way once it is to move.
    pub flush: Duration,
    /// How long the will of a moved client waits for it to come back; none if it is published as any other.
    pub takeover_wait: Option<Duration>,
}

impl DrainDefaults {
    /// What others have to know of it.
    pub const fn own(&self) -> OwnDrain {
        OwnDrain { per_s: self.per_s, announce: self.announce, timeout: self.timeout }
    }
}

/// When this gateway may be drained by itself, and how many may be at once.
#[derive(Debug, Clone)]
pub struct MaintenanceLimits {
    /// Serving gateways that must remain.
    pub min_available: u16,
    /// Gateways that may be drained at once.
    pub max_concurrent: u16,
    /// Gateways that may do work of seconds at once.
    pub pauses: u32,
    /// How long such work waits for a micro slot, in seconds.
    pub pause_wait_s: u32,
    /// Windows in which this gateway is drained.
    pub windows: Vec<MaintenanceWindow>,
    /// Publications per second that this gateway is meant to carry; 0 is not known.
    pub messages_per_s: u32,
    /// What this gateway is chosen by, and the domains it fails with.
    pub labels: BTreeMap<String, String>,
    /// The name of its time zone.
    pub zone: String,
    /// How long the scheduler's lease is good after it was renewed.
    pub scheduler_lasts: Duration,
    /// Which operators may do what.
    pub roles: Roles,
    /// What says something else after each start of the machine.
    pub boot_id: PathBuf,
    /// What is there as long as the machine is to be started again.
    pub reboot_required: PathBuf,
    /// Programs of this host that operations of the plan may run, by their names.
    pub hooks: BTreeMap<String, HostProgram>,
    /// Whom to tell what happens.
    pub webhook: Option<Webhook>,
    /// Whom to ask whether the queries of gates hold.
    pub prometheus: Option<Prometheus>,
    /// Whether what has come of visits is published.
    pub notices: bool,
}

/// Reads, parses and resolves a file; relative paths in it start at its folder.
///
/// # Errors
/// [`ConfigError`], with everything that is wrong at once where possible.
pub fn read(path: &Path) -> Result<Resolved, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let misread = |misread| ConfigError::Misread { path: path.to_owned(), misread };
    let written = parse(&text).map_err(misread)?;
    let mut resolved = resolve(&written, base)?;
    resolved.source = Some(Source::new(path, written));
    Ok(resolved)
}

/// Checks ranges and relations and completes what was left out; `base` is where relative paths start.
///
/// Touches no file and no socket: whether a certificate can be read shows when it is loaded.
///
/// # Errors
/// [`ConfigError::Faults`] with every fault.
pub fn resolve(written: &Written, base: &Path) -> Result<Resolved, ConfigError> {
    let mut faults = Vec::new();
    check_ranges(written, &mut faults);
    check_relations(written, &mut faults);
    Rights::check(&written.access, &mut faults);
    let classes = classes::resolve(&written.class, &written.limits, &mut faults);
    let id = gateway_id(written, &mut faults);
    let tls = tls(&written.tls, base, &mut faults);
    let listeners = listeners(written, tls.is_some(), base, &mut faults);
    let peer = peer(written, tls.is_some(), &mut faults);
    let http = http(written, tls.is_some(), &mut faults);
    let device_http = device_http(written, tls.is_some(), &mut faults);
    let authentication = authentication::resolve(&written.access, base, &mut faults);
    let windows = windows::resolve(&written.maintenance.window, &mut faults);
    let labels = windows::labels(&written.maintenance, &mut faults);
    let stand_ins = stand_ins(&written.drain, &mut faults);
    let hooks = programs::resolve(&written.maintenance.hooks, &mut faults);
    let webhook = written.maintenance.webhook.resolve(base, &mut faults);
    let prometheus = written.maintenance.prometheus.resolve(base, &mut faults);
    // Each of these is absent only with its fault noted.
    match (id, http) {
        (Some(id), Some(http)) if faults.is_empty() => Ok(Resolved {
            id,
            fleet: written.gateway.fleet.clone(),
            successors: written.restart.programs.clone(),
            data: base.join(&written.gateway.data),
            workers: threads(written.gateway.workers, 1),
            front_threads: threads(written.gateway.front_threads, 2),
            listeners,
            tls,
            peer,
            http,
            device_http,
            limits: written.limits,
            mqtt: written.mqtt.clone(),
            store: written.store.clone(),
            presence: written.presence,
            resume: written.resume,
            shadow: written.shadow,
            lease: lease(&written.lease),
            classes: Arc::new(classes),
            rights: Rights::of(&written.access, base),
            authentication,
            drain: drain(&written.drain),
            stand_ins,
            maintenance: MaintenanceLimits {
                webhook,
                prometheus,
                ..maintenance(&written.maintenance, windows, labels, hooks)
            },
            revision: written.gateway.revision.clone(),
            log: written.log.clone(),
            source: None,
        }),
        _ => Err(ConfigError::Faults(faults)),
    }
}

fn check_ranges(written: &Written, faults: &mut Vec<Fault>) {
    written.gateway.check_ranges(faults);
    written.tls.check_ranges(faults);
    written.peer.check_ranges(faults);
    written.http.check_ranges(faults);
    written.device_http.check_ranges(faults);
    written.limits.check_ranges(faults);
    written.mqtt.check_ranges(faults);
    written.mqtt.check(faults);
    written.store.check_ranges(faults);
    written.lease.check_ranges(faults);
    written.presence.check_ranges(faults);
    written.resume.check_ranges(faults);
    written.shadow.check_ranges(faults);
    written.access.check_ranges(faults);
    written.access.check_sections(faults);
    written.drain.check_ranges(faults);
    written.restart.check_ranges(faults);
    written.maintenance.check_ranges(faults);
    written.maintenance.roles.check_ranges(faults);
    written.maintenance.webhook.check_ranges(faults);
    written.maintenance.prometheus.check_ranges(faults);
    written.maintenance.roles.check(faults);
    written.log.check_ranges(faults);
    for listen in &written.listen {
        listen.check_ranges(faults);
    }
    for certificate in &written.tls.certificate {
        certificate.check_ranges(faults);
    }
    for window in &written.maintenance.window {
        window.check_ranges(faults);
    }
    for hook in written.maintenance.hooks.values() {
        hook.check_ranges(faults);
    }
}

/// What stands around a packet on the peer link: who it is for, and the frame itself.
const AROUND_PACKET_BYTES: usize = 64 * 1024;

fn check_relations(written: &Written, faults: &mut Vec<Fault>) {
    let limits = &written.limits;
    if limits.outbox_bytes < limits.packet_bytes {
        let what = format!(
            "{} is less than limits.packet_bytes ({}): the largest packet could never be sent",
            limits.outbox_bytes, limits.packet_bytes
        );
        faults.push(Fault::new("limits.outbox_bytes", what));
    }
    let frame = PeerLimits::default().max_frame_bytes;
    let packet = limits.packet_bytes as usize;
    if written.peer.bind.is_some() && packet + AROUND_PACKET_BYTES > frame {
        let most = frame.saturating_sub(AROUND_PACKET_BYTES);
        let what = format!(
            "{packet} is more than {most}, and there is peer.bind: the largest packet would not fit the peer link"
        );
        faults.push(Fault::new("limits.packet_bytes", what));
    }
    let lease = &written.lease;
    if lease.renew_ms.saturating_mul(2) > lease.ttl_ms {
        let what = format!(
            "{} is more than half of lease.ttl_ms ({}): one late renewal would look like death",
            lease.renew_ms, lease.ttl_ms
        );
        faults.push(Fault::new("lease.renew_ms", what));
    }
    let drain = &written.drain;
    if drain.announce_ms >= drain.timeout_ms {
        let what = format!(
            "{} is not less than drain.timeout_ms ({}): no client would ever be moved",
            drain.announce_ms, drain.timeout_ms
        );
        faults.push(Fault::new("drain.announce_ms", what));
    }
    if written.gateway.fleet.is_empty() {
        faults.push(Fault::new("gateway.fleet", "is empty"));
    }
}

fn gateway_id(written: &Written, faults: &mut Vec<Fault>) -> Option<GatewayId> {
    let Some(text) = &written.gateway.id else {
        faults.push(Fault::new("gateway.id", "is missing: every gateway needs a name of its own"));
        return None;
    };
    let id = GatewayId::new(text)
        .map_err(|error| faults.push(Fault::new("gateway.id", format!("{text:?} {error}"))))
        .ok()?;
    if !id.is_first_berth() {
        let what = format!("{text:?} ends with the mark of a second berth, `~`");
        faults.push(Fault::new("gateway.id", what));
    }
    Some(id)
}

fn peer(written: &Written, has_tls: bool, faults: &mut Vec<Fault>) -> Option<PeerListener> {
    let Some(bind) = &written.peer.bind else {
        if written.peer.advertise.is_some() {
            faults.push(Fault::new("peer.advertise", "means nothing without peer.bind"));
        }
        return None;
    };
    if !has_tls {
        faults.push(Fault::new("peer.bind", "needs [tls] with ca, cert and key"));
    }
    let (bind, advertise) = addresses("peer", bind, written.peer.advertise.as_deref(), faults)?;
    Some(PeerListener { bind, advertise })
}

fn http(written: &Written, has_tls: bool, faults: &mut Vec<Fault>) -> Option<HttpListener> {
    let http = &written.http;
    let (bind, advertise) = addresses("http", &http.bind, http.advertise.as_deref(), faults)?;
    if !bind.ip().is_loopback() && !has_tls {
        let what = format!("{bind} is beyond loopback: needs [tls] with ca, cert and key");
        faults.push(Fault::new("http.bind", what));
    }
    Some(HttpListener { bind, advertise, calendar_feeds: http.calendar_feeds })
}

fn lease(written: &LeaseSettings) -> Lease {
    Lease {
        ttl: Duration::from_millis(written.ttl_ms.into()),
        renew: Duration::from_millis(written.renew_ms.into()),
    }
}

fn drain(written: &DrainSettings) -> DrainDefaults {
    DrainDefaults {
        per_s: written.per_s,
        announce: Duration::from_millis(written.announce_ms),
        timeout: Duration::from_millis(written.timeout_ms),
        accept_per_s: written.accept_per_s,
        connect_p99: Duration::from_millis(written.connect_p99_ms.into()),
        flush: Duration::from_millis(written.flush_ms.into()),
        takeover_wait: match written.wills {
            Wills::Defer => Some(Duration::from_millis(written.takeover_wait_ms.into())),
            Wills::Strict => None,
        },
    }
}

fn stand_ins(written: &DrainSettings, faults: &mut Vec<Fault>) -> Arc<StandIns> {
    let gap = Duration::from_millis(written.stand_in_gap_ms.into());
    Arc::new(StandIns::new(&written.stand_ins, gap).unwrap_or_else(|why| {
        faults.push(Fault::new("drain.stand_ins", why.to_string()));
        StandIns::default()
    }))
}

fn maintenance(
    written: &Maintenance,
    windows: Vec<MaintenanceWindow>,
    labels: BTreeMap<String, String>,
    hooks: BTreeMap<String, HostProgram>,
) -> MaintenanceLimits {
    MaintenanceLimits {
        min_available: written.min_available,
        max_concurrent: written.max_concurrent,
        pauses: written.pauses,
        pause_wait_s: written.pause_wait_s,
        windows,
        messages_per_s: written.messages_per_s,
        labels,
        zone: written.tz.clone(),
        scheduler_lasts: Duration::from_millis(written.scheduler_ttl_ms.into()),
        roles: written.roles.clone(),
        boot_id: written.boot_id.clone(),
        reboot_required: written.reboot_required.clone(),
        hooks,
        webhook: None,
        prometheus: None,
        notices: written.notices,
    }
}

#[cfg(test)]
mod tests {
    use protocol::peer::{Acceptor, Dialler, FrameBuffer, Identity, OwnInterest};
    use protocol::{Incarnation, Now};

    use super::*;

    const TLS: &str = "[tls]\nca = \"ca.pem\"\ncert = \"/abs/gw.pem\"\nkey = \"gw.key\"\n";

    fn resolved(text: &str) -> Result<Resolved, Vec<String>> {
        let text = if text.contains("[gateway]") {
            text.to_owned()
        } else {
            format!("[gateway]\nid = \"gw-1\"\n{text}")
        };
        resolve(&parse(&text).unwrap(), Path::new("/base")).map_err(|error| {
            let ConfigError::Faults(faults) = error else { panic!("{error}") };
            faults.iter().map(Fault::to_string).collect()
        })
    }

    fn fault(text: &str) -> String {
        let faults = resolved(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap()
    }

    #[test]
    fn a_file_with_only_a_name_is_a_plain_gateway_on_loopback() {
        let it = resolved("").unwrap();
        assert_eq!(it.id.as_str(), "gw-1");
        assert_eq!(it.listeners.len(), 1);
        assert_eq!(it.listeners[0].advertise, "127.0.0.1:1883");
        assert!(it.tls.is_none() && it.peer.is_none());
        assert_eq!(it.data, Path::new("/base/./tidegate-data"));
        assert_eq!(it.lease.ttl, Duration::from_secs(3));
        assert_eq!(it.drain.takeover_wait, Some(Duration::from_secs(30)));
        assert_eq!(it.drain.own(), OwnDrain::default());
    }

    #[test]
    fn a_link_is_not_stale_between_two_pings_whatever_lease_is_allowed() {
        for (ttl, renew) in [(500, 100), (500, 250), (1_000, 500), (3_000, 1_000), (60_000, 100)] {
            let it = resolved(&format!("[lease]\nttl_ms = {ttl}\nrenew_ms = {renew}\n")).unwrap();
            let limits = it.lease.link_limits();
            let me = |name: &str| Identity {
                fleet: "fleet".into(),
                gateway: GatewayId::new(name).unwrap(),
                incarnation: Incarnation(1),
            };
            let mut dialler = Dialler::new(me("a"), GatewayId::new("b").unwrap(), limits);
            let mut acceptor = Acceptor::new(me("b"), GatewayId::new("a").unwrap(), limits);
            dialler.handle_connected(Now::default());
            acceptor.handle_connected(Now::default());
            let (mut there, mut back) = (FrameBuffer::new(1 << 20), FrameBuffer::new(1 << 20));
            for _ in 0..20 {
                // Half as late again as it should be.
                let late = dialler.deadline().unwrap_or_default() + limits.ping_every / 2;
                let now = Now { mono: late, ..Now::default() };
                dialler.handle_timeout(now).unwrap();
                let (mut sent, mut answer) = (Vec::new(), Vec::new());
                dialler.poll_write(&mut sent, &OwnInterest::default());
                there.space().extend_from_slice(&sent);
                while let Some(frame) = there.take().unwrap() {
                    acceptor.handle_frame(now, frame).unwrap();
                }
                acceptor.poll_write(&mut answer);
                back.space().extend_from_slice(&answer);
                while let Some(frame) = back.take().unwrap() {
                    dialler.handle_frame(now, frame).unwrap();
                }
            }
            assert!(dialler.is_up() && acceptor.is_up());
        }
    }

    #[test]
    fn a_missing_name_is_a_fault() {
        assert!(fault("[gateway]\nworkers = 1\n").starts_with("gateway.id: is missing"));
        assert!(fault("[gateway]\nid = \"a b\"\n").contains("not allowed"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = resolved("[limits]\nconnections = 0\n[lease]\nrenew_ms = 2000\n").unwrap_err();
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[0], "limits.connections: 0 is not in 1 to 10000000 connections");
        assert!(faults[1].starts_with("lease.renew_ms: 2000 is more than half"), "{faults:?}");
    }

    #[test]
    fn a_plain_listener_beyond_loopback_must_be_spelled_out() {
        let open = "[[listen]]\nbind = \"10.0.0.1:1883\"\n";
        assert!(fault(open).contains("insecure_listener_beyond_loopback"));
        let spelled = format!("{open}insecure_listener_beyond_loopback = true\n");
        assert_eq!(resolved(&spelled).unwrap().listeners.len(), 1);
        let secure = format!("[[listen]]\nkind = \"tls\"\nbind = \"10.0.0.1:8883\"\n{TLS}");
        assert_eq!(resolved(&secure).unwrap().listeners.len(), 1);
    }

    #[test]
    fn an_address_nobody_can_dial_needs_another_to_tell() {
        let text = format!("[[listen]]\nkind = \"tls\"\nbind = \"0.0.0.0:8883\"\n{TLS}");
        assert_eq!(fault(&text), "listen[0].advertise: is missing: nobody can dial 0.0.0.0:8883");
        let told = text.replace("[tls]", "advertise = \"gw.example:8883\"\n[tls]");
        assert_eq!(resolved(&told).unwrap().listeners[0].advertise, "gw.example:8883");
    }

    #[test]
    fn tls_peers_and_remote_operators_need_certificates() {
        assert!(fault("[[listen]]\nkind = \"tls\"\n").contains("needs [tls]"));
        assert!(fault("[peer]\nbind = \"127.0.0.1:7883\"\n").contains("needs [tls]"));
        assert!(fault("[http]\nbind = \"10.0.0.1:18083\"\n").contains("needs [tls]"));
        assert!(fault("[tls]\nca = \"ca.pem\"\n").contains("together"));
    }

    #[test]
    fn the_largest_packet_fits_the_peer_link() {
        let alone = |bytes: u32| {
            format!("[limits]\npacket_bytes = {bytes}\noutbox_bytes = 33554432\n{TLS}")
        };
        let peers = |bytes: u32| alone(bytes) + "[peer]\nbind = \"127.0.0.1:7883\"\n";
        assert!(resolved(&alone(16_711_681)).is_ok() && resolved(&peers(16_711_680)).is_ok());
        let fault = fault(&peers(16_711_681));
        assert!(
            fault.starts_with("limits.packet_bytes: 16711681 is more than 16711680"),
            "{fault}"
        );
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let tls = resolved(TLS).unwrap().tls.unwrap();
        assert_eq!(tls.ca, Path::new("/base/ca.pem"));
        assert_eq!(tls.cert, Path::new("/abs/gw.pem"));
    }

    #[test]
    fn without_anonymous_access_a_plain_listener_is_useless() {
        assert!(fault("[access]\nanonymous = false\n").contains("nobody could use it"));
    }

    #[test]
    fn two_listeners_on_one_address_are_a_fault() {
        assert!(fault("[[listen]]\n[[listen]]\nkind = \"websocket\"\n").contains("bound twice"));
    }

    #[test]
    fn the_outbox_holds_at_least_one_packet() {
        assert!(fault("[mqtt]\nresponse_topic = \"a/#\"\n").contains("mqtt.response_topic"));
        assert!(fault("[limits]\npacket_bytes = 268435455\n").contains("limits.outbox_bytes"));
    }
}
