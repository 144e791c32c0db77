//! The sum of a run.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::{QoS, mqtt::Version};
use serde::Serialize;

use crate::{
    Amount, ClientKind, Pace, Pattern, Plan, Thresholds,
    args::name_of,
    ends::Ends,
    harvest::{Harvest, Publisher},
    moves::Moves,
    procfs::{cpu_time, resident_bytes},
    receiving::Receiving,
    schedule::{Schedule, due},
    shared::Shared,
    track::Track,
};

/// What a run has shown. Counts are messages unless their name says otherwise; a copy for each receiver counts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// `lean` or `rumqttc`.
    pub client: String,
    /// Where devices connected, as given.
    pub brokers: Vec<String>,
    /// Who published to whom.
    pub pattern: String,
    /// As given.
    pub devices: usize,
    /// 3.1, 3.1.1 or 5.0.
    pub protocol_version: &'static str,
    /// Of publications and subscriptions.
    pub qos: u8,
    /// As given.
    pub payload_bytes: usize,
    /// Threads that the devices lived on.
    pub workers: usize,
    /// Messages per second that were asked for; nothing for a closed loop.
    pub rate_per_s: Option<f64>,
    /// From the first message to the last sign of movement; of idle connections how long they were held.
    pub seconds: f64,
    /// Whether somebody has ended the run before its time; then it is about what was done until then.
    pub interrupted: bool,
    /// Seconds in which all that was due should have been published; nothing for a closed loop.
    pub planned_seconds: Option<f64>,
    /// Messages that were to be published; nothing if that was as many as there was time for.
    pub due: Option<u64>,
    /// Those of them that never were: a publisher was held up, or had no connection.
    pub unpublished: u64,
    /// Messages handed to connections.
    pub published: u64,
    /// By PUBACK or PUBCOMP; 0 at `QoS` 0.
    pub acknowledged: u64,
    /// Published and never acknowledged; 0 at `QoS` 0.
    pub unacknowledged: u64,
    /// Copies that should have come.
    pub expected: u64,
    /// Copies that came, each counted once.
    pub delivered: u64,
    /// Acknowledged (at `QoS` 0: published) copies that never came.
    pub lost: u64,
    /// Copies that never came and were not acknowledged either.
    pub unacknowledged_lost: u64,
    /// Copies that came again.
    pub duplicates: u64,
    /// Group: those of them that came to two members, once each.
    pub duplicates_between_members: u64,
    /// Those of them without the DUP flag.
    pub duplicates_without_dup: u64,
    /// Those of the latter that their publishers had sent more than once, so that the broker took them for two messages.
    pub duplicates_sent_twice: u64,
    /// Copies that came after a later message of the same publisher.
    pub reordered: u64,
    /// Messages that were none of this run.
    pub foreign: u64,
    /// Published per second.
    pub published_per_s: f64,
    /// Delivered per second.
    pub delivered_per_s: f64,
    /// Offline: copies stored for sessions that are away, per second.
    pub stored_per_s: Option<f64>,
    /// Offline: seconds to hand over what was stored.
    pub drain_back_seconds: Option<f64>,
    /// From sent (with a rate: from due) to seen.
    pub latency: Latency,
    /// How connections fared.
    pub gaps: Gaps,
    /// Why connections ended, or were not made, before the end of the run.
    pub ended: Ends,
    /// When connections were lost and made again.
    #[serde(skip)]
    pub moves: Moves,
    /// Wills of our devices that were published.
    pub wills: u64,
    /// Seconds until all devices were connected and subscribed.
    pub ready_seconds: f64,
    /// CPU time of this process per delivered copy, in microseconds.
    pub sim_cpu_us_per_message: f64,
    /// CPU seconds of this process while messages flowed.
    pub sim_cpu_seconds: f64,
    /// The share of its threads' time that this was. Close to 1, the load and not the broker may have been the limit.
    pub sim_busy: f64,
    /// Processes that were measured.
    pub processes: Vec<BrokerProcess>,
    /// Thresholds that were exceeded, in words.
    pub exceeded: Vec<String>,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 90 of 100 are below.
    pub p90_us: f64,
    /// 99 of 100 are below.
    pub p99_us: f64,
    /// 999 of 1,000 are below.
    pub p999_us: f64,
    /// The worst.
    pub max_us: f64,
}

/// Times without service.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Gaps {
    /// Connections made again.
    pub reconnects: u64,
    /// Devices that connected again at all.
    pub devices_reconnected: u64,
    /// Connections made again by a device that did, the median.
    pub reconnects_of_one_p50: u64,
    /// The most of one device.
    pub reconnects_of_one_most: u64,
    /// The most within one second of the run.
    pub reconnects_in_one_second: u64,
    /// Server references followed.
    pub redirects: u64,
    /// Devices that had lost service and not got it back at the end.
    pub never_served_again: u64,
    /// Median milliseconds from losing a connection to being served again.
    pub p50_ms: u64,
    /// 99 of 100 are below.
    pub p99_ms: u64,
    /// The longest of any device, open ones included.
    pub longest_ms: u64,
    /// The longest time between two messages at one receiver.
    pub longest_silence_ms: u64,
}

/// One measured process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct BrokerProcess {
    /// Its id.
    pub pid: u32,
    /// CPU seconds while messages flowed.
    pub cpu_seconds: f64,
    /// CPU microseconds per delivered copy (offline: per stored copy).
    pub cpu_us_per_message: f64,
    /// Resident bytes before anyone connected.
    pub resident_before_bytes: u64,
    /// Resident bytes with all devices connected.
    pub resident_ready_bytes: u64,
    /// Resident bytes at the end.
    pub resident_end_bytes: u64,
    /// Growth until all were connected, by their number.
    pub bytes_per_connection: u64,
}

/// What is looked at from outside while a run goes on.
#[derive(Debug)]
pub(crate) struct Measured {
    begun: Instant,
    processes: Vec<BrokerProcess>,
    cpu_before: Vec<Duration>,
    sim_before: Duration,
    sim_cpu: Duration,
    ready_seconds: f64,
    publish_begun: Instant,
    publish_seconds: f64,
    drain_begun: Instant,
    drain_seconds: Option<f64>,
    pub(crate) reconnects_in_one_second: u64,
    pub(crate) interrupted: bool,
}

impl Measured {
    /// The first look; fails with the id of a process that is not there.
    pub(crate) fn begin(pids: &[u32]) -> Result<Self, u32> {
        let now = Instant::now();
        let process = |&pid| {
            let resident_before_bytes = resident_bytes(pid).ok_or(pid)?;
            Ok(BrokerProcess { pid, resident_before_bytes, ..BrokerProcess::default() })
        };
        Ok(Self {
            begun: now,
            processes: pids.iter().map(process).collect::<Result<_, u32>>()?,
            cpu_before: Vec::new(),
            sim_before: Duration::ZERO,
            sim_cpu: Duration::ZERO,
            ready_seconds: 0.0,
            publish_begun: now,
            publish_seconds: 0.0,
            drain_begun: now,
            drain_seconds: None,
            reconnects_in_one_second: 0,
            interrupted: false,
        })
    }

    /// Everybody is connected; messages begin.
    pub(crate) fn ready(&mut self) {
        self.ready_seconds = self.begun.elapsed().as_secs_f64();
        for process in &mut self.processes {
            process.resident_ready_bytes = resident_bytes(process.pid).unwrap_or_default();
        }
        self.cpu_before =
            self.processes.iter().map(|p| cpu_time(p.pid).unwrap_or_default()).collect();
        self.sim_before = cpu_time(std::process::id()).unwrap_or_default();
        self.publish_begun = Instant::now();
    }

    /// Messages have ended; the last sign of movement was at `moved`.
    pub(crate) fn published(&mut self, moved: Instant) {
        self.publish_seconds = moved.saturating_duration_since(self.publish_begun).as_secs_f64();
        for (process, before) in self.processes.iter_mut().zip(&self.cpu_before) {
            let used = cpu_time(process.pid).unwrap_or_default().saturating_sub(*before);
            process.cpu_seconds = used.as_secs_f64();
            process.resident_end_bytes = resident_bytes(process.pid).unwrap_or_default();
        }
        let sim = cpu_time(std::process::id()).unwrap_or_default();
        self.sim_cpu = sim.saturating_sub(self.sim_before);
        self.drain_begun = Instant::now();
    }

    /// Offline receivers have what was stored for them.
    pub(crate) fn drained(&mut self, moved: Instant) {
        let time = moved.saturating_duration_since(self.drain_begun);
        self.drain_seconds = Some(time.as_secs_f64());
    }
}

/// Adds up what the workers have left.
pub(crate) fn sum(shared: &Shared, harvests: Vec<Harvest>, measured: Measured) -> Report {
    let plan = &shared.plan;
    let mut report = Report::default();
    let mut latency_ns: Option<Histogram<u64>> = None;
    let mut gaps_ms: Option<Histogram<u64>> = None;
    let mut publishers: Vec<Publisher> = Vec::new();
    publishers.resize_with(plan.publishers(), Publisher::default);
    let mut receivers = Vec::new();
    let mut without_dup = Vec::new();
    let mut open_gap_ns = 0;
    let mut reconnects = Vec::new();
    for harvest in harvests {
        let tally = harvest.tally;
        report.delivered += tally.delivered;
        report.duplicates += tally.duplicates;
        report.duplicates_without_dup += tally.duplicates_without_dup;
        without_dup.extend(tally.without_dup);
        report.reordered += tally.reordered;
        report.foreign += tally.foreign;
        merge(&mut latency_ns, tally.latency_ns);
        merge(&mut gaps_ms, tally.gaps_ms);
        reconnects.extend(harvest.reconnects);
        report.moves.add(tally.moves);
        report.ended.add(harvest.ends);
        report.gaps.redirects += harvest.redirects;
        for since_ns in harvest.down_since_ns {
            report.gaps.never_served_again += 1;
            open_gap_ns = open_gap_ns.max(shared.now_ns().saturating_sub(since_ns));
        }
        for (number, publisher) in harvest.publishers {
            publishers.splice(number..=number, [publisher]);
        }
        receivers.extend(harvest.receivers);
    }
    let twice = |(publisher, sequence): &(usize, u64)| {
        publishers.get(*publisher).is_some_and(|p| p.resent.contains(sequence))
    };
    report.duplicates_sent_twice = without_dup.iter().filter(|r| twice(r)).count() as u64;
    report.interrupted = measured.interrupted;
    add_due(shared, &publishers, &mut report);
    add_losses(plan, &publishers, &receivers, &mut report);
    if let Some(histogram) = latency_ns {
        report.latency = latency(&histogram);
    }
    if let Some(histogram) = gaps_ms {
        report.gaps.p50_ms = histogram.value_at_quantile(0.5);
        report.gaps.p99_ms = histogram.value_at_quantile(0.99);
        report.gaps.longest_ms = histogram.max().max(open_gap_ns / 1_000_000);
    }
    add_reconnects(reconnects, &mut report.gaps);
    report.gaps.reconnects_in_one_second = measured.reconnects_in_one_second;
    report.wills = shared.counters.wills.load(std::sync::atomic::Ordering::Relaxed);
    finish(plan, measured, report)
}

/// Fills in how often devices connected again, given for each that did.
fn add_reconnects(mut counts: Vec<u64>, gaps: &mut Gaps) {
    counts.sort_unstable();
    gaps.reconnects = counts.iter().sum();
    gaps.devices_reconnected = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    gaps.reconnects_of_one_p50 = counts.get(counts.len() / 2).copied().unwrap_or_default();
    gaps.reconnects_of_one_most = counts.last().copied().unwrap_or_default();
}

/// Adds a histogram to the sum of those before it; all of a kind have the same range.
fn merge(sum: &mut Option<Histogram<u64>>, more: Histogram<u64>) {
    match sum {
        None => *sum = Some(more),
        Some(sum) => *sum += more,
    }
}

/// Fills in what was to be published, as far as that is known.
fn add_due(shared: &Shared, publishers: &[Publisher], report: &mut Report) {
    let plan = &shared.plan;
    for (number, publisher) in publishers.iter().enumerate() {
        let schedule = Schedule::of(plan, number);
        let so_far = schedule.map(|schedule| schedule.due_before(shared.published_for_ns()));
        let due = match due(plan, number) {
            due if !report.interrupted => due,
            due => so_far.zip(due).map(|(so_far, due)| so_far.min(due)),
        };
        if let Some(due) = due {
            *report.due.get_or_insert(0) += due;
            report.unpublished += due.saturating_sub(publisher.published);
        }
    }
    let seconds = |ns| Duration::from_nanos(ns).as_secs_f64();
    report.planned_seconds = match (plan.amount, plan.pace) {
        (_, Pace::Window(_)) => None,
        (_, Pace::Every(_)) if report.interrupted => Some(seconds(shared.published_for_ns())),
        (Amount::Time(time), Pace::Every(_)) => Some(time.as_secs_f64()),
        (Amount::Count(count), Pace::Every(every)) => Some(seconds(count.saturating_mul(every))),
    };
}

/// Fills in what was lost, and by whose account.
fn add_losses(plan: &Plan, publishers: &[Publisher], receivers: &[Receiving], report: &mut Report) {
    let copies = u64::try_from(plan.copies()).unwrap_or(u64::MAX);
    for publisher in publishers {
        report.published += publisher.published;
        report.acknowledged += publisher.acknowledged;
        report.unacknowledged += u64::try_from(publisher.unacknowledged.len()).unwrap_or(u64::MAX);
    }
    for receiver in receivers {
        let silence_ms = receiver.longest_silence_ns() / 1_000_000;
        report.gaps.longest_silence_ms = report.gaps.longest_silence_ms.max(silence_ms);
    }
    if plan.pattern == Pattern::Offline && !plan.drain_back {
        return;
    }
    report.expected = report.published.saturating_mul(copies);
    if plan.pattern == Pattern::Group {
        add_losses_of_group(publishers, receivers, report);
        return;
    }
    for receiver in receivers {
        for number in plan.heard_by(receiver.number()) {
            let Some(publisher) = publishers.get(number) else { continue };
            if !plan.hears(receiver.number(), number) {
                continue;
            }
            let missing =
                receiver.never_came(number, publisher.published, &publisher.unacknowledged);
            report.lost += missing.all - missing.excused;
            report.unacknowledged_lost += missing.excused;
        }
    }
}

/// The same for a group, of which any member may have got a message.
fn add_losses_of_group(publishers: &[Publisher], members: &[Receiving], report: &mut Report) {
    for (number, publisher) in publishers.iter().enumerate() {
        let mut seen = Track::default();
        for track in members.iter().filter_map(|member| member.track_of(number)) {
            let twice = seen.merge(track);
            report.duplicates += twice;
            report.duplicates_between_members += twice;
            report.delivered -= twice;
        }
        let missing = seen.never_came(publisher.published, &publisher.unacknowledged);
        report.lost += missing.all - missing.excused;
        report.unacknowledged_lost += missing.excused;
    }
}

/// Fills in what follows from the rest.
fn finish(plan: &Plan, measured: Measured, mut report: Report) -> Report {
    report.client = name_of(plan.client);
    report.brokers = plan.brokers.iter().map(ToString::to_string).collect();
    report.pattern = name_of(plan.pattern);
    report.devices = plan.devices;
    report.protocol_version = match plan.version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    };
    report.qos = plan.qos.bits();
    report.payload_bytes = plan.payload_bytes;
    report.seconds = measured.publish_seconds;
    report.ready_seconds = measured.ready_seconds;
    report.drain_back_seconds = measured.drain_seconds;
    report.published_per_s = ratio(report.published, report.seconds);
    let mut handled = report.delivered;
    if plan.pattern == Pattern::Offline {
        let took = if plan.qos == QoS::AtMostOnce { report.published } else { report.acknowledged };
        handled = took.saturating_mul(u64::try_from(plan.copies()).unwrap_or(u64::MAX));
        report.stored_per_s = Some(ratio(handled, report.seconds));
        report.delivered_per_s = ratio(report.delivered, measured.drain_seconds.unwrap_or(0.0));
    } else {
        report.delivered_per_s = ratio(report.delivered, report.seconds);
    }
    report.workers = if plan.client == ClientKind::Lean { plan.workers } else { 1 };
    report.rate_per_s = plan.rate_per_s;
    report.sim_cpu_seconds = measured.sim_cpu.as_secs_f64();
    report.sim_busy = ratio(1, report.seconds) * report.sim_cpu_seconds
        / f64::from(u32::try_from(report.workers).unwrap_or(u32::MAX).max(1));
    report.sim_cpu_us_per_message = per_message_us(report.sim_cpu_seconds, handled);
    let connections = u64::try_from(crate::worker::cast(plan).len()).unwrap_or(u64::MAX);
    report.processes = measured.processes;
    for process in &mut report.processes {
        process.cpu_us_per_message = per_message_us(process.cpu_seconds, handled);
        let growth = process.resident_ready_bytes.saturating_sub(process.resident_before_bytes);
        process.bytes_per_connection = growth / connections.max(1);
    }
    report.exceeded = exceeded(&plan.thresholds, &report);
    report
}

fn exceeded(thresholds: &Thresholds, report: &Report) -> Vec<String> {
    [
        ("lost", report.lost, thresholds.lost),
        ("unpublished", report.unpublished, thresholds.unpublished),
        ("duplicates", report.duplicates, thresholds.duplicates),
        ("reordered", report.reordered, thresholds.reordered),
        ("longest gap in ms", report.gaps.longest_ms, thresholds.gap_ms),
        ("wills", report.wills, thresholds.wills),
    ]
    .into_iter()
    .filter_map(|(what, value, limit)| {
        let limit = limit.filter(|limit| value > *limit)?;
        Some(format!("{what}: {value} is more than {limit}"))
    })
    .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a histogram knows three digits")]
pub(crate) fn latency(histogram: &Histogram<u64>) -> Latency {
    let us = |ns: u64| ns as f64 / 1e3;
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    Latency {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: us(histogram.max()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts below 2^53 are exact, and rates need no more"
)]
fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts below 2^53 are exact, and rates need no more"
)]
fn per_message_us(seconds: f64, count: u64) -> f64 {
    if count > 0 { seconds * 1e6 / count as f64 } else { 0.0 }
}
