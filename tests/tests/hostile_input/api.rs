//! G6: the HTTP API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tests::harness::{Fleet, PATIENCE, eventually, get};

use super::pair::Pair;

#[test]
fn the_api_answers_what_is_wrong_and_keeps_nothing_of_it() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let http = fleet.place(1).http;
    let process = fleet.process(1);
    let host = "host: localhost\r\nconnection: close\r\n";
    let json = "content-type: application/json\r\n";
    let large = "x".repeat(300_000);
    let cases = [
        ("a path with dots", format!("GET /api/v1/../../etc/passwd HTTP/1.1\r\n{host}\r\n"), 404),
        ("dots in percents", format!("GET /%2e%2e/%2e%2e/x HTTP/1.1\r\n{host}\r\n"), 404),
        ("two slashes", format!("GET //api//v1/clients HTTP/1.1\r\n{host}\r\n"), 404),
        ("a byte that is no text", format!("GET /%00%ff HTTP/1.1\r\n{host}\r\n"), 404),
        (
            "a change without a certificate",
            {
                format!("POST /api/v1/drains HTTP/1.1\r\n{host}{json}content-length: 2\r\n\r\n{{}}")
            },
            403,
        ),
        (
            "a wrong token",
            {
                format!(
                    "DELETE /api/v1/drains/current HTTP/1.1\r\n{host}authorization: Bearer x\r\n\r\n"
                )
            },
            403,
        ),
        (
            "a name that points here",
            {
                "GET /api/v1/clients HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
                    .to_owned()
            },
            403,
        ),
        ("a wrong query", format!("GET /api/v1/clients?max=-1 HTTP/1.1\r\n{host}\r\n"), 400),
        ("a method that is none", format!("BREW /metrics HTTP/1.1\r\n{host}\r\n"), 403),
        ("a huge head", format!("GET / HTTP/1.1\r\n{host}x: {large}\r\n{large}"), 431),
        ("no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400),
    ];
    pair.unmoved_by("G6", || {
        for (what, request, expected) in &cases {
            let answer = ask(http, request.as_bytes());
            // An answer may be lost to a reset if much was sent that nobody read.
            let lost = answer.is_empty() && *expected == 431;
            let said = if lost { Some(431) } else { status(&answer) };
            assert_eq!(said, Some(*expected), "{what}: {answer:.200}");
            let ours = *expected == 403 || *expected == 404;
            assert!(!ours || answer.contains("application/problem+json"), "{what}: {answer}");
        }
    });
    // A body that is announced and does not come, by many; they do not keep anybody else from being answered.
    let before = process.resident_bytes();
    let slow =
        format!("POST /api/v1/drains HTTP/1.1\r\n{host}{json}content-length: 60000\r\n\r\n{{");
    let idle: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(http).expect("a connection");
            stream.write_all(slow.as_bytes()).expect("an open socket");
            stream
        })
        .collect();
    let health = || get(http, "/healthz").map(|answer| answer.status);
    assert_eq!(health(), Some(200), "beside {} slow ones", idle.len());
    drop(idle);
    (0..200).for_each(|_| assert_eq!(health(), Some(200)));
    eventually("what they took is given back", || {
        (process.resident_bytes().saturating_sub(before) < 8 << 20).then_some(())
    });
    pair.assert_undisturbed();
}

fn ask(place: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(place).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // It may be refused before it is whole.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}
