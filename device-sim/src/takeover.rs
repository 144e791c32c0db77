//! Clients that connect again somewhere else while they are still connected: how long until the new connection is theirs, and
//! whether the old one hears of it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::{CreationError, Histogram};
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Connect, ConnectProperties, Packet, ReasonCode, Version};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::{
    Address, CredentialArgs, Credentials, CredentialsError, Ends, Interrupt, Latency, device::End,
    ends::why, interrupt::Until, progress::Progress, report::latency, run::run_number,
};

/// Arguments of `device-sim takeover`.
#[derive(Debug, Clone, Parser)]
pub struct TakeoverArgs {
    /// Brokers of one fleet: each client goes round them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub broker: Vec<Address>,
    /// Clients, each with a persistent session
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Takeovers of each client per second at most; 0 is as fast as they are answered
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub rate: u32,
    /// User name and password.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seconds: u64,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// This machine's.
    #[error("start")]
    Start(#[source] io::Error),
    /// The broker's, or there is none.
    #[error("no session was taken over, {failed} connections failed: {ends}")]
    NoneTakenOver {
        /// How many were tried.
        failed: u64,
        /// What became of them.
        ends: Ends,
    },
    /// The operator's fault.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The broker's.
    #[error("the broker broke the standard: {0}")]
    Broke(protocol::Violation),
    /// Our own fault.
    #[error("a histogram")]
    Histogram(#[from] CreationError),
    /// Our own fault.
    #[error("a client panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What takeovers have shown.
#[derive(Debug, Default, Serialize)]
pub struct TakeoverReport {
    /// Connections that took a session over from another one of the same client.
    pub takeovers: u64,
    /// Of those, ended connections that said "session taken over" (0x8E) first.
    pub told: u64,
    /// Connections that were refused, or ended before they were accepted or otherwise than by a takeover.
    pub failed: u64,
    /// Why those failed.
    pub failures: Ends,
    /// CONNECTs that were accepted and found no session, which was there.
    pub without_session: u64,
    /// From CONNECT sent to CONNACK seen.
    pub accepted: Latency,
    /// From CONNECT sent to the end of the old connection seen.
    pub ended: Latency,
}

/// Session expiry in seconds: long enough for a run.
const SESSION_EXPIRY_S: u32 = 600;
/// An answer, or an end, comes in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failure, so that a broker that refuses is not asked a hundred thousand times.
const PAUSE: Duration = Duration::from_millis(20);
/// No broker sends more to us.
const MAX_PACKET_BYTES: u32 = 1 << 20;

#[derive(Debug)]
struct Tally {
    takeovers: u64,
    told: u64,
    failed: u64,
    ends: Ends,
    without_session: u64,
    accepted_ns: Histogram<u64>,
    ended_ns: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_max(3_600_000_000_000, 3);
        let (accepted_ns, ended_ns) = (histogram()?, histogram()?);
        Ok(Self {
            takeovers: 0,
            told: 0,
            failed: 0,
            ends: Ends::default(),
            without_session: 0,
            accepted_ns,
            ended_ns,
        })
    }
}

/// Lets clients take their own sessions over for some time. Blocks.
///
/// # Errors
/// [`TakeoverError`] if no session is ever taken over, or a broker breaks the standard; connections that fail are counted.
pub fn take_over(
    args: &TakeoverArgs,
    interrupt: &Interrupt,
) -> Result<TakeoverReport, TakeoverError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TakeoverError::Start)?;
    let (run, progress) = (run_number(), Progress::of("takeovers"));
    let until = interrupt.until(Instant::now() + Duration::from_secs(args.seconds));
    let tallies = runtime.block_on(async {
        let mut lives = JoinSet::new();
        for number in 0..args.devices {
            let id = format!("takeover-{run}-{number}");
            lives.spawn(live(args.clone(), id, until.clone(), progress.clone()));
        }
        let all = async {
            let mut tallies = Vec::new();
            while let Some(tally) = lives.join_next().await {
                tallies.push(tally??);
            }
            Ok::<_, TakeoverError>(tallies)
        };
        progress.beside(args.quiet, all).await
    })?;
    let mut sum = Tally::new()?;
    for tally in tallies {
        sum.takeovers += tally.takeovers;
        sum.told += tally.told;
        sum.failed += tally.failed;
        sum.ends.add(tally.ends);
        sum.without_session += tally.without_session;
        // Both have the same bounds.
        let _ = sum.accepted_ns.add(&tally.accepted_ns);
        let _ = sum.ended_ns.add(&tally.ended_ns);
    }
    if sum.takeovers == 0 && sum.failed > 0 {
        return Err(TakeoverError::NoneTakenOver { failed: sum.failed, ends: sum.ends });
    }
    Ok(TakeoverReport {
        takeovers: sum.takeovers,
        told: sum.told,
        failed: sum.failed,
        failures: sum.ends,
        without_session: sum.without_session,
        accepted: latency(&sum.accepted_ns),
        ended: latency(&sum.ended_ns),
    })
}

async fn live(
    args: TakeoverArgs,
    id: String,
    until: Until,
    progress: Progress,
) -> Result<Tally, TakeoverError> {
    let mut tally = Tally::new()?;
    let mut pace = (args.rate > 0).then(|| interval(Duration::from_secs(1) / args.rate));
    let credentials = args.credentials.read()?;
    let mut old: Option<Connection> = None;
    for broker in args.broker.iter().cycle() {
        if until.is_over() {
            break;
        }
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let failed = match take(broker, &id, &credentials, &mut old, &mut tally).await {
            Ok(None) => {
                progress.done();
                continue;
            }
            Ok(Some(end)) => Ok(end),
            Err(Broken::Network(error)) => Err(error),
            Err(Broken::Standard(violation)) => return Err(TakeoverError::Broke(violation)),
        };
        tally.failed += 1;
        progress.failed();
        tally.ends.note(why(&failed).unwrap_or_default());
        sleep(PAUSE).await;
    }
    if let Some(last) = old {
        // Whoever is gone has nothing to say goodbye to.
        let _ = last.leave().await;
    }
    Ok(tally)
}

/// Connects, which takes the session over from the connection before, if there is one. What happened instead, if it is refused.
async fn take(
    broker: &Address,
    id: &str,
    credentials: &Credentials,
    old: &mut Option<Connection>,
    tally: &mut Tally,
) -> Result<Option<End>, Broken> {
    let mut new = Connection::dial(broker).await?;
    let asked = Instant::now();
    let session_present = match new.greet(id, credentials).await? {
        Ok(session_present) => session_present,
        Err(end) => return Ok(Some(end)),
    };
    let accepted = asked.elapsed();
    let Some(before) = old.replace(new) else { return Ok(None) };
    let told = before.told_the_end().await?;
    tally.accepted_ns.saturating_record(nanoseconds(accepted));
    tally.ended_ns.saturating_record(nanoseconds(asked.elapsed()));
    tally.takeovers += 1;
    tally.without_session += u64::from(!session_present);
    tally.told += u64::from(told);
    Ok(None)
}

/// Why a connection came to nothing.
#[derive(Debug)]
enum Broken {
    Network(io::Error),
    Standard(protocol::Violation),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Network(error)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Connection {
    async fn dial(broker: &Address) -> io::Result<Self> {
        let stream =
            timeout(PATIENCE, TcpStream::connect((broker.host(), broker.port()))).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, inbox: Vec::new() })
    }

    /// Session Present, or what happened instead.
    async fn greet(
        &mut self,
        client_id: &str,
        credentials: &Credentials,
    ) -> Result<Result<bool, End>, Broken> {
        let properties = ConnectProperties {
            session_expiry_s: SESSION_EXPIRY_S,
            ..ConnectProperties::default()
        };
        let mut bytes = Vec::new();
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: credentials.user_name(),
            password: credentials.password().map(str::as_bytes),
            properties,
        };
        codec::connect(&mut bytes, &connect);
        self.stream.write_all(&bytes).await?;
        let answer = self.next(|packet| {
            if let Packet::ConnAck(ack) = packet {
                Some((ack.reason, ack.session_present))
            } else {
                None
            }
        });
        Ok(match answer.await? {
            Some((ReasonCode::Success, present)) => Ok(present),
            Some((reason, _)) => Err(End::Refused(reason, None)),
            None => Err(End::Closed),
        })
    }

    /// Reads to the end; whether it was told that its session was taken over.
    async fn told_the_end(mut self) -> Result<bool, Broken> {
        let told =
            self.next(
                |packet| {
                    if let Packet::Disconnect(told) = packet { Some(told.reason) } else { None }
                },
            );
        Ok(told.await? == Some(ReasonCode::SessionTakenOver))
    }

    /// Ends the session too.
    async fn leave(mut self) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        let mut goodbye = protocol::mqtt::Disconnect::of(ReasonCode::Success);
        goodbye.session_expiry_s = Some(0);
        codec::disconnect(&mut bytes, Version::V5, &goodbye);
        self.stream.write_all(&bytes).await?;
        let nothing: Option<()> = self.next(|_| None).await?;
        debug_assert!(nothing.is_none(), "nothing was looked for");
        Ok(())
    }

    /// The first packet that something is found in, or nothing if the broker closes before.
    async fn next<T>(
        &mut self,
        mut wanted: impl FnMut(&Packet<'_>) -> Option<T>,
    ) -> Result<Option<T>, Broken> {
        loop {
            while let Some(len) =
                codec::frame(&self.inbox, MAX_PACKET_BYTES).map_err(Broken::Standard)?
            {
                let bytes: Vec<u8> = self.inbox.drain(..len).collect();
                let packet =
                    codec::decode(&bytes, Version::V5, Sender::Server).map_err(Broken::Standard)?;
                if let Some(found) = wanted(&packet) {
                    return Ok(Some(found));
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.inbox)).await;
            match read.map_err(io::Error::from)? {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // It was closed with something of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl fmt::Display for TakeoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  takeovers     {} ({} told, {} found no session), failed {}",
            self.takeovers, self.told, self.without_session, self.failed,
        )?;
        if self.failed > 0 {
            writeln!(f, "  failed        {}", self.failures)?;
        }
        for (name, latency) in [("accepted", self.accepted), ("old ended", self.ended)] {
            writeln!(
                f,
                "  {name:<14}p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, max {:.0} us",
                latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us,
            )?;
        }
        Ok(())
    }
}
