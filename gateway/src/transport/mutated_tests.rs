//! Damaged requests and frames, the same in every run; `TIDEGATE_MUTATIONS` says how many.

use self::mutation::run;
use super::any_bytes_tests::{REQUEST, frames, upgrade_request};
use super::tests::{BINARY, CLOSE, CONTINUED, PING, PONG, TEXT, frame};

#[path = "../../../protocol/src/tests/mutation.rs"]
mod mutation;

/// Inputs for each subject unless the environment names another number; each costs a handshake.
const INPUTS: u64 = 20_000;

fn inputs() -> u64 {
    std::env::var("TIDEGATE_MUTATIONS").map_or(INPUTS, |text| text.parse().unwrap())
}

#[test]
fn no_mutated_upgrade_request_does_harm() {
    run("upgrade", &[REQUEST.as_bytes().to_vec()], inputs(), upgrade_request);
}

#[test]
fn no_mutated_frames_do_harm() {
    let mut corpus: Vec<_> = [TEXT, BINARY, CONTINUED, CLOSE, PING, PONG, 3]
        .iter()
        .flat_map(|kind| [frame(true, *kind, b"payload"), frame(false, *kind, b"")])
        .collect();
    corpus.push([frame(false, BINARY, b"t"), frame(true, CONTINUED, b"wo")].concat());
    corpus.push([frame(true, BINARY, &[7; 100]), frame(true, PING, b"p")].concat());
    // Lengths of two and of eight bytes.
    corpus.push([&[0x82, 0xFE, 1, 0, 0, 0, 0, 0][..], &[9; 256]].concat());
    corpus.push([&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4][..], &[9; 256]].concat());
    run("frames", &corpus, inputs(), frames);
}
