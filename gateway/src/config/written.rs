//! The configuration as written: the shape of the TOML file, one table per section.

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::Misread;
use serde::{Deserialize, Serialize};

use super::asked::PrometheusSection;
use super::classes::ClassSection;
use super::device_http::DeviceHttp;
use super::doors::{Listen, TlsCertificate, TlsFiles};
use super::limits::Limits;
use super::mqtt::Mqtt;
use super::presence::PresenceSettings;
use super::programs::MaintenanceHook;
use super::resume::ResumeSettings;
use super::roles::Roles;
use super::settings::{Setting, section};
use super::shadow::ShadowSettings;
use super::told::WebhookSection;
use super::who::{Access, CertificateAccess, HookAccess, PasswordAccess, TokenAccess};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    /// Who this gateway is.
    pub gateway: Gateway,
    /// Where clients come in; one plain listener on loopback when there is none.
    pub listen: Vec<Listen>,
    /// Certificates of this gateway and of whom it trusts.
    pub tls: TlsFiles,
    /// The link to the other gateways of the fleet.
    pub peer: Peer,
    /// Health, metrics and the API.
    pub http: Http,
    /// HTTPS for devices and services.
    pub device_http: DeviceHttp,
    /// How much of anything.
    pub limits: Limits,
    /// What the standard leaves to us.
    pub mqtt: Mqtt,
    /// How durable is durable.
    pub store: Store,
    /// Who is there.
    pub presence: PresenceSettings,
    /// How long a client may go back.
    pub resume: ResumeSettings,
    /// What a shadow may be.
    pub shadow: ShadowSettings,
    /// Proof of life.
    pub lease: LeaseSettings,
    /// Classes of clients with limits of their own.
    pub class: Vec<ClassSection>,
    /// Who may connect.
    pub access: Access,
    /// Pace of a drain.
    pub drain: DrainSettings,
    /// Restarts in place.
    pub restart: Restart,
    /// When gateways may be drained by themselves, and how many at once.
    pub maintenance: Maintenance,
    /// What is logged.
    pub log: Log,
}

impl Written {
    /// Every setting of the sections that stand once in the file.
    pub fn settings() -> Vec<Setting> {
        [
            Gateway::settings(),
            TlsFiles::settings(),
            Peer::settings(),
            Http::settings(),
            DeviceHttp::settings(),
            Limits::settings(),
            Mqtt::settings(),
            Store::settings(),
            PresenceSettings::settings(),
            ResumeSettings::settings(),
            ShadowSettings::settings(),
            LeaseSettings::settings(),
            Access::settings(),
            CertificateAccess::settings(),
            PasswordAccess::settings(),
            TokenAccess::settings(),
            HookAccess::settings(),
            DrainSettings::settings(),
            Restart::settings(),
            Maintenance::settings(),
            Roles::settings(),
            WebhookSection::settings(),
            PrometheusSection::settings(),
            Log::settings(),
        ]
        .concat()
    }

    /// Every setting of the sections of which there may be any number, by their headers.
    pub(super) fn repeated() -> [(&'static str, Vec<Setting>); 5] {
        [
            ("[[listen]]", Listen::settings()),
            ("[[tls.certificate]]", TlsCertificate::settings()),
            ("[[class]]", ClassSection::settings()),
            ("[[maintenance.window]]", Window::settings()),
            ("[maintenance.hooks.NAME]", MaintenanceHook::settings()),
        ]
    }

    /// The name of every setting, with the header of its section.
    fn names() -> Vec<(&'static str, String)> {
        let once = Self::settings().into_iter().map(|it| (it.key, format!("[{}]", it.section)));
        let repeated = Self::repeated().into_iter().flat_map(|(header, settings)| {
            settings.into_iter().map(move |it| (it.key, header.to_owned()))
        });
        once.chain(repeated).collect()
    }

    /// With the listener that there is when none is written.
    pub(super) fn with_listener(mut self) -> Self {
        if self.listen.is_empty() {
            self.listen.push(Listen::default());
        }
        self
    }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// [`Misread`] with the line, and the nearest known name for an unknown one, whichever section it stands in.
pub fn parse(text: &str) -> Result<Written, Misread> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Misread::or_elsewhere(text, offset, error.message(), &Written::names())
    })
}

section! {
    /// Who this gateway is.
    pub struct Gateway in "gateway" {
        /// Name of this gateway, unique in the fleet: 1 to 64 letters, digits, `-`, `_` or `.`.
        id: Option<String> = None, "name", "two gateways with one name would fight for one lease" needed "\"gw-1\"";
        /// Folder of the store that all gateways of the fleet on this machine share.
        data: PathBuf = PathBuf::from("./tidegate-data"), "path", "found again by the client commands";
        /// Name of the fleet; gateways of another fleet are refused.
        fleet: String = "tidegate".to_owned(), "name", "one fleet per machine is the common case";
        /// Worker threads; 0 means one per core.
        workers: u16 = 0, "threads", "connections spread over all cores" in 0..=64;
        /// Threads that new connections meet: accept, TLS, tokens, CONNECT; 0 means one for two cores.
        front_threads: u16 = 0, "threads", "a fleet that comes back is let in beside the traffic" in 0..=64;
        /// What this configuration is called, so that it can be seen which one is in force.
        revision: Option<String> = None, "name", "nothing checks which configuration is in force" shown "\"r42\"";
    }
}

section! {
    /// The link to the other gateways of the fleet; always mutual TLS.
    pub struct Peer in "peer" {
        /// Address to listen on for peer gateways.
        bind: Option<String> = None, "address:port", "absent: this gateway is alone" shown "\"127.0.0.1:7883\"";
        /// Address that peer gateways dial; `bind` when absent.
        advertise: Option<String> = None, "host:port", "peers on this machine can dial what we bind" shown "\"gateway-1.example:7883\"";
    }
}

section! {
    /// Health, metrics and the API.
    pub struct Http in "http" {
        /// Address to listen on; plain HTTP may only read and only on loopback, changes need an operator's certificate.
        bind: String = "127.0.0.1:18083".to_owned(), "address:port", "loopback: nothing is open to the network unless somebody says so";
        /// Address that operators dial; `bind` when absent.
        advertise: Option<String> = None, "host:port", "operators on this machine can dial what we bind" shown "\"gateway-1.example:18083\"";
        /// Whether calendar programs may read the visits of maintenance here by a token, without a certificate; beyond loopback with TLS only.
        calendar_feeds: bool = false, "true or false", "nothing is read without a certificate unless somebody says so";
    }
}

section! {
    /// How durable is durable.
    pub struct Store in "store" {
        /// Whether a commit waits for the disk (`full`), or only for the kernel (`normal`), which outlives `kill -9` of every gateway and not a power cut.
        synchronous: Synchronous = Synchronous::Full, "\"full\" or \"normal\"", "an acknowledged message survives a power cut";
        /// How long a commit waits for another process that has the store; then what it holds is refused.
        busy_ms: u32 = 8_000, "milliseconds", "longer than a slow disk takes; while it is waited for nobody is taken for dead" in 50..=60_000;
        /// From which length on the store's log of changes is moved into its file, in pages of 8 KiB.
        checkpoint_pages: u32 = 4_000, "pages", "31 MiB: so much is read again after a crash, and moving it takes some tenths of a second" in 16..=1_000_000;
    }
}

section! {
    /// Proof of life in the store.
    pub struct LeaseSettings in "lease" {
        /// Silence after which a gateway counts as dead.
        ttl_ms: u32 = 3_000, "milliseconds", "clients of a dead gateway wait no longer than this" in 500..=60_000;
        /// Time between renewals; at most half of `ttl_ms`.
        renew_ms: u32 = 1_000, "milliseconds", "two renewals may be late" in 100..=30_000;
    }
}

section! {
    /// Pace of a drain, where the request does not say.
    pub struct DrainSettings in "drain" {
        /// Clients moved per second; receivers may allow less.
        per_s: u32 = 200, "clients per second", "one second of TLS handshakes for one core of a receiver" in 1..=100_000;
        /// Time between "not ready" and the first refused client.
        announce_ms: u64 = 1_000, "milliseconds", "load balancers look about once a second" in 0..=3_600_000;
        /// Time after which a drain gives up and serves again.
        timeout_ms: u64 = 600_000, "milliseconds", "a hundred thousand clients at the default pace" in 1_000..=86_400_000;
        /// Clients per second that this gateway takes from all others that are drained, if nobody else comes.
        accept_per_s: u32 = 500, "clients per second", "a fifth of the TLS handshakes of one core" in 10..=100_000;
        /// Of a hundred clients that come ninety-nine should be answered within this; while they are not, fewer are taken.
        connect_p99_ms: u32 = 500, "milliseconds", "people notice, and devices do not time out yet" in 10..=60_000;
        /// How long a client may take, once it is to move, to finish what is under way: to acknowledge what it was sent, and to end the packet that it has begun. Who has nothing open goes at once.
        flush_ms: u32 = 200, "milliseconds", "a few round trips of a device on the air" in 0..=5_000;
        /// Whether the will of a moved client waits for it to come back (`defer`), or is published as for every lost connection (`strict`).
        wills: Wills = Wills::Defer, "\"defer\" or \"strict\"", "the connection ends because of our work, not of the device";
        /// How long the will of a moved client waits for it to come back, if its own delay is not longer.
        takeover_wait_ms: u32 = 30_000, "milliseconds", "a device behind a slow radio is back by then" in 100..=3_600_000;
        /// Clients that stand in for each other, by patterns of their ids, with one `*` each: those of one pattern are not moved at about the time at which those of another are, at whichever gateways.
        stand_ins: Vec<String> = Vec::new(), "list of texts", "nobody is known to stand in for anybody" shown "[\"*-a\", \"*-b\"]";
        /// Time between those that stand in for each other, at least.
        stand_in_gap_ms: u32 = 2_500, "milliseconds", "who was moved is back by then, as a rule" in 100..=60_000;
    }
}

section! {
    /// Restarts in place: a new process takes over on the same host.
    pub struct Restart in "restart" {
        /// Programs that an operator may name to follow the one that runs, which always may; absolute paths.
        programs: Vec<PathBuf> = Vec::new(), "list of paths", "the certificate of an operator alone starts no other program" shown "[\"/opt/tidegate/next/tidegate\"]";
    }
}

section! {
    /// When gateways may be drained by themselves, and how many at once.
    pub struct Maintenance in "maintenance" {
        /// Serving gateways that must remain.
        min_available: u16 = 1, "gateways", "somebody must take the clients" in 0..=10_000;
        /// Gateways that may be drained at once.
        max_concurrent: u16 = 1, "gateways", "one at a time is slow and safe" in 1..=10_000;
        /// What this gateway is chosen by, and the domains it fails with: `region`, `zone` and `rack` lie in each other.
        labels: Vec<String> = Vec::new(), "list of \"kind=value\"", "nothing is known of where it stands" shown "[\"zone=eu-1\", \"rack=r7\"]";
        /// Publications per second that this gateway is meant to carry, of which policies may want some to stay free (`headroom.msgs`); 0 is not known, and not limited.
        messages_per_s: u32 = 0, "publications per second", "nobody has measured it" in 0..=100_000_000;
        /// Where this gateway stands, so that a policy can follow its night; an IANA name.
        tz: String = "UTC".to_owned(), "zone", "has no clock changes";
        /// The file that says something else after each start of the machine, by which a reboot is known to have happened.
        boot_id: PathBuf = PathBuf::from("/proc/sys/kernel/random/boot_id"), "path", "the kernel's own";
        /// The file that is there as long as the machine is to be started again, which this gateway then says it needs; empty: nobody looks.
        reboot_required: PathBuf = PathBuf::from("/run/reboot-required"), "path", "as Debian and Ubuntu say it";
        /// How long the gateway that plans for the fleet may be silent before another one does.
        scheduler_ttl_ms: u32 = 10_000, "milliseconds", "plans wait for longer than that anyway" in 500..=600_000;
        /// Whether what has come of the visits of each gateway is published, retained, under `$fleet/maintenance/` and its name.
        notices: bool = true, "true or false", "whoever has a right to read it need not ask";
        /// Gateways that may do work of seconds at once that all could do at any time: move the store's log of changes, give back what its file does not need, read certificates again.
        pauses: u32 = 1, "gateways", "what one of them does slows the disk of all" in 1..=10_000;
        /// How long such work waits for a micro slot before it is done without one, if it must be done.
        pause_wait_s: u32 = 60, "seconds", "a log that grows for longer slows readers and a restart" in 1..=3_600;
        and
        /// Which operators may do what.
        roles: Roles;
        and
        /// Whom to tell what happens.
        webhook: WebhookSection;
        and
        /// Whom to ask whether the queries of gates hold.
        prometheus: PrometheusSection;
        and
        /// Times in which this gateway may be drained.
        window: Vec<Window>;
        and
        /// Programs of this host that operations of the plan may run, by their names.
        hooks: BTreeMap<String, MaintenanceHook>;
    }
}

section! {
    /// One maintenance window of this gateway: recurring (`days`, `start`, `duration_min`, `tz`) or once (`from`, `to`).
    pub struct Window in "maintenance.window" {
        /// What to do when it opens.
        operation: Operation = Operation::Drain, "\"drain\"", "the only operation so far";
        /// Days on which it opens; every day when absent.
        days: Vec<Weekday> = Vec::new(), "list of \"mon\" to \"sun\"", "every day" shown "[\"sat\", \"sun\"]";
        /// Civil time at which it opens; makes the window a recurring one.
        start: Option<String> = None, "\"HH:MM\"", "a window is recurring or once" shown "\"03:00\"";
        /// How long it is open.
        duration_min: u32 = 60, "minutes", "time for a drain at the default pace, and the work" in 1..=1_440;
        /// Time zone of `start`, an IANA name.
        tz: String = "UTC".to_owned(), "zone", "has no clock changes";
        /// When it opens, once.
        from: Option<String> = None, "RFC 3339", "a window is recurring or once" shown "\"2030-01-05T03:00:00Z\"";
        /// When it closes, once.
        to: Option<String> = None, "RFC 3339", "a window is recurring or once" shown "\"2030-01-05T04:00:00Z\"";
    }
}

section! {
    /// What is logged.
    pub struct Log in "log" {
        /// Least level that is logged; the environment variable `TIDEGATE_LOG` wins, with filters such as `tidegate=debug`.
        level: LogLevel = LogLevel::Info, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"", "lives that begin or end, not packets";
        /// Whether each line is a JSON object.
        json: bool = false, "true or false", "people read first, machines when told";
    }
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// For the disk.
    Full,
    /// For the kernel: survives the process, not a power cut.
    Normal,
}

/// What becomes of the wills of moved clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wills {
    /// They wait for their clients.
    Defer,
    /// The same as of all that lose their connection.
    Strict,
}

/// Least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Data lost, or an operator must act.
    Error,
    /// Recovered without loss.
    Warn,
    /// A life began or ended.
    Info,
    /// Each decision.
    Debug,
    /// Each packet.
    Trace,
}

impl LogLevel {
    /// The word used in the file and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What to do when a maintenance window opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Drain this gateway, and serve again when the window closes.
    Drain,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the days of the week")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// The word used in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax(text: &str) -> (usize, String) {
        let Misread { line, what, nearest, .. } = parse(text).unwrap_err();
        (line, format!("{what}/{nearest:?}"))
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(parse("").unwrap(), Written::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let (line, what) = syntax("[gateway]\nid = \"a\"\n\n[limits]\npacket_byte = 3\n");
        assert_eq!(line, 5);
        assert!(what.contains("unknown field `packet_byte`/Some(\"packet_bytes\")"), "{what}");
        let error = parse("[gatway]\n").unwrap_err().to_string();
        assert_eq!(error, "line 1: unknown field `gatway`; did you mean `gateway`?");
    }

    #[test]
    fn a_setting_of_another_section_is_named_with_that_section() {
        let told = |text| parse(text).unwrap_err().to_string();
        for (text, expected) in [
            ("[gateway]\npacket_bytes = 3\n", "`packet_bytes` in [limits] or [[class]]?"),
            ("handshake = 3\n", "`handshakes` in [limits]?"),
            ("[limits]\nclient_certificate = 1\n", "`client_certificate` in [[listen]]?"),
            (
                "[gateway]\nadvertis = \"a:1\"\n",
                "`advertise` in [peer] or [http] or [device_http] or [[listen]]?",
            ),
        ] {
            let told = told(text);
            assert!(told.ends_with(&format!("; did you mean {expected}")), "{told}");
        }
        // What fits as well where it was written is meant there.
        let own = told("[lease]\nttl_mss = 1\n");
        assert_eq!(own, "line 2: unknown field `ttl_mss`; did you mean `ttl_ms`?");
        // A word of a choice is no setting.
        let choice = told("[log]\nlevel = \"bind\"\n");
        assert!(choice.contains("unknown variant `bind`, expected one of"), "{choice}");
    }

    #[test]
    fn a_word_of_a_choice_is_corrected_too() {
        let (line, what) = syntax("[[listen]]\nkind = \"webscoket\"\n");
        assert_eq!(line, 2);
        assert!(what.contains("Some(\"websocket\")"), "{what}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let (line, what) = syntax("[limits]\nconnections = 1\nreceive_maximum = 70000\n");
        assert_eq!(line, 3);
        assert!(what.contains("u16"), "{what}");
    }

    #[test]
    fn every_setting_says_why() {
        let repeated = Written::repeated().map(|(_, settings)| settings);
        for setting in [Written::settings(), repeated.concat()].concat() {
            assert!(!setting.reason.is_empty() && !setting.unit.is_empty(), "{setting:?}");
            assert!(setting.default.is_some() || setting.shown.is_some(), "{setting:?}");
        }
    }
}
