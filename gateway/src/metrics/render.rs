//! The counters as text for Prometheus, with what the kernel says of the process.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::labelled::Thousandths;

#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) family: &'static str,
    pub(super) labels: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// Counted in thousandths.
    CounterThousandths,
    /// In thousandths.
    GaugeThousandths,
    /// Sum of a summary: counted in nanoseconds, shown in seconds.
    SummaryNanoseconds,
    /// Count of the same summary.
    SummaryCount,
    /// What was at most so long, of a histogram; what was shorter is counted in all that are longer.
    Bucket,
    /// Sum of a histogram: counted in nanoseconds, shown in seconds.
    HistogramNanoseconds,
    /// Sum of a histogram of whole numbers.
    HistogramSum,
    /// Sum of a histogram of numbers: counted in thousandths.
    HistogramThousandths,
    /// Count of the same histogram.
    HistogramCount,
}

/// Writes HELP and TYPE once per family: series of one family stand side by side in the declaration.
pub(super) fn render_families(text: &mut String, descriptors: &[Descriptor], values: &[u64]) {
    let mut family = "";
    for (descriptor, value) in descriptors.iter().zip(values) {
        if descriptor.family != family {
            family = descriptor.family;
            let kind = match descriptor.kind {
                Kind::Counter | Kind::CounterThousandths => "counter",
                Kind::Gauge | Kind::GaugeThousandths => "gauge",
                Kind::SummaryNanoseconds | Kind::SummaryCount => "summary",
                Kind::Bucket
                | Kind::HistogramNanoseconds
                | Kind::HistogramSum
                | Kind::HistogramThousandths
                | Kind::HistogramCount => "histogram",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {family} {}\n# TYPE {family} {kind}", descriptor.help);
        }
        text.push_str(family);
        match descriptor.kind {
            Kind::Counter | Kind::Gauge | Kind::CounterThousandths | Kind::GaugeThousandths => {}
            Kind::Bucket => text.push_str("_bucket"),
            Kind::SummaryNanoseconds
            | Kind::HistogramNanoseconds
            | Kind::HistogramSum
            | Kind::HistogramThousandths => text.push_str("_sum"),
            Kind::SummaryCount | Kind::HistogramCount => text.push_str("_count"),
        }
        if !descriptor.labels.is_empty() {
            let _ = write!(text, "{{{}}}", descriptor.labels);
        }
        let _ = match descriptor.kind {
            Kind::Counter
            | Kind::Gauge
            | Kind::SummaryCount
            | Kind::Bucket
            | Kind::HistogramSum
            | Kind::HistogramCount => writeln!(text, " {value}"),
            Kind::CounterThousandths | Kind::GaugeThousandths | Kind::HistogramThousandths => {
                writeln!(text, " {}", Thousandths(*value))
            }
            Kind::SummaryNanoseconds | Kind::HistogramNanoseconds => {
                writeln!(text, " {}.{:09}", value / 1_000_000_000, value % 1_000_000_000)
            }
        };
    }
}

pub(super) fn render_violations(text: &mut String, counts: &BTreeMap<&'static str, u64>) {
    const FAMILY: &str = "tidegate_violations_total";
    let help =
        "Statements of the MQTT standards broken by clients, each of which ended a connection.";
    let _ = writeln!(text, "# HELP {FAMILY} {help}\n# TYPE {FAMILY} counter");
    for (statement, count) in counts {
        let _ = writeln!(text, "{FAMILY}{{statement=\"{statement}\"}} {count}");
    }
}

/// What the kernel says this process uses; absent where there is no `/proc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    cpu_ms: Option<u64>,
    resident_bytes: Option<u64>,
}

impl Usage {
    pub(super) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Self {
            cpu_ms: read("/proc/self/stat").and_then(|stat| cpu_ms(&stat)),
            resident_bytes: read("/proc/self/status").and_then(|status| resident_bytes(&status)),
        }
    }
}

/// User and system time; the kernel shows them to programs in units of 10 ms on every architecture we run on.
fn cpu_ms(stat: &str) -> Option<u64> {
    // The name of the program stands in parentheses and may hold spaces: count fields from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)?.checked_mul(10)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

pub(super) fn render_usage(text: &mut String, usage: Usage) {
    let _ = writeln!(
        text,
        "# HELP tidegate_log_lines_dropped_total Log lines given up because standard error took no more.\n\
         # TYPE tidegate_log_lines_dropped_total counter\n\
         tidegate_log_lines_dropped_total {}",
        crate::logging::dropped_lines()
    );
    if let Some(ms) = usage.cpu_ms {
        let _ = writeln!(
            text,
            "# HELP tidegate_process_cpu_seconds_total User and system CPU time of the process.\n\
             # TYPE tidegate_process_cpu_seconds_total counter\n\
             tidegate_process_cpu_seconds_total {}.{:03}",
            ms / 1000,
            ms % 1000
        );
    }
    if let Some(bytes) = usage.resident_bytes {
        let _ = writeln!(
            text,
            "# HELP tidegate_process_resident_bytes Resident memory of the process.\n\
             # TYPE tidegate_process_resident_bytes gauge\n\
             tidegate_process_resident_bytes {bytes}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_program_name_with_parentheses() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_ms(stat), Some(2000));
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name: x\nVmRSS:\t  12 kB\n"), Some(12_288));
        assert_eq!(resident_bytes("Name: x\n"), None);
    }
}
