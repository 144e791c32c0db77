//! Clients that connect, are accepted, and leave, all the time: what one connection costs a broker.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::{CreationError, Histogram};
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Connect, ConnectProperties, Disconnect, Packet, ReasonCode, Version};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::procfs::cpu_time;
use crate::tls::{Tls, TlsError};
use crate::{
    Address, CredentialArgs, Credentials, CredentialsError, Ends, Interrupt, Latency, TlsFiles,
    device::End, ends::why, interrupt::Until, progress::Progress, report::latency, run::run_number,
};

/// Arguments of `device-sim connects`.
#[derive(Debug, Clone, Parser)]
pub struct ConnectsArgs {
    /// The broker
    #[arg(long, value_name = "HOST:PORT")]
    pub broker: Address,
    /// How many are on their way at the same time
    #[arg(short = 'n', long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seconds: u64,
    /// User name and password.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// TLS: PEM file of the authority that signs brokers; every handshake is a full one
    #[arg(long, value_name = "PEM")]
    pub cafile: Option<PathBuf>,
    /// TLS: PEM file of the devices' certificate
    #[arg(long, value_name = "PEM", requires_all = ["cafile", "key"])]
    pub cert: Option<PathBuf>,
    /// TLS: PEM file of the devices' key
    #[arg(long, value_name = "PEM", requires_all = ["cafile", "cert"])]
    pub key: Option<PathBuf>,
    /// Measure CPU of this process
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ConnectsError {
    /// The operator's fault.
    #[error("set up tls")]
    Tls(#[from] TlsError),
    /// The operator's fault.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The operator's fault, or this machine's.
    #[error("find the broker")]
    Address(#[source] io::Error),
    /// This machine's.
    #[error("start")]
    Start(#[source] io::Error),
    /// The broker's, or there is none.
    #[error("none of {failed} connections was accepted: {ends}")]
    NoneAccepted {
        /// How many were tried.
        failed: u64,
        /// What became of them.
        ends: Ends,
    },
    /// The operator's fault.
    #[error("process {0} to be measured does not exist")]
    NoProcess(u32),
    /// Our own fault.
    #[error("a histogram")]
    Histogram(#[from] CreationError),
    /// Our own fault.
    #[error("a client panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What connecting all the time has shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectsReport {
    /// Connections that were accepted with CONNACK.
    pub accepted: u64,
    /// Those that were refused, closed, or not answered in 10 s.
    pub failed: u64,
    /// Why those failed.
    pub failures: Ends,
    /// How long it went on.
    pub seconds: f64,
    /// Accepted per second.
    pub accepted_per_s: f64,
    /// CPU seconds of the broker, from the first connection to the last.
    pub broker_cpu_seconds: Option<f64>,
    /// CPU microseconds of the broker per accepted connection.
    pub broker_cpu_us_each: Option<f64>,
    /// CPU seconds of this process.
    pub sim_cpu_seconds: f64,
    /// From dialling to CONNACK.
    pub latency: Latency,
}

/// A connection is accepted in this time, or has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pause after a failure, so that a broker that refuses is not asked a hundred thousand times.
const PAUSE: Duration = Duration::from_millis(20);
/// No broker answers with more.
const ANSWER_BYTES: usize = 1_024;

/// Where and how everybody connects.
#[derive(Debug, Clone)]
struct Target {
    host: String,
    address: SocketAddr,
    tls: Option<Tls>,
    run: u32,
    credentials: Credentials,
    progress: Progress,
    until: Until,
}

struct Tally {
    accepted: u64,
    failed: u64,
    ends: Ends,
    latency_ns: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self, CreationError> {
        let latency_ns = Histogram::new_with_max(60_000_000_000, 3)?;
        Ok(Self { accepted: 0, failed: 0, ends: Ends::default(), latency_ns })
    }
}

/// Connects and leaves for some time. Blocks.
///
/// # Errors
/// [`ConnectsError`] if nothing can be begun, or no connection is accepted; single ones that fail are counted.
pub fn connect_all_the_time(
    args: &ConnectsArgs,
    interrupt: &Interrupt,
) -> Result<ConnectsReport, ConnectsError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ConnectsError::Start)?;
    let identity = args.cert.clone().zip(args.key.clone());
    let files = args.cafile.clone().map(|ca| TlsFiles { ca, identity });
    let tls = files.as_ref().map(Tls::new_without_resumption).transpose()?;
    LocalSet::new().block_on(&runtime, storm(args, tls, interrupt))
}

async fn storm(
    args: &ConnectsArgs,
    tls: Option<Tls>,
    interrupt: &Interrupt,
) -> Result<ConnectsReport, ConnectsError> {
    let found = lookup_host((args.broker.host(), args.broker.port()))
        .await
        .map_err(ConnectsError::Address)?;
    let all: Vec<SocketAddr> = found.collect();
    // Version 4 if there is one: on loopback it has as many addresses as we need.
    let address = all.iter().find(|address| address.is_ipv4()).or_else(|| all.first());
    let address = *address.ok_or_else(|| ConnectsError::Address(nothing_found()))?;
    if let Some(pid) = args.broker_pid.filter(|pid| cpu_time(*pid).is_none()) {
        return Err(ConnectsError::NoProcess(pid));
    }
    let begun = Instant::now();
    let until = interrupt.until(begun + Duration::from_secs(args.seconds));
    let (credentials, progress) = (args.credentials.read()?, Progress::of("accepted"));
    let host = args.broker.host().to_owned();
    let target = Target {
        host,
        address,
        tls,
        run: run_number(),
        credentials,
        progress: progress.clone(),
        until,
    };
    let of_broker = || args.broker_pid.and_then(cpu_time).unwrap_or_default();
    let of_sim = || cpu_time(std::process::id()).unwrap_or_default();
    let (broker_before, sim_before) = (of_broker(), of_sim());
    let mut lives = JoinSet::new();
    for number in 0..args.devices {
        lives.spawn_local(live(target.clone(), number));
    }
    let mut sum = Tally::new()?;
    let all = async {
        while let Some(tally) = lives.join_next().await {
            let tally = tally??;
            sum.accepted += tally.accepted;
            sum.failed += tally.failed;
            sum.ends.add(tally.ends);
            // All have the same bounds.
            let _ = sum.latency_ns.add(&tally.latency_ns);
        }
        Ok::<_, ConnectsError>(())
    };
    progress.beside(args.quiet, all).await?;
    if sum.accepted == 0 && sum.failed > 0 {
        return Err(ConnectsError::NoneAccepted { failed: sum.failed, ends: sum.ends });
    }
    let seconds = begun.elapsed().as_secs_f64();
    let broker_cpu = of_broker().saturating_sub(broker_before).as_secs_f64();
    let broker_cpu_seconds = args.broker_pid.map(|_| broker_cpu);
    let accepted = f64::from(u32::try_from(sum.accepted).unwrap_or(u32::MAX));
    Ok(ConnectsReport {
        accepted: sum.accepted,
        failed: sum.failed,
        failures: sum.ends,
        seconds,
        accepted_per_s: accepted / seconds,
        broker_cpu_seconds,
        broker_cpu_us_each: broker_cpu_seconds.map(|used| used * 1e6 / accepted.max(1.0)),
        sim_cpu_seconds: of_sim().saturating_sub(sim_before).as_secs_f64(),
        latency: latency(&sum.latency_ns),
    })
}

fn nothing_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

async fn live(target: Target, number: u32) -> Result<Tally, CreationError> {
    let mut tally = Tally::new()?;
    let mut turn = number;
    while !target.until.is_over() {
        turn = turn.wrapping_add(1);
        let begun = Instant::now();
        let visit = Box::pin(timeout(PATIENCE, visit(&target, number, turn))).await;
        let ended = match visit {
            Ok(Ok(None)) => {
                let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                tally.latency_ns.saturating_record(took);
                tally.accepted += 1;
                target.progress.done();
                continue;
            }
            Ok(Ok(Some(end))) => Ok(end),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(End::Silent),
        };
        tally.failed += 1;
        target.progress.failed();
        tally.ends.note(why(&ended).unwrap_or_default());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(tally)
}

/// A connection that is over now: nothing if the broker had accepted it, or what it did instead.
async fn visit(target: &Target, number: u32, turn: u32) -> io::Result<Option<End>> {
    let stream = dial(target.address, turn).await?;
    stream.set_nodelay(true)?;
    let id = format!("connects-{}-{number}", target.run);
    match &target.tls {
        None => say(stream, &id, &target.credentials).await,
        Some(tls) => {
            let stream = tls.handshake(&target.host, stream).await?;
            say(stream, &id, &target.credentials).await
        }
    }
}

/// On loopback from many addresses: each has only so many ports, and a closed connection keeps its own for a minute.
async fn dial(address: SocketAddr, turn: u32) -> io::Result<TcpStream> {
    if address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return TcpStream::connect(address).await;
    }
    let last = u8::try_from(turn % 200).unwrap_or_default() + 2;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(address).await
}

async fn say(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    client_id: &str,
    credentials: &Credentials,
) -> io::Result<Option<End>> {
    let mut bytes = Vec::new();
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 60,
        client_id,
        will: None,
        user_name: credentials.user_name(),
        password: credentials.password().map(str::as_bytes),
        properties: ConnectProperties::default(),
    };
    codec::connect(&mut bytes, &connect);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let refusal = refusal(&mut stream).await?;
    if refusal.is_some() {
        return Ok(refusal);
    }
    bytes.clear();
    codec::disconnect(&mut bytes, Version::V311, &Disconnect::of(ReasonCode::Success));
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    Ok(None)
}

async fn refusal(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<End>> {
    let mut answer = Vec::with_capacity(64);
    let limit = u32::try_from(ANSWER_BYTES).unwrap_or(u32::MAX);
    loop {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_BYTES {
            return Ok(Some(End::Closed));
        }
        let broken = |violation| io::Error::new(io::ErrorKind::InvalidData, format!("{violation}"));
        let Some(len) = codec::frame(&answer, limit).map_err(broken)? else { continue };
        let packet = answer.get(..len).unwrap_or_default();
        let packet = codec::decode(packet, Version::V311, Sender::Server).map_err(broken)?;
        let Packet::ConnAck(ack) = packet else { return Ok(Some(End::Closed)) };
        let accepted = ack.reason == ReasonCode::Success;
        return Ok((!accepted).then_some(End::Refused(ack.reason, None)));
    }
}

impl fmt::Display for ConnectsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  accepted      {} in {:.2} s ({:.0}/s), failed {}",
            self.accepted, self.seconds, self.accepted_per_s, self.failed,
        )?;
        if self.failed > 0 {
            writeln!(f, "  failed        {}", self.failures)?;
        }
        writeln!(
            f,
            "  latency       p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            self.latency.p50_us, self.latency.p99_us, self.latency.max_us,
        )?;
        if let (Some(seconds), Some(each)) = (self.broker_cpu_seconds, self.broker_cpu_us_each) {
            writeln!(f, "  CPU           broker {seconds:.2} s, {each:.1} us per connection")?;
        }
        writeln!(f, "  device-sim    {:.2} s of CPU", self.sim_cpu_seconds)
    }
}
