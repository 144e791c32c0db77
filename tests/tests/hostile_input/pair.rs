//! Two clients that behave, and what they notice of those that do not.
//!
//! About a thousand times a second the writer publishes a numbered message at `QoS` 1, whatever became of the ones before,
//! and the reader notes how long each took. Everything must arrive, once and in order, and be acknowledged.
//!
//! How long messages take is measured in each run and printed; it is judged where everything is tried at full size
//! (`TIDEGATE_HOSTILE=full`): on a machine that others use too a message is late because the kernel was busy. So each
//! measurement is made of slices in turns, quiet and disturbed, all of one run, and beside the pair runs a control: an echo
//! over loopback between two threads of the test, with as many wake-ups as a message of the pair has; the threads of both
//! come before all others on the processors. Slices in which the
//! control was slow are left out, half of each kind; the time by which the control was slower in the disturbed ones is
//! nobody's fault and added to what the pair is granted. A comparison that fails is made again, a bounded number of times:
//! a machine hiccups now and then, a gateway that lets itself be disturbed does it each time.
#![expect(clippy::print_stdout, reason = "the figures are shown with --nocapture")]

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tests::harness::{Dial, PATIENCE, eventually};

use super::size::{is_full, size};

/// Time between two messages.
const BEAT: Duration = Duration::from_millis(1);
/// How long a slice lasts at least.
const SLICE: Duration = Duration::from_millis(120);
/// Rest after a disturbed slice, so that what it left to do is not counted against the quiet one.
const REST: Duration = Duration::from_millis(30);
/// Slices of each kind in a comparison that is judged; one each in one that is not.
const ROUNDS: usize = 6;
/// Comparisons before the pair is called disturbed.
const ATTEMPTS: usize = 5;
/// How much slower the pair may be than undisturbed.
const FACTOR: u32 = 2;

/// Two clients that exchange messages all the while.
pub(super) struct Pair {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    stop: AtomicBool,
    /// The last one is under way.
    ended: AtomicBool,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    received: AtomicU64,
    /// When each was sent and how long it took: of the pair, and of the control.
    latencies: Mutex<Vec<Sample>>,
    echoes: Mutex<Vec<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    sent: Duration,
    took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quiet,
    Disturbed,
}

struct Slice {
    kind: Kind,
    latencies: Vec<Duration>,
    echoes: Vec<Duration>,
}

/// A pair of an unoptimised gateway is held up from this 99th percentile on.
const HELD_UP: Duration = Duration::from_secs(1);

/// 99th percentiles of one comparison.
#[derive(Clone, Copy, Debug)]
struct Figures {
    quiet: Duration,
    disturbed: Duration,
    control_quiet: Duration,
    control_disturbed: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quiet, disturbed, control_quiet, control_disturbed } = self;
        let ratio = disturbed.as_secs_f64() / quiet.as_secs_f64();
        write!(f, "p99 {quiet:.0?} quiet, {disturbed:.0?} disturbed ({ratio:.2}); ")?;
        write!(f, "control {control_quiet:.0?}, {control_disturbed:.0?}")
    }
}

impl Figures {
    fn of(mut slices: Vec<Slice>) -> Self {
        // The calmer half of each kind.
        slices.sort_by_key(|slice| percentile(slice.echoes.iter().copied()));
        let pick = |kind| -> Vec<&Slice> {
            slices.iter().filter(|slice| slice.kind == kind).take(rounds().div_ceil(2)).collect()
        };
        let (quiet, disturbed) = (pick(Kind::Quiet), pick(Kind::Disturbed));
        let of = |slices: &[&Slice], what: fn(&Slice) -> &Vec<Duration>| {
            percentile(slices.iter().flat_map(|slice| what(slice).iter().copied()))
        };
        Self {
            quiet: of(&quiet, |slice| &slice.latencies),
            disturbed: of(&disturbed, |slice| &slice.latencies),
            control_quiet: of(&quiet, |slice| &slice.echoes),
            control_disturbed: of(&disturbed, |slice| &slice.echoes),
        }
    }

    fn hold(&self) -> bool {
        let machine = self.control_disturbed.saturating_sub(self.control_quiet);
        // An unoptimised gateway beside other tests on two cores is late by some milliseconds whatever it does: only a pair
        // that is held up says something then. With optimisation the factor decides alone.
        let unheard = cfg!(debug_assertions) && self.disturbed < HELD_UP;
        unheard || self.disturbed < (self.quiet + machine) * FACTOR
    }
}

impl Pair {
    /// Connects both and begins.
    pub(super) fn start(place: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            received: AtomicU64::new(0),
            latencies: Mutex::default(),
            echoes: Mutex::default(),
        });
        let reader = connect(place, "good reader");
        let mut subscriber = reader.try_clone().expect("a socket");
        subscriber.write_all(&SUBSCRIBE).expect("an open socket");
        let mut suback = [0; 5];
        subscriber.read_exact(&mut suback).expect("SUBACK");
        assert_eq!(suback, [0x90, 3, 0, 1, 1]);
        let writer = connect(place, "good writer");
        let acknowledged = writer.try_clone().expect("a socket");
        let (near, far) = loopback();
        let mut threads = Vec::new();
        let mut spawn = |work: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || {
                step_aside();
                work(&shared);
            }));
        };
        spawn(Box::new(move |shared| read(reader, shared)));
        spawn(Box::new(move |shared| count_acknowledgements(acknowledged, shared)));
        spawn(Box::new(move |shared| write(writer, shared)));
        spawn(Box::new(move |_| echo(far)));
        spawn(Box::new(move |shared| control(near, shared)));
        Self { shared, threads }
    }

    /// Has the offender act again and again, and asserts that the pair is not slower for it where that is judged.
    pub(super) fn unmoved_by(&self, row: &str, mut offend: impl FnMut()) {
        if !is_full() {
            return self.measured_beside(row, offend);
        }
        for attempt in 1.. {
            let figures = self.compare(row, &mut offend);
            if figures.hold() {
                return;
            }
            assert!(attempt < ATTEMPTS, "{row}: the pair is slower: {figures}");
        }
    }

    /// The same where one packet alone is much work: a gateway that was built without optimisation takes some milliseconds
    /// over it, which says nothing. With optimisation the pair must be as unmoved as by anything else.
    pub(super) fn unmoved_by_weight_of(&self, row: &str, offend: impl FnMut()) {
        if cfg!(debug_assertions) {
            self.measured_beside(row, offend);
        } else {
            self.unmoved_by(row, offend);
        }
    }

    /// Has the offender act again and again. It takes its share of the CPU and the pair is slower for it; both are served.
    pub(super) fn measured_beside(&self, row: &str, mut offend: impl FnMut()) {
        self.compare(row, &mut offend);
    }

    fn compare(&self, row: &str, offend: &mut impl FnMut()) -> Figures {
        let mut slices = Vec::new();
        for _ in 0..rounds() {
            slices.push(self.slice(Kind::Quiet, || thread::sleep(SLICE)));
            slices.push(self.slice(Kind::Disturbed, || for_a_slice(offend)));
            thread::sleep(REST);
        }
        let figures = Figures::of(slices);
        println!("{row}: {figures}");
        figures
    }

    /// They have lost nothing, and neither was disconnected.
    pub(super) fn assert_undisturbed(self) {
        // At least once each, however soon the offender is done.
        eventually("the pair has its turn", || (self.shared.sent.load(SeqCst) > 0).then_some(()));
        self.shared.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("the pair is served");
        }
        let sent = self.shared.sent.load(SeqCst);
        assert_eq!(self.shared.received.load(SeqCst), sent, "received of those sent");
        assert_eq!(self.shared.acknowledged.load(SeqCst), sent, "acknowledged of those sent");
    }

    fn slice(&self, kind: Kind, act: impl FnOnce()) -> Slice {
        let from = self.shared.began.elapsed();
        act();
        let to = self.shared.began.elapsed();
        self.wait_for_all_sent();
        let of = |samples: &Mutex<Vec<Sample>>| {
            let samples = samples.lock().expect("the pair is served");
            let inside = samples.iter().filter(|sample| (from..to).contains(&sample.sent));
            inside.map(|sample| sample.took).collect()
        };
        Slice { kind, latencies: of(&self.shared.latencies), echoes: of(&self.shared.echoes) }
    }

    /// Until all that is sent so far has come, so that what is late is not overlooked.
    fn wait_for_all_sent(&self) {
        let sent = self.shared.sent.load(SeqCst);
        let echoed = self.shared.began.elapsed();
        eventually("the pair gets what it sent", || {
            let last = self.shared.echoes.lock().expect("the control goes on").last().copied();
            let all = self.shared.received.load(SeqCst) >= sent
                && last.is_some_and(|last| last.sent >= echoed);
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "the pair was cut off");
            all.then_some(())
        });
    }
}

/// Takes this thread out of the queue for processors, where that is allowed and judged: it stands for another machine, and
/// whether it has to wait for a processor that the gateway and the offender's clients use is not the gateway's doing. The
/// control's threads are treated alike.
fn step_aside() {
    if is_full() {
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        let chrt = Command::new("chrt").args(["--rr", "--pid", "1", &thread]).status();
        if !chrt.is_ok_and(|status| status.success()) {
            println!("the pair waits for processors as everybody does: chrt says no");
        }
    }
}

fn rounds() -> usize {
    size(1, ROUNDS)
}

fn for_a_slice(act: &mut impl FnMut()) {
    let began = Instant::now();
    while began.elapsed() < SLICE {
        act();
    }
}

/// `good/x` at `QoS` 1: each of its messages has the same length.
const SUBSCRIBE: [u8; 13] = [0x82, 11, 0, 1, 0, 6, b'g', b'o', b'o', b'd', b'/', b'x', 1];
const MESSAGE_BYTES: usize = 28;

fn connect(place: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(place).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&Dial::v311(id).bytes()).expect("an open socket");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

fn write(mut stream: TcpStream, shared: &Shared) {
    let mut next = Instant::now();
    while !shared.ended.load(SeqCst) {
        next += BEAT;
        let rest = next.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            // Starved for more than a beat: what was missed is not made up for in a burst.
            next = Instant::now();
        }
        thread::sleep(rest);
        let number = shared.sent.load(SeqCst);
        let [.., high, low] = (number % 60_000 + 1).to_be_bytes();
        let mut message = vec![0x32, 26, 0, 6, b'g', b'o', b'o', b'd', b'/', b'x', high, low];
        message.extend(number.to_be_bytes());
        let sent = u64::try_from(shared.began.elapsed().as_nanos()).expect("some hundred years");
        message.extend(sent.to_be_bytes());
        // Before it is sent, so that nobody receives what was not counted.
        shared.sent.store(number + 1, SeqCst);
        // The others end when all that was sent has come.
        shared.ended.store(shared.stop.load(SeqCst), SeqCst);
        stream.write_all(&message).expect("the writer is served");
    }
}

fn count_acknowledgements(mut stream: TcpStream, shared: &Shared) {
    while !done(shared, &shared.acknowledged) {
        let mut puback = [0; 4];
        stream.read_exact(&mut puback).expect("PUBACK");
        let number = shared.acknowledged.load(SeqCst);
        let [.., high, low] = (number % 60_000 + 1).to_be_bytes();
        assert_eq!(puback, [0x40, 2, high, low], "PUBACK of {number}");
        shared.acknowledged.store(number + 1, SeqCst);
    }
}

fn read(mut stream: TcpStream, shared: &Shared) {
    while !done(shared, &shared.received) {
        let mut message = [0; MESSAGE_BYTES];
        stream.read_exact(&mut message).expect("a PUBLISH");
        let now = shared.began.elapsed();
        let number = shared.received.load(SeqCst);
        assert_eq!(message[..10], [0x32, 26, 0, 6, b'g', b'o', b'o', b'd', b'/', b'x']);
        assert_eq!(message[12..20], number.to_be_bytes(), "lost or out of order: not {number}");
        let sent = u64::from_be_bytes(message[20..].try_into().expect("eight bytes"));
        let sent = Duration::from_nanos(sent);
        let took = now.saturating_sub(sent);
        shared.latencies.lock().expect("the pair is served").push(Sample { sent, took });
        shared.received.store(number + 1, SeqCst);
        stream.write_all(&[0x40, 2, message[10], message[11]]).expect("an open socket");
    }
}

/// Whether the writer has ended and everything of it has come.
fn done(shared: &Shared, count: &AtomicU64) -> bool {
    shared.ended.load(SeqCst) && count.load(SeqCst) == shared.sent.load(SeqCst)
}

fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("a port")).expect("a connection");
    let (far, _) = listener.accept().expect("a connection");
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("a socket");
    }
    (near, far)
}

fn echo(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        stream.write_all(&byte).expect("an open socket");
    }
}

fn control(mut stream: TcpStream, shared: &Shared) {
    while !shared.stop.load(SeqCst) {
        thread::sleep(BEAT);
        let sent = shared.began.elapsed();
        let mut byte = [0];
        stream.write_all(&byte).expect("an open socket");
        stream.read_exact(&mut byte).expect("an open socket");
        let took = shared.began.elapsed().saturating_sub(sent);
        shared.echoes.lock().expect("the control goes on").push(Sample { sent, took });
    }
}

fn percentile(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values
        .get((values.len() * 99 / 100).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
