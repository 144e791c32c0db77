//! What a million exact filters of a peer cost: bytes of each, and the time of publications that match none, some, or one.
//! Alone in its process, so that nobody else's bytes are counted.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Instant;

use fanout::{HashedInterest, InterestDelta, Routes};
use peak_alloc::PeakAlloc;
use protocol::TopicFilter;
use protocol::peer::{FilterHash, HashChange};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const FILTERS: usize = 1_000_000;
/// Filters by name, for comparison.
const NAMED: usize = 10_000;
/// Publications that are timed, each to a topic of its own.
const TOPICS: usize = 200_000;

fn topic(site: &str, n: usize) -> String {
    format!("{site}/{}/machine/{n}/meter", n % 1000)
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let told: Vec<_> =
        (0..FILTERS).map(|n| HashChange::new(FilterHash::of(&topic("site", n)), 1)).collect();
    let mut routes = Routes::default();
    let empty = nanos_each(&routes, "nowhere");

    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    for change in &told {
        routes.set_peer_hashes(1, std::slice::from_ref(change));
    }
    let each = |bytes: usize| bytes.saturating_sub(before) as f64 / FILTERS as f64;
    let (kept, most) = (each(ALLOCATED.current_usage()), each(ALLOCATED.peak_usage()));
    writeln!(
        out,
        "  one by one    {kept:.1} bytes for each of {FILTERS}, {most:.1} while they grow"
    )?;
    ALLOCATED.reset_peak_usage();
    drop(routes.replace_peer_hashes(1, HashedInterest::new(&told)));
    let (kept, most) = (each(ALLOCATED.current_usage()), each(ALLOCATED.peak_usage()));
    writeln!(out, "  at once       {kept:.1} bytes for each, {most:.1} while they are replaced")?;

    let (none, one) = (nanos_each(&routes, "nowhere"), nanos_each(&routes, "site"));
    writeln!(
        out,
        "  matches none  {none:.0} ns for a topic of 5 levels, {empty:.0} ns without them"
    )?;
    writeln!(out, "  matches one   {one:.0} ns")?;

    let named = |n| {
        Some(InterestDelta {
            filter: TopicFilter::new(&topic("named", n)).ok()?,
            share: None,
            members: 1,
        })
    };
    let named: Vec<_> = (0..NAMED).filter_map(named).collect();
    let before = ALLOCATED.current_usage();
    routes.set_peer(2, true, &named);
    let kept = ALLOCATED.current_usage().saturating_sub(before) as f64 / named.len() as f64;
    writeln!(
        out,
        "  by name       {kept:.1} bytes for each of {NAMED}, as filters with wildcards are"
    )
}

/// What finding out who wants a topic takes.
#[expect(clippy::disallowed_methods, reason = "a figure is measured by a clock")]
fn nanos_each(routes: &Routes, site: &str) -> f64 {
    let topics: Vec<_> = (0..TOPICS).map(|n| topic(site, n * 5)).collect();
    let began = Instant::now();
    for topic in &topics {
        black_box(routes.route(topic));
    }
    began.elapsed().as_nanos() as f64 / topics.len() as f64
}
