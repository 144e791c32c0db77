//! Things that change their own shadows while gateways come and go: whoever is cut off goes on elsewhere and asks again what was not
//! answered. In the end each document must be the last update that was answered.

use std::rc::Rc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::Interrupt;
use crate::interrupt::Until;
use crate::moves::Moves;
use crate::progress::Progress;
use crate::run::run_number;

use crate::shadow_link::Link;
use crate::shadow_load::{ShadowArgs, ShadowError};

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TravelReport {
    /// Things that changed their shadows.
    pub things: u32,
    /// Updates that were accepted.
    pub accepted: u64,
    /// Updates that were rejected, apart from those that came too fast and were asked again.
    pub rejected: u64,
    /// Updates that were asked again, since their connection ended without an answer.
    pub again: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Answers whose version was not greater than all before.
    pub went_back: u64,
    /// Documents that were not the last update that was accepted, or older than it.
    pub lost: u64,
    /// Things whose document nobody could show in the end.
    pub unknown: u64,
    /// The longest time from an update to its answer, in milliseconds, with all that was asked again.
    pub longest_ms: u64,
    /// When connections were lost, as far as their things noticed, and made again.
    #[serde(skip)]
    pub moves: Moves,
}

/// An answer comes in this time, or it is asked for again.
const ANSWER: Duration = Duration::from_secs(5);
/// How long one thing may be without an answer before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two tries to connect.
const AGAIN: Duration = Duration::from_millis(100);

/// Changes shadows for some time. Blocks.
///
/// # Errors
/// [`ShadowError`] if a broker breaks the standard, or none answers a thing for a minute.
pub fn travel_with_shadows(
    args: &ShadowArgs,
    interrupt: &Interrupt,
) -> Result<TravelReport, ShadowError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, travel(Rc::new(args.clone()), interrupt))
}

async fn travel(args: Rc<ShadowArgs>, interrupt: &Interrupt) -> Result<TravelReport, ShadowError> {
    let (run, end) = (run_number(), Instant::now() + Duration::from_secs(args.seconds));
    let until = interrupt.until(end.into_std());
    let progress = Progress::of("accepted");
    let mut lives = JoinSet::new();
    for number in 0..args.devices {
        let thing = Traveller {
            name: format!("travels-{run}-{number}"),
            at: number as usize,
            link: None,
            left: None,
            args: Rc::clone(&args),
            newest: 0,
            sent: 0,
            progress: progress.clone(),
            report: TravelReport { things: 1, ..TravelReport::default() },
        };
        lives.spawn_local(thing.live(until.clone()));
    }
    let mut sum = TravelReport::default();
    let all = async {
        while let Some(one) = lives.join_next().await {
            sum.add(one??);
        }
        Ok::<_, ShadowError>(())
    };
    progress.beside(args.quiet, all).await?;
    Ok(sum)
}

impl TravelReport {
    fn add(&mut self, one: Self) {
        self.things += one.things;
        self.accepted += one.accepted;
        self.rejected += one.rejected;
        self.again += one.again;
        self.connections += one.connections;
        self.went_back += one.went_back;
        self.lost += one.lost;
        self.unknown += one.unknown;
        self.longest_ms = self.longest_ms.max(one.longest_ms);
        self.moves.add(one.moves);
    }

    /// Whether every update was answered and none is lost.
    pub const fn is_good(&self) -> bool {
        self.rejected == 0 && self.went_back == 0 && self.lost == 0 && self.unknown == 0
    }
}

/// One thing, wherever it is connected.
struct Traveller {
    name: String,
    /// Which of the brokers is next.
    at: usize,
    link: Option<Link>,
    /// Since when it has none, after it had one.
    left: Option<SystemTime>,
    args: Rc<ShadowArgs>,
    newest: u64,
    sent: u64,
    progress: Progress,
    report: TravelReport,
}

/// A message about a shadow, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    state: State,
    version: u64,
    client_token: String,
    code: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    reported: Reported,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    n: u64,
}

/// What a request came to.
enum Answer {
    Accepted(Message),
    Rejected(u16),
}

impl Traveller {
    async fn live(mut self, until: Until) -> Result<TravelReport, ShadowError> {
        // A thousandth in a second is the least that is taken.
        let pause = self.args.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let (mut last, mut n) = (None, 0_u64);
        while !until.is_over() {
            n += 1;
            let begun = Instant::now();
            let body =
                format!("{{\"state\":{{\"reported\":{{\"n\":{n}}}}},\"clientToken\":\"u{n}\"}}");
            match self.ask("update", &format!("u{n}"), &body).await? {
                Answer::Accepted(message) => {
                    self.report.accepted += 1;
                    self.progress.done();
                    last = Some((n, message.version));
                }
                Answer::Rejected(_) => {
                    self.report.rejected += 1;
                    self.progress.failed();
                }
            }
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.report.longest_ms = self.report.longest_ms.max(took);
            if let Some(pause) = pause {
                self.rest(begun + pause).await?;
            }
        }
        let Some((n, version)) = last else { return Ok(self.report) };
        match self.ask("get", "g", "{\"clientToken\":\"g\"}").await? {
            Answer::Accepted(it) if it.state.reported.n == n && it.version >= version => {}
            Answer::Accepted(_) => self.report.lost += 1,
            Answer::Rejected(_) => self.report.unknown += 1,
        }
        Ok(self.report)
    }

    /// Asks until there is an answer, wherever that is.
    async fn ask(&mut self, what: &str, token: &str, body: &str) -> Result<Answer, ShadowError> {
        let begun = Instant::now();
        let mut tries = 0_u64;
        loop {
            let asked = timeout(ANSWER, self.try_ask(what, token, body)).await;
            match asked {
                // A gateway that was given many at once says so, and takes it a little later.
                Ok(Ok(Answer::Rejected(429 | 500 | 503))) => {}
                Ok(Ok(answer)) => {
                    self.report.again += tries;
                    return Ok(answer);
                }
                Ok(Err(broke @ ShadowError::Broke(_))) => return Err(broke),
                Ok(Err(_)) | Err(_) => {
                    self.lose();
                    tries += 1;
                }
            }
            if begun.elapsed() >= PATIENCE {
                return Err(ShadowError::Connection(io::ErrorKind::TimedOut.into()));
            }
            sleep(AGAIN).await;
        }
    }

    async fn try_ask(
        &mut self,
        what: &str,
        token: &str,
        body: &str,
    ) -> Result<Answer, ShadowError> {
        let topic = format!("$aws/things/{}/shadow/{what}", self.name);
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        self.sent += 1;
        link.publish(&topic, body, self.sent);
        link.flush().await?;
        loop {
            let Some((heard, payload)) = link.publication().await? else { continue };
            let Ok(message) = serde_json::from_slice::<Message>(&payload) else { continue };
            if heard.ends_with("update/accepted") {
                self.report.went_back += u64::from(message.version <= self.newest);
                self.newest = self.newest.max(message.version);
            }
            // What was asked before the connection ended may be answered now.
            if message.client_token != token || !heard.starts_with(&topic) {
                continue;
            }
            self.link = Some(link);
            let accepted = heard.ends_with("/accepted");
            return Ok(if accepted {
                Answer::Accepted(message)
            } else {
                Answer::Rejected(message.code)
            });
        }
    }

    /// The next of the brokers that lets it in.
    async fn connect(&mut self) -> Result<Link, ShadowError> {
        let brokers = &self.args.broker;
        let broker = brokers.get(self.at % brokers.len().max(1));
        self.at += 1;
        let broker = broker.ok_or(ShadowError::Refused("a connection"))?;
        let mut link = Link::open(broker, &self.name).await?;
        let prefix = format!("$aws/things/{}/shadow", self.name);
        let answers = ["update/accepted", "update/rejected", "get/accepted", "get/rejected"];
        let answers = answers.map(|it| format!("{prefix}/{it}"));
        link.subscribe(&answers.each_ref().map(String::as_str)).await?;
        self.report.connections += 1;
        if let Some(left) = self.left.take() {
            self.report.moves.note(left, SystemTime::now());
        }
        Ok(link)
    }

    /// Waits with nothing to ask. Who is cut off meanwhile goes on elsewhere at once.
    async fn rest(&mut self, until: Instant) -> Result<(), ShadowError> {
        while Instant::now() < until {
            let Some(link) = &mut self.link else {
                match timeout_at(until, self.connect()).await {
                    Ok(Ok(link)) => self.link = Some(link),
                    Ok(Err(broke @ ShadowError::Broke(_))) => return Err(broke),
                    Ok(Err(_)) => sleep(AGAIN).await,
                    Err(_) => {}
                }
                continue;
            };
            match timeout_at(until, link.publication()).await {
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(broke @ ShadowError::Broke(_))) => return Err(broke),
                Ok(Err(_)) => self.lose(),
            }
        }
        Ok(())
    }

    /// It is cut off, or had no answer.
    fn lose(&mut self) {
        self.link = None;
        if self.report.connections > 0 {
            self.left.get_or_insert_with(SystemTime::now);
        }
    }
}

/// A topic and a payload.
pub(crate) type Published = (String, Bytes);

impl fmt::Display for TravelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_good() { "none lost" } else { "NOT AS PROMISED" };
        let Self { things, accepted, rejected, again, connections, .. } = self;
        writeln!(
            f,
            "  shadows       {accepted} updates of {things} things answered, {rejected} rejected, {again} asked again over {connections} connections; longest {} ms",
            self.longest_ms,
        )?;
        writeln!(
            f,
            "  verdict       {verdict}: {} documents not the last accepted update, {} not shown, versions went back {} times",
            self.lost, self.unknown, self.went_back,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_far_as_it_matters() {
        let accepted = br#"{"state":{"reported":{"n":7}},"metadata":{},"version":9,"timestamp":1,"clientToken":"u7"}"#;
        let message: Message = serde_json::from_slice(accepted).unwrap();
        assert_eq!((message.state.reported.n, message.version), (7, 9));
        assert_eq!(message.client_token, "u7");
        let rejected: Message = serde_json::from_slice(br#"{"code":429,"message":"x"}"#).unwrap();
        assert_eq!(rejected.code, 429);
    }

    #[test]
    fn one_thing_that_lost_something_spoils_all() {
        let good = TravelReport { things: 1, accepted: 5, again: 2, ..TravelReport::default() };
        let bad = TravelReport { things: 1, lost: 1, ..TravelReport::default() };
        let mut sum = good.clone();
        sum.add(good);
        assert!(sum.is_good() && sum.to_string().contains("10 updates of 2 things"));
        sum.add(bad);
        assert!(!sum.is_good() && sum.to_string().contains("NOT AS PROMISED"));
    }
}
