//! Damaged requests and frames, the same in every run; `TIDEGATE_MUTATIONS` says how many.

use self::mutation::run;
use super::any_bytes_tests::{REQUEST, frames, proxied, upgrade_request};
use super::proxy_header;
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

#[test]
fn no_mutated_proxy_header_does_harm() {
    let text = |line: &str| format!("PROXY {line}\r\n").into_bytes();
    let binary = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, rest].concat()
    };
    let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xC0, 0, 0x07, 0x5B];
    let corpus = [
        text("TCP4 192.0.2.1 192.0.2.2 49152 1883"),
        text("TCP6 2001:db8::1 2001:db8::2 49152 8883"),
        text("UNKNOWN"),
        binary(1, 0x11, &v4),
        binary(1, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()),
        binary(1, 0x21, &[7; 36]),
        binary(0, 0, &[]),
    ];
    for header in &corpus {
        assert!(matches!(proxy_header(header), Ok(Some(_))), "{header:?}");
    }
    run("proxy", &corpus, inputs() * 10, proxied);
}
