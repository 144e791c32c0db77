//! Which devices lost their connection when, and were served again when, by the clock of the machine: what several loads beside each
//! other have seen is added up and held against the pace that a fleet was allowed.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser;
use serde::{Deserialize, Serialize};

/// Moves that one load remembers; of what goes beyond, only the number.
const REMEMBERED: usize = 1_000_000;
/// A second, in milliseconds.
const SECOND_MS: u64 = 1_000;

/// The moves of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    /// Milliseconds since 1970: when a device lost its connection, and when it was served again.
    moves: Vec<(u64, u64)>,
    /// Those of which that is not remembered.
    more: u64,
}

/// Arguments of `device-sim moves`.
#[derive(Debug, Clone, Parser)]
pub struct MovesArgs {
    /// What loads that ran beside each other have written with --moves
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Clients per second that may leave, all gateways together
    #[arg(long, value_name = "N")]
    pub granted: u64,
    /// How much of that pace may be caught up after a stall
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub catch_up_ms: u64,
    /// A gateway was killed then (milliseconds since 1970): who left from then on for a second had no choice, and does not count; may be
    /// repeated
    #[arg(long, value_name = "MS")]
    pub killed_ms: Vec<u64>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What all loads together have seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MovesReport {
    /// Moves that count.
    pub moves: u64,
    /// Those of clients of killed gateways.
    pub killed: u64,
    /// The most that left within one second.
    pub left_in_one_second: u64,
    /// The most that were served again within one second.
    pub served_in_one_second: u64,
    /// The longest time from one to the other, in milliseconds.
    pub longest_ms: u64,
    /// Clients per second that may leave.
    pub granted: u64,
    /// So many may leave within one second: what a pace may catch up is in it, and one for the fence post.
    pub may_leave: u64,
    /// So many may be served again within one second: those who leave in that time and the longest of the gaps.
    pub may_be_served: u64,
    /// Moves of which no load remembers when they were.
    pub unknown: u64,
}

/// Why there is no sum. The operator's fault.
#[derive(Debug, thiserror::Error)]
#[error("read {path}", path = path.display())]
pub struct MovesError {
    path: PathBuf,
    source: io::Error,
}

impl Moves {
    /// A device that lost its connection then is served again now.
    pub(crate) fn note(&mut self, left: SystemTime, served: SystemTime) {
        if self.moves.len() < REMEMBERED {
            self.moves.push((since_1970_ms(left), since_1970_ms(served)));
        } else {
            self.more += 1;
        }
    }

    /// Those of another part of the load, too.
    pub(crate) fn add(&mut self, others: Self) {
        let room = REMEMBERED.saturating_sub(self.moves.len());
        let beyond = others.moves.len().saturating_sub(room);
        self.moves.extend(others.moves.into_iter().take(room));
        self.more += others.more + u64::try_from(beyond).unwrap_or(u64::MAX);
    }

    /// Writes them where [`sum_moves`] reads them.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(path)?);
        serde_json::to_writer(&mut file, self)?;
        io::Write::flush(&mut file)
    }

    fn read(path: &Path) -> Result<Self, MovesError> {
        let read = File::open(path).and_then(|file| {
            serde_json::from_reader(io::BufReader::new(file)).map_err(io::Error::from)
        });
        read.map_err(|source| MovesError { path: path.to_owned(), source })
    }
}

/// Adds up the moves of several loads.
///
/// # Errors
/// [`MovesError`] if a file cannot be read.
pub fn sum_moves(args: &MovesArgs) -> Result<MovesReport, MovesError> {
    let loads = args.files.iter().map(|path| Moves::read(path));
    Ok(MovesReport::of(loads.collect::<Result<_, _>>()?, args))
}

impl MovesReport {
    fn of(loads: Vec<Moves>, args: &MovesArgs) -> Self {
        let unknown = loads.iter().map(|load| load.more).sum();
        let all = loads.into_iter().flat_map(|load| load.moves);
        let had_no_choice = |left: u64| {
            args.killed_ms.iter().any(|at| (*at..at.saturating_add(SECOND_MS)).contains(&left))
        };
        let (killed, counted): (Vec<_>, Vec<_>) = all.partition(|(left, _)| had_no_choice(*left));
        let gaps = counted.iter().map(|(left, served)| served.saturating_sub(*left));
        let longest_ms = gaps.max().unwrap_or_default();
        let within = |ms: u64| (args.granted.saturating_mul(ms) / SECOND_MS).saturating_add(1);
        let second = SECOND_MS.saturating_add(args.catch_up_ms);
        let count = |some: &[(u64, u64)]| u64::try_from(some.len()).unwrap_or(u64::MAX);
        Self {
            moves: count(&counted),
            killed: count(&killed),
            left_in_one_second: most_in_one_second(counted.iter().map(|(left, _)| *left)),
            served_in_one_second: most_in_one_second(counted.iter().map(|(_, served)| *served)),
            longest_ms,
            granted: args.granted,
            may_leave: within(second),
            may_be_served: within(second.saturating_add(longest_ms)),
            unknown,
        }
    }

    /// Whether no more moved than may, as far as anybody can tell; of no moves at all that cannot be said.
    pub const fn is_heeded(&self) -> bool {
        self.moves > 0
            && self.unknown == 0
            && self.left_in_one_second <= self.may_leave
            && self.served_in_one_second <= self.may_be_served
    }
}

/// The most of these moments, in milliseconds, that lie within one second, whenever that begins.
fn most_in_one_second(moments: impl Iterator<Item = u64>) -> u64 {
    let mut moments: Vec<u64> = moments.collect();
    moments.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (number, at) in moments.iter().enumerate() {
        while moments.get(first).is_some_and(|before| at - before >= SECOND_MS) {
            first += 1;
        }
        most = most.max(number + 1 - first);
    }
    u64::try_from(most).unwrap_or(u64::MAX)
}

fn since_1970_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for MovesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  moves         {} by all loads together; at most {} left and {} were served again in one second; {} moves/s granted, {} and {} with what may be caught up; longest {} ms",
            self.moves,
            self.left_in_one_second,
            self.served_in_one_second,
            self.granted,
            self.may_leave,
            self.may_be_served,
            self.longest_ms,
        )?;
        if self.killed > 0 {
            writeln!(f, "  not counted   {} that killed gateways left behind", self.killed)?;
        }
        if self.unknown > 0 {
            writeln!(f, "  UNKNOWN       when {} more were", self.unknown)?;
        }
        if !self.is_heeded() {
            writeln!(f, "  NOT HEEDED    the pace that was granted, or nobody can tell")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(granted: u64, killed_ms: Vec<u64>) -> MovesArgs {
        MovesArgs { files: Vec::new(), granted, catch_up_ms: 100, killed_ms, json: false }
    }

    /// A load of which somebody leaves every so many milliseconds, and is served again after `gap`.
    fn load(from: u64, every: u64, count: u64, gap: u64) -> Moves {
        let moves = (0..count).map(|n| (from + n * every, from + n * every + gap));
        Moves { moves: moves.collect(), more: 0 }
    }

    #[test]
    fn loads_that_each_keep_to_the_pace_and_do_not_together_are_found_out() {
        let half = || load(50_000, 10, 300, 5);
        let one = MovesReport::of(vec![half()], &asked(100, Vec::new()));
        assert_eq!((one.left_in_one_second, one.may_leave), (100, 111));
        assert!(one.is_heeded(), "{one}");
        let both = MovesReport::of(vec![half(), half()], &asked(100, Vec::new()));
        assert_eq!((both.moves, both.left_in_one_second), (600, 200));
        assert!(!both.is_heeded() && both.to_string().contains("NOT HEEDED"), "{both}");
        let later = load(53_000, 10, 300, 5);
        let after = MovesReport::of(vec![half(), later], &asked(100, Vec::new()));
        assert_eq!((after.moves, after.left_in_one_second), (600, 100), "one after the other");
        assert!(after.is_heeded(), "{after}");
    }

    #[test]
    fn a_second_begins_anywhere() {
        let moments = |them: &[u64]| most_in_one_second(them.iter().copied());
        assert_eq!(moments(&[]), 0);
        assert_eq!(moments(&[1_999, 2_000, 2_998, 2_999, 900]), 3);
        assert_eq!(moments(&[5, 5, 5]), 3);
    }

    #[test]
    fn who_comes_back_in_a_crowd_is_found_out_unless_the_gaps_say_why() {
        // Ten each second leave, and all of a second are served at once.
        let bunched = |gap: u64| {
            let moves = (0..20).map(|n| (n * 100, n / 10 * 1_000 + 999 + gap));
            Moves { moves: moves.collect(), more: 0 }
        };
        let report = MovesReport::of(vec![bunched(0), bunched(500)], &asked(20, Vec::new()));
        assert_eq!((report.left_in_one_second, report.served_in_one_second), (20, 20));
        assert_eq!((report.longest_ms, report.may_be_served), (1_499, 52));
        assert!(report.is_heeded());
        let mut crowd = load(0, 100, 40, 1);
        crowd.moves.iter_mut().for_each(|it| it.1 = it.0 + 1);
        crowd.moves.extend((0..40).map(|n| (n * 100, 4_100)));
        let report = MovesReport::of(vec![crowd], &asked(10, Vec::new()));
        assert!(!report.is_heeded(), "{report}");
    }

    #[test]
    fn whom_a_killed_gateway_left_behind_does_not_count() {
        let mut all = load(10_000, 10, 100, 5);
        all.add(load(20_000, 0, 400, 2_000));
        let report = MovesReport::of(vec![all.clone()], &asked(100, vec![19_990]));
        assert_eq!((report.moves, report.killed), (100, 400));
        assert!(report.is_heeded(), "{report}");
        let report = MovesReport::of(vec![all], &asked(100, vec![20_001]));
        assert_eq!((report.killed, report.left_in_one_second), (0, 400));
        assert!(!report.is_heeded(), "{report}");
    }

    #[test]
    fn what_is_not_remembered_or_never_was_is_not_called_good() {
        let none = MovesReport::of(vec![Moves::default()], &asked(100, Vec::new()));
        assert!(!none.is_heeded());
        let mut full = Moves { moves: vec![(1, 2); REMEMBERED - 1], more: 0 };
        full.add(load(1, 1, 3, 1));
        full.note(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        assert_eq!((full.moves.len(), full.more), (REMEMBERED, 3));
        let forgotten = Moves { moves: vec![(1, 2)], more: 1 };
        let report = MovesReport::of(vec![forgotten], &asked(100, Vec::new()));
        assert!(!report.is_heeded() && report.to_string().contains("UNKNOWN"), "{report}");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
        let mut load = Moves::default();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        load.note(at, at + Duration::from_millis(7));
        load.write(&good).unwrap();
        let files = vec![good.clone(), good.clone()];
        let report = sum_moves(&MovesArgs { files, ..asked(100, Vec::new()) }).unwrap();
        assert_eq!((report.moves, report.longest_ms), (2, 7));
        std::fs::write(&bad, "{\"moves\":[[1]],\"more\":0}").unwrap();
        for wrong in [bad, dir.path().join("none")] {
            let files = vec![good.clone(), wrong.clone()];
            let error = sum_moves(&MovesArgs { files, ..asked(100, Vec::new()) }).unwrap_err();
            assert!(error.to_string().contains(&wrong.display().to_string()), "{error}");
        }
    }
}
