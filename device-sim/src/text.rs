//! A report for people.

use std::fmt;

use crate::Report;

/// Above this share of its threads' time the load may be the limit.
const BUSY: f64 = 0.9;
/// A rate was not held if it took so many times as long as planned, and so many seconds.
const LATE: f64 = 1.05;
const LATE_S: f64 = 0.25;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} at {}: MQTT {}, QoS {}, {} bytes, client {}",
            self.pattern,
            self.devices,
            self.brokers.join(", "),
            self.protocol_version,
            self.qos,
            self.payload_bytes,
            self.client,
        )?;
        writeln!(f, "  ready         all connected and subscribed in {:.2} s", self.ready_seconds)?;
        if self.published > 0 || self.unpublished > 0 {
            self.messages(f)?;
        }
        writeln!(
            f,
            "  connections   {} reconnects, {} redirects, {} never served again",
            self.gaps.reconnects, self.gaps.redirects, self.gaps.never_served_again,
        )?;
        if !self.ended.list().is_empty() {
            writeln!(f, "  ended         {}", self.ended)?;
        }
        if self.gaps.reconnects > 0 {
            writeln!(
                f,
                "  reconnects    of {} devices, p50 {} and at most {} of one; at most {} in one second",
                self.gaps.devices_reconnected,
                self.gaps.reconnects_of_one_p50,
                self.gaps.reconnects_of_one_most,
                self.gaps.reconnects_in_one_second,
            )?;
        }
        writeln!(
            f,
            "  gaps          p50 {} ms, p99 {} ms, longest {} ms; longest silence {} ms; wills seen {}",
            self.gaps.p50_ms,
            self.gaps.p99_ms,
            self.gaps.longest_ms,
            self.gaps.longest_silence_ms,
            self.wills,
        )?;
        self.processes(f)?;
        self.notes(f)?;
        if self.interrupted {
            writeln!(f, "  INTERRUPTED   before its time; this is what was done until then")?;
        }
        for line in &self.exceeded {
            writeln!(f, "  EXCEEDED      {line}")?;
        }
        Ok(())
    }
}

impl Report {
    fn messages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  published     {} in {:.2} s ({:.0}/s), acknowledged {}, unacknowledged {}",
            self.published,
            self.seconds,
            self.published_per_s,
            self.acknowledged,
            self.unacknowledged,
        )?;
        if let (Some(rate), Some(due)) = (self.rate_per_s, self.due) {
            let unpublished = self.unpublished;
            writeln!(
                f,
                "  due           {due} at {rate:.0}/s, {unpublished} of them never published"
            )?;
        }
        writeln!(
            f,
            "  delivered     {} of {} ({:.0}/s)",
            self.delivered, self.expected, self.delivered_per_s,
        )?;
        if let Some(stored_per_s) = self.stored_per_s {
            writeln!(f, "  stored        {stored_per_s:.0}/s for sessions that are away")?;
        }
        if let Some(seconds) = self.drain_back_seconds {
            writeln!(f, "  drained back  in {seconds:.2} s")?;
        }
        writeln!(
            f,
            "  lost          {} (and {} without an acknowledgement)",
            self.lost, self.unacknowledged_lost,
        )?;
        writeln!(
            f,
            "  repeated      {} ({} without DUP, of which {} were sent twice by their publisher), reordered {}, foreign {}",
            self.duplicates,
            self.duplicates_without_dup,
            self.duplicates_sent_twice,
            self.reordered,
            self.foreign,
        )?;
        writeln!(
            f,
            "  latency       p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
            self.latency.p50_us,
            self.latency.p90_us,
            self.latency.p99_us,
            self.latency.p999_us,
            self.latency.max_us,
        )
    }

    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for process in &self.processes {
            writeln!(
                f,
                "  process {:<6}{:.2} s CPU, {:.3} us per message; resident {} kB before, {} kB connected, {} kB at the end; {} bytes per connection",
                process.pid,
                process.cpu_seconds,
                process.cpu_us_per_message,
                process.resident_before_bytes / 1_024,
                process.resident_ready_bytes / 1_024,
                process.resident_end_bytes / 1_024,
                process.bytes_per_connection,
            )?;
        }
        if self.published > 0 {
            writeln!(
                f,
                "  device-sim    {:.3} us CPU per message; {:.2} s in all, {:.0} % of {} thread{}",
                self.sim_cpu_us_per_message,
                self.sim_cpu_seconds,
                self.sim_busy * 100.0,
                self.workers,
                if self.workers == 1 { "" } else { "s" },
            )?;
        }
        Ok(())
    }

    /// What puts the figures in doubt.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sim_busy > BUSY {
            writeln!(
                f,
                "  NOTE          device-sim itself was busy all the time: this may be its limit, not the broker's (--workers gives it more threads)",
            )?;
        }
        let took_longer = |planned: &f64| self.seconds > planned * LATE + LATE_S;
        if let Some(planned) = self.planned_seconds.filter(took_longer) {
            writeln!(
                f,
                "  NOTE          the rate was not held: what was due in {planned:.2} s took {:.2} s",
                self.seconds,
            )?;
        }
        if self.unpublished > 0 {
            writeln!(
                f,
                "  NOTE          {} messages were due and never published, and are neither in the losses nor in the latency",
                self.unpublished,
            )?;
        }
        Ok(())
    }
}
