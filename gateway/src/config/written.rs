//! The configuration as written: the shape of the TOML file, one table per section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::authentication::{CertificateAccess, HookAccess, PasswordAccess, TokenAccess};
use super::classes::{ClassSection, QueueWhenFull, WhatIsTooFast};
use super::doors::{Listen, TlsFiles};
use super::fault::ConfigError;
use super::mqtt::Mqtt;
use super::resume::ResumeSettings;
use super::settings::{Setting, section};

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
    /// How much of anything.
    pub limits: Limits,
    /// What the standard leaves to us.
    pub mqtt: Mqtt,
    /// How durable is durable.
    pub store: Store,
    /// How long a client may go back.
    pub resume: ResumeSettings,
    /// Proof of life.
    pub lease: LeaseSettings,
    /// Classes of clients with limits of their own.
    pub class: Vec<ClassSection>,
    /// Who may connect.
    pub access: Access,
    /// Pace of a drain.
    pub drain: DrainSettings,
    /// When gateways may be drained by themselves, and how many at once.
    pub maintenance: Maintenance,
    /// What is logged.
    pub log: Log,
}

impl Written {
    /// The sections that are not the same in both.
    pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
        [
            ("gateway", self.gateway == other.gateway),
            ("listen", self.listen == other.listen),
            ("tls", self.tls == other.tls),
            ("peer", self.peer == other.peer),
            ("http", self.http == other.http),
            ("limits", self.limits == other.limits),
            ("mqtt", self.mqtt == other.mqtt),
            ("store", self.store == other.store),
            ("resume", self.resume == other.resume),
            ("lease", self.lease == other.lease),
            ("class", self.class == other.class),
            ("access", self.access == other.access),
            ("drain", self.drain == other.drain),
            ("maintenance", self.maintenance == other.maintenance),
            ("log", self.log == other.log),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }

    /// Every setting of the sections that stand once in the file.
    pub fn settings() -> Vec<Setting> {
        [
            Gateway::settings(),
            TlsFiles::settings(),
            Peer::settings(),
            Http::settings(),
            Limits::settings(),
            Mqtt::settings(),
            Store::settings(),
            ResumeSettings::settings(),
            LeaseSettings::settings(),
            Access::settings(),
            CertificateAccess::settings(),
            PasswordAccess::settings(),
            TokenAccess::settings(),
            HookAccess::settings(),
            DrainSettings::settings(),
            Maintenance::settings(),
            Log::settings(),
        ]
        .concat()
    }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// [`ConfigError::Syntax`] with the line, and the nearest known name for an unknown one.
pub fn parse(text: &str) -> Result<Written, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::from_toml(text, &error))
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
    }
}

section! {
    /// How much of anything; each limit has an answer to "full".
    #[derive(Copy, Eq)]
    pub struct Limits in "limits" {
        /// Largest control packet; a larger one ends the connection (0x95), a larger delivery is dropped.
        packet_bytes: u32 = 1_114_112, "bytes", "1 MiB of payload, and 64 KiB for topic and properties" in 1_024..=268_435_455;
        /// Largest packet until a client is let in, and largest WebSocket message: CONNECT and AUTH; a larger one ends the connection (0x95). Never more than `packet_bytes`.
        connect_bytes: u32 = 65_536, "bytes", "a token and a will are a few KiB, and who is not known yet holds little memory" in 1_024..=268_435_455;
        /// Open connections of clients; more are refused (0x97).
        connections: u32 = 100_000, "connections", "more than one machine should lose at once" in 1..=10_000_000;
        /// Time from accept to a whole CONNECT; then the connection is closed.
        connect_timeout_ms: u32 = 10_000, "milliseconds", "a slow radio gets through, a silent port scan does not stay" in 100..=120_000;
        /// Connections of one address, or of one /64 of IPv6; more are refused (0x97).
        connections_per_address: u32 = 100_000, "connections", "a carrier hides many devices behind one address; less where devices have their own" in 1..=10_000_000;
        /// Connections that have not sent their CONNECT yet; more are closed at once.
        handshakes: u32 = 10_000, "connections", "a fleet that comes back all at once gets in, silence does not pile up" in 1..=1_000_000;
        /// The same of one address; more are closed at once.
        handshakes_per_address: u32 = 5_000, "connections", "one address cannot take all of them" in 1..=1_000_000;
        /// New connections per second and listener; more are refused (0x9F), or closed where there is TLS.
        connects_per_s: u32 = 5_000, "connections per second", "more than the TLS handshakes of a few cores" in 1..=10_000_000;
        /// New connections at once, after a rest, per listener.
        connects_burst: u32 = 50_000, "connections", "a fleet that comes back after an outage" in 1..=10_000_000;
        /// New connections per second and address; more are refused (0x9F), or closed where there is TLS.
        connects_per_address_per_s: u32 = 2_000, "connections per second", "half a listener's, so that one address leaves room for others" in 1..=10_000_000;
        /// New connections at once, after a rest, per address.
        connects_per_address_burst: u32 = 20_000, "connections", "a site that comes back after an outage" in 1..=10_000_000;
        /// New connections that a failed login counts for, in the rate of its address.
        failed_login_connects: u32 = 10, "connections", "a guess costs more than a connection, and a site with one wrong device gets in" in 0..=100_000;
        /// Time from the first byte of a packet to its last; then the connection is closed (0x8D).
        packet_timeout_ms: u32 = 300_000, "milliseconds", "the largest packet gets through at 30 kbit/s, a trickle does not stay" in 100..=3_600_000;
        /// Levels of a topic; a deeper one is refused.
        topic_levels: u16 = 128, "levels", "far beyond use, and matching stays short" in 1..=1_024;
        /// Length of a topic name or filter; a longer one is refused.
        topic_bytes: u16 = 4_096, "bytes", "far beyond use, and a table of them stays small" in 1..=65_535;
        /// Subscriptions of one session; more are refused (0x97).
        subscriptions_per_session: u32 = 1_000, "subscriptions", "an application may have hundreds, a runaway loop has more" in 1..=1_000_000;
        /// Filters in one SUBSCRIBE or UNSUBSCRIBE; more end the connection.
        filters_per_subscribe: u16 = 256, "filters", "one packet should not hold up a worker" in 1..=8_192;
        /// User properties of one publication; one with more is refused (0x97), at QoS 0 ignored.
        user_properties: u16 = 256, "properties", "an application has a handful, and every receiver pays for each" in 0..=65_535;
        /// Publications of QoS 1 and 2 that one client may have in flight towards us.
        receive_maximum: u16 = 1_024, "messages", "enough to fill a group commit over a long line" in 1..=65_535;
        /// Topic aliases that one client may use towards us; 0 for none.
        topic_alias_maximum: u16 = 32, "aliases", "a device publishes to few topics" in 0..=65_535;
        /// Topic aliases that we use towards one client that takes them; 0 for none.
        topic_alias_out: u16 = 16, "aliases", "the busiest topics of a client, and few enough to be looked through" in 0..=256;
        /// Messages queued for one session; then `queue_when_full` says what becomes of more, and each that is dropped is counted.
        queue_messages: u32 = 100_000, "messages", "a day away at one per second" in 1..=100_000_000;
        /// Bytes of messages queued for one session: topics, properties and payloads; then as above.
        queue_bytes: u64 = 268_435_456, "bytes", "so many of 2.6 KiB, and a device that never comes back fills no disk" in 1_024..=1_099_511_627_776;
        /// What becomes of a message at QoS 1 or 2 that finds a queue full: the publisher is refused (0x97) and nobody gets it (`reject`), the oldest that was not sent makes room (`drop-oldest`), or this session does not get it (`drop-new`).
        queue_when_full: QueueWhenFull = QueueWhenFull::DropNew, "\"reject\", \"drop-oldest\" or \"drop-new\"", "one device that is away stops nobody, and what it was promised first it gets";
        /// What may wait for one slow reader; then QoS 0 is dropped, and QoS 1 and 2 wait in the queue.
        outbox_bytes: u32 = 4_194_304, "bytes", "a few of the largest packets" in 4_096..=1_073_741_824;
        /// Entries in one mailbox between workers; then forwards of QoS 0 are dropped, and all above four times as many.
        mailbox_messages: u32 = 16_384, "entries", "some milliseconds of full load" in 64..=1_048_576;
        /// Messages in one group commit.
        commit_messages: u32 = 2_048, "messages", "beyond it a larger commit saves nothing and delays the first" in 1..=65_536;
        /// Bytes in one group commit.
        commit_bytes: u32 = 1_048_576, "bytes", "some milliseconds of a slow disk" in 4_096..=268_435_455;
        /// Longest time a detached session is kept; longer wishes are cut, and the client is told.
        session_expiry_max_s: u32 = 2_592_000, "seconds", "30 days: a device in repair comes back to its messages" in 0..=4_294_967_295;
        /// Retained messages of the fleet; then new topics are not retained.
        retained_messages: u32 = 1_000_000, "messages", "one each for a million topics" in 0..=1_000_000_000;
        /// Publications per second of one client; 0 is no limit. A second's worth may come at once.
        publish_per_s: u32 = 0, "messages per second", "what is too fast depends on the device: see `[[class]]`";
        /// Bytes of PUBLISH packets per second of one client; 0 is no limit.
        publish_bytes_per_s: u32 = 0, "bytes per second", "what is too fast depends on the device: see `[[class]]`";
        /// Packets of any kind per second of one client; 0 is no limit.
        packets_per_s: u32 = 0, "packets per second", "floods share a worker fairly without it";
        /// What becomes of what is too fast: the connection is not read until it is slow enough (`delay`), or it is refused: 0x97 where it can be answered, else the connection ends with 0x96.
        on_excess: WhatIsTooFast = WhatIsTooFast::Delay, "\"delay\" or \"refuse\"", "nothing is lost, and the sender feels it";
        /// Clients of one user that are connected to one gateway; 0 is no limit. More are refused (0x97).
        connections_per_user: u32 = 0, "clients", "many devices may share a user";
        /// Connects of one client (its user or certificate, and its id) within `flapping_within_ms` after which it is refused (0x8A) for `flapping_ban_s`; 0 is never.
        flapping_connects: u32 = 0, "connects", "a test bench connects all day with one id";
        /// The time in which connects of one client id are counted.
        flapping_within_ms: u32 = 60_000, "milliseconds", "a device that is restarted by hand stays below" in 100..=3_600_000;
        /// How long a client id that came and went too often is refused.
        flapping_ban_s: u32 = 60, "seconds", "long enough to be felt, short enough to be forgotten" in 1..=86_400;
        /// Bans of the fleet that operators may set; more are refused.
        bans: u32 = 10_000, "bans", "a list that somebody can still read" in 0..=20_000;
        /// Longest keep alive; MQTT 5.0 clients are told, MQTT 3.1.1 has no way to say it and keeps its own.
        keep_alive_max_s: u16 = 3_600, "seconds", "a vanished device is noticed within an hour and a half" in 5..=65_535;
    }
}

section! {
    /// How durable is durable.
    pub struct Store in "store" {
        /// Whether a commit waits for the disk (`full`), or only for the kernel (`normal`), which outlives `kill -9` of every gateway and not a power cut.
        synchronous: Synchronous = Synchronous::Full, "\"full\" or \"normal\"", "an acknowledged message survives a power cut";
        /// How long a commit waits for another process that has the store; then what it holds is refused.
        busy_ms: u32 = 8_000, "milliseconds", "longer than a slow disk takes; while it is waited for nobody is taken for dead" in 50..=60_000;
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
    /// Who may connect.
    pub struct Access in "access" {
        /// Whether clients that nothing identifies may connect: no certificate, no password, no token, no hook.
        anonymous: Option<bool> = None, "true or false", "absent: they may as long as no password file, tokens or hook are set" shown "false";
        /// Which client ids a user may have whose id neither its certificate nor its token names: any (`free`), only its own name (`user`), or its own name and what begins with it and `-` or `/` (`prefix`); else it is refused (0x85).
        client_id: UserClientIds = UserClientIds::Free, "\"free\", \"user\" or \"prefix\"", "many devices may share a user, with ids of their own; where rules name `%c`, it should not stay so";
        /// Allows everybody everything, without access files; for development.
        allow_all: bool = false, "true or false", "what nobody allowed is denied";
        /// Who may say what: `[[rule]]` tables, of which the first that fits decides.
        acl: Option<PathBuf> = None, "path", "absent, with `allow_all` false: nothing is allowed" shown "\"acl.toml\"";
        /// An access file as mosquitto has it; asked behind `acl`.
        acl_mosquitto: Option<PathBuf> = None, "path", "for who comes from there" shown "\"mosquitto.acl\"";
        /// What the topics in a token mean: nothing else is allowed (`narrow`), or they are allowed too unless a rule denies it (`grant`).
        claims: ClaimsMeaning = ClaimsMeaning::Narrow, "\"narrow\" or \"grant\"", "a token gives nobody more than the operator wrote down";
        /// What becomes of a 3.x client's publication that is denied: acknowledged and dropped, or the connection ends.
        denied_publish_3x: DeniedPublish = DeniedPublish::Acknowledge, "\"acknowledge\" or \"close\"", "as mosquitto does; a device that is closed for one topic is lost for all";
        /// Whether a client id may pass to another user or certificate. Then the old session ends and a fresh one begins; else who comes with it is refused (0x85).
        sessions_change_hands: bool = false, "true or false", "nobody disconnects somebody else, or gets what waits for it";
        and
        /// What a certificate says.
        certificate: CertificateAccess;
        and
        /// Passwords.
        password: PasswordAccess;
        and
        /// Tokens.
        token: TokenAccess;
        and
        /// Whom to ask.
        hook: HookAccess;
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
        /// How long the will of a moved client waits for it to come back, if its own delay is not longer.
        takeover_wait_ms: u32 = 30_000, "milliseconds", "a device behind a slow radio is back by then" in 100..=3_600_000;
    }
}

section! {
    /// When gateways may be drained by themselves, and how many at once.
    pub struct Maintenance in "maintenance" {
        /// Serving gateways that must remain.
        min_available: u16 = 1, "gateways", "somebody must take the clients" in 0..=10_000;
        /// Gateways that may be drained at once.
        max_concurrent: u16 = 1, "gateways", "one at a time is slow and safe" in 1..=10_000;
        and
        /// Times in which this gateway may be drained.
        window: Vec<Window>;
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

/// Which client ids a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserClientIds {
    /// Any.
    Free,
    /// Its own name.
    User,
    /// Its own name, and what begins with it and `-` or `/`.
    Prefix,
}

impl UserClientIds {
    /// Whether a user may have a client id.
    pub fn admit(self, user: &str, client_id: &str) -> bool {
        match self {
            Self::Free => true,
            Self::User => client_id == user,
            Self::Prefix => client_id
                .strip_prefix(user)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/'])),
        }
    }
}

/// What the topics in a token mean beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimsMeaning {
    /// What the token does not name is not allowed.
    Narrow,
    /// What the token names is allowed unless a rule denies it.
    Grant,
}

/// What becomes of a 3.x client's publication that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeniedPublish {
    /// It is acknowledged and dropped.
    Acknowledge,
    /// The connection ends.
    Close,
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
        let ConfigError::Syntax { line, what, nearest } = parse(text).unwrap_err() else {
            panic!("not an error of syntax")
        };
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
        for setting in [Written::settings(), Listen::settings(), Window::settings()].concat() {
            assert!(!setting.reason.is_empty() && !setting.unit.is_empty(), "{setting:?}");
            assert!(setting.default.is_some() || setting.shown.is_some(), "{setting:?}");
        }
    }
}
