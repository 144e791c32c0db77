//! Things whose shadows are changed or read as fast as that is answered, and clients that watch one of them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Parser;
use hdrhistogram::{CreationError, Histogram};
use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{
    Ack, Connect, ConnectProperties, Filter, Packet, Publish, PublishProperties, ReasonCode,
    RetainHandling, Subscribe, SubscribeOptions, Version,
};
use protocol::{PacketId, QoS};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::procfs::cpu_time;
use crate::shadow_travels::Published;
use crate::{Address, Interrupt, Latency, interrupt::Until, report::latency, run::run_number};

/// Arguments of `device-sim shadow`.
#[derive(Debug, Clone, Parser)]
pub struct ShadowArgs {
    /// Brokers of one fleet: things go round them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub broker: Vec<Address>,
    /// Things, each with a connection of its own
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Ask for the documents instead of changing them
    #[arg(long)]
    pub get: bool,
    /// Requests of one thing that are not answered, at most; a gateway takes 10 of them unless it is told otherwise
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub window: u16,
    /// Length of the text in each document
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub payload_bytes: u32,
    /// How long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seconds: u64,
    /// Requests of each thing, at most
    #[arg(long)]
    pub count: Option<u64>,
    /// Go on elsewhere when a connection ends, ask again what was not answered, and look at each document in the end
    #[arg(long)]
    pub reconnect: bool,
    /// Updates of each thing per second; only with `--reconnect`, as fast as they are answered without it
    #[arg(long, requires = "reconnect")]
    pub rate: Option<f64>,
    /// Clients that watch the shadow of the first thing for what is desired and not reported
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub watchers: u32,
    /// Where they connect [default: the last of the brokers]
    #[arg(long, value_name = "HOST:PORT")]
    pub watch: Option<Address>,
    /// Measure CPU of this process; may be repeated, and is added up
    #[arg(long, value_name = "PID")]
    pub broker_pid: Vec<u32>,
    /// Write there when each thing lost its connection and was served again, for `device-sim moves`
    #[arg(long, value_name = "FILE", requires = "reconnect")]
    pub moves: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The broker's, or there is none.
    #[error("talk to the broker")]
    Connection(#[from] io::Error),
    /// The broker's.
    #[error("the broker broke the standard: {0}")]
    Broke(protocol::Violation),
    /// The broker's: it closed a connection.
    #[error("the broker closed a connection")]
    Closed,
    /// The broker's: it refused a connection or a subscription.
    #[error("the broker refused {0}")]
    Refused(&'static str),
    /// Our own fault.
    #[error("a histogram")]
    Histogram(#[from] CreationError),
    /// Our own fault.
    #[error("a client panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What asking about shadows has shown.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ShadowReport {
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that were rejected.
    pub rejected: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Accepted per second.
    pub accepted_per_s: f64,
    /// CPU seconds of the brokers meanwhile.
    pub broker_cpu_seconds: f64,
    /// CPU microseconds of the brokers per accepted request.
    pub broker_cpu_us_each: f64,
    /// From a request to its answer.
    pub latency: Latency,
    /// Messages that watchers were given.
    pub told: u64,
    /// Watchers that were told of the newest version in the end.
    pub at_newest: u32,
    /// Messages to watchers whose version was not greater than the one before.
    pub went_back: u64,
}

/// An answer comes in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// No broker sends more to us.
const MAX_PACKET_BYTES: u32 = 4 << 20;

#[derive(Debug)]
struct Tally {
    accepted: u64,
    rejected: u64,
    newest: u64,
    latency_ns: Histogram<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    told: u64,
    newest: u64,
    went_back: u64,
}

/// Asks about shadows for some time. Blocks.
///
/// # Errors
/// [`ShadowError`] if a broker cannot be reached, breaks the standard or does not answer in 30 s.
pub fn ask_about_shadows(
    args: &ShadowArgs,
    interrupt: &Interrupt,
) -> Result<ShadowReport, ShadowError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, ask_all(Rc::new(args.clone()), interrupt))
}

async fn ask_all(args: Rc<ShadowArgs>, interrupt: &Interrupt) -> Result<ShadowReport, ShadowError> {
    let run = run_number();
    let name = |number: u32| format!("shadow-{run}-{number}");
    let (newest, end) = watch::channel(None);
    let mut watchers = JoinSet::new();
    for number in 0..args.watchers {
        let broker = args.watch.as_ref().or_else(|| args.broker.last());
        let Some(broker) = broker else { break };
        let mut link = Link::open(broker, &format!("watcher-{run}-{number}")).await?;
        link.subscribe(&[&format!("$aws/things/{}/shadow/update/delta", name(0))]).await?;
        watchers.spawn_local(look(link, end.clone()));
    }
    let mut things = Vec::new();
    for (number, broker) in (0..args.devices).zip(args.broker.iter().cycle()) {
        things.push(Thing::open(broker, name(number), &args).await?);
    }
    let of_brokers = || args.broker_pid.iter().filter_map(|pid| cpu_time(*pid)).sum::<Duration>();
    let (begun, before) = (Instant::now(), of_brokers());
    let until = interrupt.until(begun + Duration::from_secs(args.seconds));
    let mut lives = JoinSet::new();
    for thing in things {
        lives.spawn_local(thing.live(Rc::clone(&args), until.clone()));
    }
    let mut sum = Tally::new()?;
    while let Some(tally) = lives.join_next().await {
        let tally = tally??;
        sum.accepted += tally.accepted;
        sum.rejected += tally.rejected;
        sum.newest = sum.newest.max(tally.newest);
        // All have the same bounds.
        let _ = sum.latency_ns.add(&tally.latency_ns);
    }
    let seconds = begun.elapsed().as_secs_f64();
    // Nobody may watch.
    let _ = newest.send(Some(sum.newest));
    let (mut told, mut at_newest, mut went_back) = (0, 0, 0);
    while let Some(seen) = watchers.join_next().await {
        let seen = seen??;
        told += seen.told;
        went_back += seen.went_back;
        at_newest += u32::from(seen.newest == sum.newest);
    }
    let broker_cpu_seconds = of_brokers().saturating_sub(before).as_secs_f64();
    let accepted = f64::from(u32::try_from(sum.accepted).unwrap_or(u32::MAX));
    Ok(ShadowReport {
        accepted: sum.accepted,
        rejected: sum.rejected,
        seconds,
        accepted_per_s: accepted / seconds,
        broker_cpu_seconds,
        broker_cpu_us_each: broker_cpu_seconds * 1e6 / accepted.max(1.0),
        latency: latency(&sum.latency_ns),
        told,
        at_newest,
        went_back,
    })
}

/// Reads what a watcher is told, until that is the newest version or nothing more comes.
async fn look(mut link: Link, mut end: watch::Receiver<Option<u64>>) -> Result<Seen, ShadowError> {
    let mut seen = Seen::default();
    loop {
        let newest = *end.borrow_and_update();
        if newest.is_some_and(|newest| seen.newest >= newest) {
            return Ok(seen);
        }
        let word = tokio::select! {
            // Nobody says anything after the end.
            _over = end.changed() => continue,
            word = timeout(PATIENCE, link.hear()) => word,
        };
        // What has not come by now does not come.
        let Ok(word) = word else { return Ok(seen) };
        if let Word::Published { version, id, .. } = word? {
            seen.told += 1;
            seen.went_back += u64::from(version <= seen.newest);
            seen.newest = seen.newest.max(version);
            link.acknowledge(id);
            link.flush().await?;
        }
    }
}

impl Tally {
    fn new() -> Result<Self, CreationError> {
        let latency_ns = Histogram::new_with_max(60_000_000_000, 3)?;
        Ok(Self { accepted: 0, rejected: 0, newest: 0, latency_ns })
    }
}

/// A thing that asks about its own shadow.
struct Thing {
    link: Link,
    topic: String,
    text: String,
    sent: u64,
}

impl Thing {
    /// Connects and subscribes to the answers; with a document to ask for, if that is what it will do.
    async fn open(broker: &Address, name: String, args: &ShadowArgs) -> Result<Self, ShadowError> {
        let link = Link::open(broker, &name).await?;
        let prefix = format!("$aws/things/{name}/shadow");
        let text = "x".repeat(args.payload_bytes as usize);
        let mut this = Self { link, topic: format!("{prefix}/update"), text, sent: 0 };
        this.hear_answers().await?;
        if args.get {
            this.ask(false);
            this.link.flush().await?;
            this.answer().await?;
            this.topic = format!("{prefix}/get");
            this.hear_answers().await?;
        }
        Ok(this)
    }

    async fn hear_answers(&mut self) -> Result<(), ShadowError> {
        let topic = &self.topic;
        self.link.subscribe(&[&format!("{topic}/accepted"), &format!("{topic}/rejected")]).await
    }

    async fn live(mut self, args: Rc<ShadowArgs>, until: Until) -> Result<Tally, ShadowError> {
        let mut tally = Tally::new()?;
        let mut asked = VecDeque::new();
        let most = args.count.unwrap_or(u64::MAX);
        let mut sent = 0;
        loop {
            while asked.len() < usize::from(args.window) && sent < most && !until.is_over() {
                self.ask(args.get);
                asked.push_back(Instant::now());
                sent += 1;
            }
            let Some(first) = asked.pop_front() else { return Ok(tally) };
            self.link.flush().await?;
            let (accepted, version) = self.answer().await?;
            let took = u64::try_from(first.elapsed().as_nanos()).unwrap_or(u64::MAX);
            tally.latency_ns.saturating_record(took);
            tally.accepted += u64::from(accepted);
            tally.rejected += u64::from(!accepted);
            tally.newest = tally.newest.max(version);
        }
    }

    fn ask(&mut self, gets: bool) {
        self.sent += 1;
        let (sent, text) = (self.sent, &self.text);
        let payload = if gets {
            String::new()
        } else {
            format!("{{\"state\":{{\"desired\":{{\"n\":{sent},\"text\":\"{text}\"}}}}}}")
        };
        self.link.publish(&self.topic, &payload, sent);
    }

    /// Whether the oldest request was accepted, and with which version.
    async fn answer(&mut self) -> Result<(bool, u64), ShadowError> {
        loop {
            let word = timeout(PATIENCE, self.link.hear()).await.map_err(io::Error::from)?;
            if let Word::Published { accepted, version, id } = word? {
                self.link.acknowledge(id);
                return Ok((accepted, version));
            }
        }
    }
}

/// What a broker says, as far as it matters.
enum Word {
    Welcome(bool),
    Subscribed(bool),
    Published { accepted: bool, version: u64, id: Option<PacketId> },
    Other,
}

/// A plain connection.
pub(crate) struct Link {
    stream: TcpStream,
    inbox: BytesMut,
    outbox: Vec<u8>,
}

impl Link {
    pub(crate) async fn open(broker: &Address, client_id: &str) -> Result<Self, ShadowError> {
        let dialled = TcpStream::connect((broker.host(), broker.port()));
        let stream = timeout(PATIENCE, dialled).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, inbox: BytesMut::new(), outbox: Vec::new() };
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        codec::connect(&mut link.outbox, &connect);
        link.flush().await?;
        if matches!(link.hear().await?, Word::Welcome(true)) {
            Ok(link)
        } else {
            Err(ShadowError::Refused("a connection"))
        }
    }

    pub(crate) async fn subscribe(&mut self, filters: &[&str]) -> Result<(), ShadowError> {
        let options = SubscribeOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filters = filters.iter().map(|text| Filter { text, options }).collect();
        let Some(packet_id) = PacketId::new(1) else { return Ok(()) };
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        codec::subscribe(&mut self.outbox, Version::V311, &subscribe);
        self.flush().await?;
        loop {
            match self.hear().await? {
                Word::Subscribed(true) => return Ok(()),
                Word::Subscribed(false) => return Err(ShadowError::Refused("a subscription")),
                Word::Welcome(_) | Word::Published { .. } | Word::Other => {}
            }
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &str, number: u64) {
        // Never as many at once as there are numbers.
        let id = u16::try_from(number % 60_000 + 1).ok().and_then(PacketId::new);
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_id: id,
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        codec::publish_client(&mut self.outbox, Version::V311, &publish);
    }

    fn acknowledge(&mut self, id: Option<PacketId>) {
        if let Some(id) = id {
            let ack = Ack::of(id, ReasonCode::Success);
            codec::ack(&mut self.outbox, Version::V311, AckKind::PubAck, &ack);
        }
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outbox).await?;
        self.outbox.clear();
        Ok(())
    }

    /// The next packet. May be given up while it waits.
    async fn hear(&mut self) -> Result<Word, ShadowError> {
        let bytes = self.packet().await?;
        let packet = codec::decode(&bytes, Version::V311, Sender::Server);
        Ok(word_of(&packet.map_err(ShadowError::Broke)?))
    }

    /// What the next packet publishes, which is acknowledged with what is sent next; none if it is another packet. May be given up
    /// while it waits.
    pub(crate) async fn publication(&mut self) -> Result<Option<Published>, ShadowError> {
        let bytes = self.packet().await?;
        let packet = codec::decode(&bytes, Version::V311, Sender::Server);
        let Packet::Publish(publish) = packet.map_err(ShadowError::Broke)? else { return Ok(None) };
        let heard = (publish.topic.to_owned(), Bytes::copy_from_slice(publish.payload));
        self.acknowledge(publish.packet_id);
        Ok(Some(heard))
    }

    async fn packet(&mut self) -> Result<BytesMut, ShadowError> {
        loop {
            let len = codec::frame(&self.inbox, MAX_PACKET_BYTES).map_err(ShadowError::Broke)?;
            if let Some(len) = len {
                return Ok(self.inbox.split_to(len));
            }
            self.inbox.reserve(64 << 10);
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(ShadowError::Closed);
            }
        }
    }
}

fn word_of(packet: &Packet<'_>) -> Word {
    match packet {
        Packet::ConnAck(ack) => Word::Welcome(ack.reason == ReasonCode::Success),
        Packet::SubAck(ack) => Word::Subscribed(!ack.reasons.iter().any(|it| it.is_error())),
        Packet::Publish(publish) => Word::Published {
            accepted: !publish.topic.ends_with("/rejected"),
            version: version_in(publish.payload).unwrap_or_default(),
            id: publish.packet_id,
        },
        Packet::Connect(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => Word::Other,
    }
}

/// The version that a message about a shadow names, near its end.
fn version_in(payload: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(payload).ok()?.rsplit_once("\"version\":")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  accepted      {} in {:.2} s ({:.0}/s), rejected {}",
            self.accepted, self.seconds, self.accepted_per_s, self.rejected,
        )?;
        writeln!(
            f,
            "  latency       p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            self.latency.p50_us, self.latency.p99_us, self.latency.max_us,
        )?;
        writeln!(
            f,
            "  CPU           brokers {:.2} s, {:.1} us per request",
            self.broker_cpu_seconds, self.broker_cpu_us_each,
        )?;
        writeln!(
            f,
            "  watchers      {} messages, {} at the newest version, {} went back",
            self.told, self.at_newest, self.went_back,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_whatever_stands_before_it() {
        let message = br#"{"state":{"version":7},"version":12,"timestamp":3}"#;
        assert_eq!(version_in(message), Some(12));
        assert_eq!(version_in(b"{}"), None);
        assert_eq!(version_in(b"\xff"), None);
    }
}
