//! Damage to bytes, from a seed: the same seed does the same damage.
//!
//! Other rooms and the packages outside the workspace include this file as it is, so it uses nothing but the standard
//! library.

use std::fmt::{self, Write as _};

/// Mutated inputs grow no longer than this, so that a run stays short.
const MAX_BYTES: usize = 4_096;

/// Gives so many damaged inputs to `judge`, made from `corpus`. What `judge` panics on is told with its seed.
pub(crate) fn run(subject: &str, corpus: &[Vec<u8>], count: u64, mut judge: impl FnMut(&[u8])) {
    let first = seed_of(subject);
    for number in 0..count {
        let mut told = Told { subject, seed: first.wrapping_add(number), input: Vec::new() };
        told.input = mutated(corpus, &mut Random::new(told.seed));
        judge(&told.input);
    }
}

/// One input from the corpus with one to four damages.
pub(crate) fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    bytes.truncate(MAX_BYTES);
    for _ in 0..=random.below(4) {
        damage(&mut bytes, corpus, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.byte());
    }
    let at = random.below(bytes.len());
    match random.below(10) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.byte(),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, random.byte()),
        4 => drop(bytes.remove(at)),
        // A number that lies: one more, one less, all or nothing.
        5 => {
            bytes[at] =
                [bytes[at].wrapping_add(1), bytes[at].wrapping_sub(1), 0, 0xFF][random.below(4)];
        }
        6 => splice(bytes, at, &corpus[random.below(corpus.len())], random),
        7 => repeat(bytes, at, random),
        8 => {
            let end = at + random.below(bytes.len() - at + 1);
            bytes.drain(at..end);
        }
        _ => interesting(bytes, at, random),
    }
    bytes.truncate(MAX_BYTES);
}

/// Goes on as another input does.
fn splice(bytes: &mut Vec<u8>, at: usize, other: &[u8], random: &mut Random) {
    let from = random.below(other.len() + 1);
    bytes.truncate(at);
    bytes.extend_from_slice(&other[from..]);
}

/// Writes a piece again right behind itself: duplicated properties, entries, frames.
fn repeat(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let end = at + 1 + random.below((bytes.len() - at).min(40));
    let piece = bytes[at..end].to_vec();
    for _ in 0..=random.below(3) {
        bytes.splice(end..end, piece.iter().copied());
    }
}

/// Bytes that parsers stumble over.
fn interesting(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let pieces: [&[u8]; 12] = [
        b"\x00",
        b"\xff\xff",
        b"\x80\x00",
        b"\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\x01",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\x00\x00\x00\x00",
        b"\x7f\xff\xff\xff",
        b"+",
        b"#",
        b"$share/",
    ];
    let piece = pieces[random.below(pieces.len())];
    let over = if random.below(2) == 0 { at } else { bytes.len().min(at + piece.len()) };
    bytes.splice(at..over, piece.iter().copied());
}

/// An xorshift sequence.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        // Neighbouring seeds are to differ in every bit; the state must not be 0.
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((state ^ (state >> 29)) | 1)
    }

    /// From 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn seed_of(subject: &str) -> u64 {
    subject.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Says what was being judged if the judge panics.
struct Told<'a> {
    subject: &'a str,
    seed: u64,
    input: Vec<u8>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut input = String::new();
        for byte in &self.input {
            write!(input, "{byte:02x}")?;
        }
        write!(f, "{}: seed {:#018x}, input {input}", self.subject, self.seed)
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}
