//! Asks Prometheus what the gates of policies want to know.
//!
//! Only the scheduler's gateway asks, and writes down what it was answered: all gateways go by that. What was not answered
//! lately is not known, and what nobody knows closes a gate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use protocol::Wall;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Expect;
use tokio::time::sleep;

use super::acts::unavailable;
use super::ask::SchedulerSender;
use super::documents::{DocumentError, Documents};
use super::thread::Scheduler;
use crate::async_thread::AsyncThread;
use crate::config::Prometheus;
use crate::control::ControlError;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundTlsError, Unanswered};

/// Time between two looks at what there is to ask.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;
/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(90);
/// Where the answers stand.
const ANSWERS: &str = "answers";

/// Asks, on a thread of its own.
pub(super) struct Asker {
    whom: Prometheus,
    to: Outbound,
    scheduler: SchedulerSender,
    metrics: Metrics,
}

/// Whether a query held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    at_ms: u64,
    holds: bool,
}

/// What was answered, by the words of the queries.
type Answers = BTreeMap<String, Answered>;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
enum NotAnswered {
    #[error("{0}")]
    Unanswered(#[from] Unanswered),
    #[error("answers with status {0}")]
    Status(u16),
    #[error("its answer cannot be understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its answer is neither samples nor a number")]
    Kind,
    #[error("the query cannot be sent: {0}")]
    Request(#[from] hyper::http::Error),
}

/// What Prometheus answers.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Value>,
}

impl Asker {
    /// Asks whom the configuration names.
    pub(super) fn new(
        whom: Prometheus,
        scheduler: SchedulerSender,
        metrics: Metrics,
    ) -> Result<Self, OutboundTlsError> {
        let endpoint = &whom.endpoint;
        let to = Outbound::new(&endpoint.host, endpoint.port, endpoint.ca.as_deref())?;
        Ok(Self { whom, to, scheduler, metrics })
    }

    /// Starts the thread.
    pub(super) fn spawn(self) -> std::io::Result<AsyncThread> {
        AsyncThread::start("asker", async move |stopped| {
            tokio::select! {
                _ = stopped => {}
                () = self.run() => {}
            }
        })
    }

    async fn run(&self) {
        let (mut last, mut asked) = (BTreeSet::new(), None::<Instant>);
        let mut silent = BTreeSet::new();
        loop {
            sleep(PAUSE).await;
            // Who cannot be asked is asked again.
            let Ok(queries) = self.scheduler.act(Scheduler::queries) else { continue };
            let due = asked.is_none_or(|at| at.elapsed() >= self.whom.every);
            if queries == last && !due {
                continue;
            }
            asked = Some(Instant::now());
            for query in &queries {
                self.learn(query, &mut silent).await;
            }
            last = queries;
        }
    }

    /// Asks, and has it written down. That there was no answer is said once.
    async fn learn(&self, query: &str, silent: &mut BTreeSet<String>) {
        let counters = self.metrics.process();
        match self.ask(query).await {
            Ok(holds) => {
                counters.queries_answered.add(1);
                silent.remove(query);
                let query = query.to_owned();
                // What is not written down is asked again.
                let _ = self.scheduler.act(move |scheduler| scheduler.note_answer(query, holds));
            }
            Err(why) => {
                counters.queries_unanswered.add(1);
                if silent.insert(query.to_owned()) {
                    tracing::warn!(
                        "a gate stays closed: Prometheus does not say whether {query}: {why}"
                    );
                }
            }
        }
    }

    async fn ask(&self, query: &str) -> Result<bool, NotAnswered> {
        let path = format!("{}?query={}", self.whom.endpoint.path, encoded(query));
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::new()))?;
        let (status, body) = self.to.ask(request, (self.whom.timeout, ANSWER_BYTES)).await?;
        if status == 200 { holds(&body) } else { Err(NotAnswered::Status(status)) }
    }
}

impl Scheduler {
    /// What is to be asked, if it is this gateway that asks.
    fn queries(&mut self) -> Result<BTreeSet<String>, ControlError> {
        match self.watch.held(self.shared.now().mono) {
            Some(_) => Ok(self.documents.policy_set()?.wanted().queries),
            None => Ok(BTreeSet::new()),
        }
    }

    /// Writes down whether a query held; what nobody asks any more is forgotten.
    fn note_answer(&mut self, query: String, holds: bool) -> Result<(), ControlError> {
        let now = self.shared.now().wall;
        let stored = self.documents.get::<Answers>(ANSWERS).map_err(unavailable)?;
        let (mut answers, rev) = stored.map_or((Answers::new(), None), |(it, rev)| (it, Some(rev)));
        answers.insert(query, Answered { at_ms: now.0, holds });
        answers.retain(|_, it| is_believed(it, now));
        let expect = rev.map_or(Expect::Absent, Expect::Rev);
        match self.documents.put(ANSWERS, &answers, expect) {
            Ok(()) | Err(DocumentError::Conflict { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Documents {
    /// Which queries held lately, and which did not.
    pub(super) fn answers(&mut self, now: Wall) -> Result<BTreeMap<String, bool>, DocumentError> {
        let stored = self.get::<Answers>(ANSWERS)?.map(|(answers, _)| answers).unwrap_or_default();
        let believed = stored.into_iter().filter(|(_, it)| is_believed(it, now));
        Ok(believed.map(|(query, it)| (query, it.holds)).collect())
    }
}

fn is_believed(answered: &Answered, now: Wall) -> bool {
    now < Wall(answered.at_ms).after(BELIEVED)
}

/// Whether a query holds by its answer: there are samples, or the number is not 0.
fn holds(body: &[u8]) -> Result<bool, NotAnswered> {
    let Data { result_type, result } = serde_json::from_slice::<Answer>(body)?.data;
    match (result_type.as_str(), result.as_slice()) {
        // Samples: those for which a comparison holds, as for an alert.
        ("vector", samples) => Ok(!samples.is_empty()),
        // A moment, and a number as text. What is no number is not known to be 0.
        ("scalar", [_, Value::String(number)]) => {
            Ok(number.parse::<f64>().is_ok_and(|number| number != 0.0))
        }
        _ => Err(NotAnswered::Kind),
    }
}

/// As a value in a query of a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_if_there_are_samples_or_the_number_is_not_zero() {
        let of =
            |data: &str| holds(format!("{{\"status\":\"success\",\"data\":{data}}}").as_bytes());
        let sample = r#"{"metric":{"job":"a"},"value":[1700000000.1,"0"]}"#;
        let vector =
            |samples: &str| of(&format!(r#"{{"resultType":"vector","result":[{samples}]}}"#));
        assert!(vector(sample).unwrap() && !vector("").unwrap());
        let scalar =
            |number: &str| of(&format!(r#"{{"resultType":"scalar","result":[1.5,"{number}"]}}"#));
        assert!(scalar("0.5").unwrap() && scalar("NaN").unwrap() && !scalar("0").unwrap());
        assert!(matches!(of(r#"{"resultType":"matrix","result":[]}"#), Err(NotAnswered::Kind)));
        assert!(matches!(holds(b"<html>"), Err(NotAnswered::Json(_))));
    }

    #[test]
    fn queries_go_into_urls() {
        assert_eq!(encoded("sum(up) < 3 ü"), "sum%28up%29%20%3C%203%20%C3%BC");
    }
}
