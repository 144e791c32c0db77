//! Lines of the log on their way out: whoever has one adds it to those that wait, and a thread of its own writes them together.
//!
//! ```text
//!  Empty ── a line ──► Gathering ── 5 ms, enough bytes, a warning, or the end ──► Writing ──► Empty
//! ```

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait; a line beyond is dropped and counted, since a stuck terminal must not stop a gateway.
const WAITING_BYTES: usize = 8 << 20;
/// Bytes that wait for no others.
const ENOUGH_BYTES: usize = 64 << 10;
/// For how long a line may wait for others, unless it is a warning or worse. Who writes the first of them wakes the thread, so
/// this is also how often that can be.
const GATHERING: Duration = Duration::from_millis(5);
/// Memory that is kept while nothing waits.
const KEPT_BYTES: usize = 4 * ENOUGH_BYTES;
/// How long the end of the process waits for lines to be written.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Where lines are put.
#[derive(Debug, Clone)]
pub(crate) struct LogLines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The thread has something to do.
    more: Condvar,
    /// The thread has ended.
    written: Condvar,
    limit_bytes: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// One of them waits for no others.
    is_urgent: bool,
    /// No more will come.
    is_over: bool,
    /// The thread has ended.
    is_written: bool,
}

impl Waiting {
    const fn may_gather(&self) -> bool {
        !self.is_urgent && !self.is_over && self.bytes.len() < ENOUGH_BYTES
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > self.limit_bytes {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (was_empty, gathered) = (waiting.bytes.is_empty(), waiting.may_gather());
        waiting.bytes.extend_from_slice(line);
        waiting.is_urgent |= is_urgent;
        let wakes = was_empty || (gathered && !waiting.may_gather());
        drop(waiting);
        if wakes {
            self.more.notify_one();
        }
    }

    /// The thread.
    fn write_all(&self, mut to: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let waiting = self.waiting();
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.is_over;
            let waiting =
                self.more.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            let gathers = |waiting: &mut Waiting| waiting.may_gather();
            let (mut waiting, _) = self
                .more
                .wait_timeout_while(waiting, GATHERING, gathers)
                .unwrap_or_else(PoisonError::into_inner);
            if waiting.bytes.is_empty() {
                waiting.is_written = true;
                drop(waiting);
                return self.written.notify_all();
            }
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            waiting.is_urgent = false;
            drop(waiting);
            // There is nowhere to say that it failed.
            let _ = to.write_all(&bytes).and_then(|()| to.flush());
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES);
        }
    }
}

impl LogLines {
    /// Starts the thread that writes. What waits is written when the guard is dropped.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(to: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        Self::start_with(to, WAITING_BYTES)
    }

    fn start_with(
        to: impl Write + Send + 'static,
        limit_bytes: usize,
    ) -> io::Result<(Self, LogGuard)> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            more: Condvar::new(),
            written: Condvar::new(),
            limit_bytes,
            dropped: AtomicU64::new(0),
        });
        let writing = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_all(to))?;
        Ok((Self(Arc::clone(&shared)), LogGuard(shared)))
    }

    /// Lines that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// Writes what waits when it is dropped, for a second at most.
#[derive(Debug)]
#[must_use = "what waits is written when it is dropped"]
pub struct LogGuard(Arc<Shared>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_over = true;
        self.0.more.notify_one();
        let writes = |waiting: &mut Waiting| !waiting.is_written;
        drop(self.0.written.wait_timeout_while(waiting, LAST_PATIENCE, writes));
    }
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a Shared,
    is_urgent: bool,
}

impl Write for Line<'_> {
    /// Takes a line whole, or drops it whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: &self.0, is_urgent: *meta.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// What is written goes there, once it may.
    struct Gated {
        may: Receiver<()>,
        to: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(io::Error::other)?;
            self.to.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(limit_bytes: usize) -> (LogLines, LogGuard, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, may) = channel();
        let (to, written) = channel();
        let (lines, guard) = LogLines::start_with(Gated { may, to }, limit_bytes).unwrap();
        (lines, guard, allow, written)
    }

    fn add(lines: &LogLines, line: &str, is_urgent: bool) {
        Line { lines: &lines.0, is_urgent }.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_written_together_and_in_their_order() {
        let (lines, guard, allow, written) = gated(WAITING_BYTES);
        add(&lines, "first\n", true);
        // Nothing more is taken before this is written, so the others gather.
        let expected: String = (0..1_000).map(|n| format!("{n}\n")).collect();
        let mut came = String::new();
        (0..1_000).for_each(|n| add(&lines, &format!("{n}\n"), false));
        (0..3).for_each(|_| allow.send(()).unwrap());
        drop(guard);
        let writes: Vec<_> = written.iter().collect();
        writes.iter().for_each(|bytes| came.push_str(std::str::from_utf8(bytes).unwrap()));
        assert_eq!(came, format!("first\n{expected}"));
        assert!(writes.len() <= 2, "{} writes", writes.len());
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn a_line_is_written_although_no_other_comes() {
        let (lines, _guard, allow, written) = gated(WAITING_BYTES);
        allow.send(()).unwrap();
        add(&lines, "alone\n", false);
        assert_eq!(written.recv().unwrap(), b"alone\n");
    }

    #[test]
    fn where_nobody_takes_them_lines_are_dropped_and_counted_and_nobody_waits() {
        let (lines, guard, allow, written) = gated(100);
        for _ in 0..1_000 {
            add(&lines, "0123456789", true);
        }
        let dropped = lines.dropped();
        // The thread may have taken some of them before it stood still.
        assert!((980..=990).contains(&dropped), "{dropped}");
        (0..3).for_each(|_| allow.send(()).unwrap());
        drop(guard);
        let kept: usize = written.iter().map(|bytes| bytes.len() / 10).sum();
        assert_eq!(kept as u64 + dropped, 1_000);
    }
}
