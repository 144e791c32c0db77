//! How fast publications are appended: `cargo run --release -p store --example append -- [folder]`.
//!
//! Prints, for numbers of topics, fan-outs and batch sizes, messages per second and the processor time of a message.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use protocol::session::QueueLimits;
use protocol::{Position, Publication, QoS, Refs, RefsBuilder, SessionNo};
use smallvec::smallvec;
use store::{
    Append, Durability, QueueIndex, SqliteOptions, SqliteStore, Store as _, StoreError, Terms,
    Write,
};

type Failure = Box<dyn std::error::Error>;

const SESSIONS: u32 = 10_000;
const PAYLOAD_BYTES: usize = 128;
const MESSAGES: u32 = 200_000;

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let mut out = std::io::stdout().lock();
    writeln!(out, "sync    topics  fan-out  batch  messages/s  cpu us/message  index us/message")?;
    for durability in [Durability::Full, Durability::Normal] {
        for (topics, fan_out) in [(64, 1), (64, 10), (64, 100), (2_048, 100)] {
            for batch in [64, 512, 2_048] {
                let place = tempfile::tempdir_in(&folder)?;
                let options = SqliteOptions { durability, ..SqliteOptions::default() };
                let store = SqliteStore::open(place.path(), options)?;
                let run = append(&store, topics, fan_out, batch)?;
                writeln!(
                    out,
                    "{:7} {topics:6} {fan_out:8} {batch:6} {:11.0} {:15.2} {:17.2}",
                    format!("{durability:?}"),
                    run.per_s,
                    run.cpu_us,
                    run.index_us,
                )?;
            }
        }
    }
    Ok(())
}

struct Run {
    per_s: f64,
    cpu_us: f64,
    index_us: f64,
}

/// Few messages per commit take fewer messages, for the time's sake.
fn append(store: &SqliteStore, topics: u32, fan_out: u32, batch: u32) -> Result<Run, Failure> {
    let commits = (MESSAGES / batch).min(1_000);
    let writes = writes(topics, fan_out, batch);
    let mut writer = store.writer()?;
    let mut index = QueueIndex::new(QueueLimits::NONE);
    for no in 1..=SESSIONS {
        index.open(SessionNo(no), &Terms { limits: None, owned: true, sent: Position(0) });
    }
    let (start, cpu) = (Instant::now(), cpu_ns());
    let entries: Vec<_> = (0..commits)
        .map(|_| writer.commit(&writes).map(|commit| commit.entries))
        .collect::<Result<_, StoreError>>()?;
    let (elapsed, cpu) = (start.elapsed(), cpu_ns() - cpu);
    let start = Instant::now();
    for entry in entries.iter().flatten() {
        if let store::Entry::Refs { first, count, refs, outlines } = entry {
            index.apply_refs((*first, *count), outlines, refs, &mut |_, _, _| {});
        }
    }
    let messages = f64::from(commits * batch);
    Ok(Run {
        per_s: messages / elapsed.as_secs_f64(),
        cpu_us: cpu / 1e3 / messages,
        index_us: start.elapsed().as_secs_f64() * 1e6 / messages,
    })
}

/// Publications of some topics in turn, each topic with its own subscribers, as a busy gateway sees them.
fn writes(topics: u32, fan_out: u32, batch: u32) -> Vec<Write> {
    let refs: Vec<Refs> = (0..topics)
        .map(|topic| {
            let mut builder = RefsBuilder::new();
            for n in 0..fan_out {
                builder.push(SessionNo((topic * 7_919 + n * 97) % SESSIONS + 1), 1);
            }
            builder.build()
        })
        .collect();
    let payload = [7; PAYLOAD_BYTES];
    let body = Publication::new("site/7/line/3/state", &[], &payload, QoS::AtLeastOnce, false);
    let append = |refs: &Refs| Append { body: body.clone(), refs: refs.clone() };
    let one = |refs: &Refs| Write { appends: smallvec![append(refs)], ..Write::default() };
    refs.iter().cycle().take(batch as usize).map(one).collect()
}

/// Processor time of this thread so far, in nanoseconds; 0 where the system does not tell.
fn cpu_ns() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
