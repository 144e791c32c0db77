//! Layers fed by hand: a TLS client in memory, WebSocket frames byte by byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, ClientConnection, Error, RootCertStore,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use super::any_bytes_tests::REQUEST;
use super::{Layer, TlsLayer, UpgradeStep, upgrade};
use crate::config::{ClientCertificate, Tls};
use crate::tls::{LiveTls, Speaks};

/// What a client that speaks this version of TLS is made of, and what the gateway is.
pub(crate) fn both_ends(
    version: &'static SupportedProtocolVersion,
) -> (Arc<ClientConfig>, LiveTls) {
    both_ends_with(version, aws_lc_rs::default_provider())
}

fn both_ends_with(
    version: &'static SupportedProtocolVersion,
    client: CryptoProvider,
) -> (Arc<ClientConfig>, LiveTls) {
    let folder = tempfile::tempdir().unwrap();
    certs::development_set(folder.path(), &["gw-1"]).unwrap();
    let file = |name: &str| folder.path().join(name);
    let tls = Tls::of(file("ca.pem"), file("gw-1.pem"), file("gw-1.key"), None);
    let server = LiveTls::load(&tls, ClientCertificate::Optional, None, Speaks::Mqtt).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls.ca).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(client))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(client), server)
}

/// A client and the gateway's layer, with nothing between them.
fn tls() -> (ClientConnection, Box<TlsLayer>) {
    tls_of(&TLS13)
}

fn tls_of(version: &'static SupportedProtocolVersion) -> (ClientConnection, Box<TlsLayer>) {
    let (client, server) = both_ends(version);
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(client, name).unwrap();
    (client, Box::new(TlsLayer::new(server.get()).unwrap()))
}

/// Takes what the client has to send.
fn outgoing(client: &mut ClientConnection) -> Vec<u8> {
    let mut raw = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut raw).unwrap();
    }
    raw
}

/// Gives the client what came, and what it means.
fn incoming(client: &mut ClientConnection, mut raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !raw.is_empty() {
        client.read_tls(&mut raw).unwrap();
        client.process_new_packets().unwrap();
        match client.reader().read_to_end(&mut plain) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    plain
}

/// Lets both talk until neither has anything to say; what the gateway read, and what the client did.
fn exchange(client: &mut ClientConnection, layer: &mut Layer) -> (Vec<u8>, Vec<u8>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    loop {
        let (mut raw, mut reply) = (outgoing(client), Vec::new());
        let (silent, half) = (raw.is_empty(), raw.len() / 2);
        // In two pieces, as networks do.
        let (head, tail) = raw.split_at_mut(half);
        layer.ingest(head, &mut up, &mut reply).unwrap();
        layer.ingest(tail, &mut up, &mut reply).unwrap();
        down.extend(incoming(client, &reply));
        if silent && reply.is_empty() {
            return (up, down);
        }
    }
}

#[test]
fn what_a_tls_client_says_arrives_and_so_does_the_answer() {
    let (mut client, server) = tls();
    let mut layer = Layer::Tls(server);
    assert!(!layer.is_plain());
    let much: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    client.writer().write_all(b"hello").unwrap();
    assert_eq!(exchange(&mut client, &mut layer).0, b"hello", "sent behind the handshake");
    for chunk in much.chunks(30_000) {
        client.writer().write_all(chunk).unwrap();
        assert_eq!(exchange(&mut client, &mut layer).0, chunk);
    }
    let mut raw = Vec::new();
    layer.emit(&much, &mut raw).unwrap();
    assert!(raw.len() > much.len());
    assert_eq!(incoming(&mut client, &raw), much);
    raw.clear();
    layer.goodbye(&mut raw);
    assert!(incoming(&mut client, &raw).is_empty());
    assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "a proper end");
}

#[test]
fn the_shorter_key_is_chosen_unless_a_client_has_none_or_would_rather_have_chacha() {
    use CipherSuite as Suite;
    let old_long = Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let old_short = Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let (long, short) = (Suite::TLS13_AES_256_GCM_SHA384, Suite::TLS13_AES_128_GCM_SHA256);
    let chacha = Suite::TLS13_CHACHA20_POLY1305_SHA256;
    for (version, wanted, chosen) in [
        (&TLS13, &[long, chacha, short][..], short),
        (&TLS13, &[long, chacha], long),
        (&TLS13, &[chacha, long, short], chacha),
        (&TLS12, &[old_long, old_short], old_short),
    ] {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|it| wanted.contains(&it.suite()));
        provider.cipher_suites.sort_by_key(|it| wanted.iter().position(|at| *at == it.suite()));
        let (client, server) = both_ends_with(version, provider);
        let mut client =
            ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
        let (mut hello, mut reply) = (outgoing(&mut client), Vec::new());
        let mut layer = Layer::Tls(Box::new(TlsLayer::new(server.get_for(&hello)).unwrap()));
        layer.ingest(&mut hello, &mut Vec::new(), &mut reply).unwrap();
        incoming(&mut client, &reply);
        exchange(&mut client, &mut layer);
        assert!(!client.is_handshaking(), "{wanted:?}");
        assert_eq!(client.negotiated_cipher_suite().unwrap().suite(), chosen, "{wanted:?}");
    }
}

#[test]
fn a_client_waits_for_the_last_word_of_a_handshake_only_where_it_is_the_servers() {
    for (version, is_awaited) in [(&TLS12, true), (&TLS13, false)] {
        let (mut client, server) = tls_of(version);
        assert!(server.is_awaited(), "its first");
        let mut layer = Layer::Tls(server);
        exchange(&mut client, &mut layer);
        let Layer::Tls(server) = layer else { panic!() };
        assert_eq!(server.is_awaited(), is_awaited, "{version:?}");
    }
}

#[test]
fn a_tls_layer_holds_no_byte_between_records_and_no_more_than_one_within() {
    let (mut client, server) = tls();
    let mut layer = Layer::Tls(server);
    client.writer().write_all(b"hello").unwrap();
    let (mut up, mut reply) = (Vec::new(), Vec::new());
    while client.is_handshaking() || client.wants_write() {
        for mut byte in outgoing(&mut client) {
            layer.ingest(std::slice::from_mut(&mut byte), &mut up, &mut reply).unwrap();
        }
        incoming(&mut client, &std::mem::take(&mut reply));
    }
    assert_eq!(up, b"hello", "byte by byte");
    let Layer::Tls(tls) = &mut layer else { panic!() };
    assert_eq!(tls.held_bytes(), 0);
    client.writer().write_all(&[0; 1_000]).unwrap();
    let mut raw = outgoing(&mut client);
    let (head, tail) = raw.split_at_mut(600);
    tls.ingest(head, &mut up, &mut reply).unwrap();
    // What we say meanwhile does not disturb what is half here.
    let mut said = Vec::new();
    tls.emit(b"meanwhile", &mut said).unwrap();
    assert_eq!(
        (incoming(&mut client, &said), tls.held_bytes() >= 600),
        (b"meanwhile".to_vec(), true)
    );
    tls.ingest(tail, &mut up, &mut reply).unwrap();
    assert_eq!((up.len(), tls.held_bytes()), (1_005, 0));
}

#[test]
fn what_is_not_tls_ends_a_tls_connection_with_an_alert() {
    let (_, server) = tls();
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    let mut layer = Layer::Tls(server);
    let mut connect = b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x00".to_vec();
    layer.ingest(&mut connect, &mut plain, &mut reply).unwrap_err();
    assert!(plain.is_empty() && reply.first() == Some(&21), "{reply:?}");
}

#[test]
fn a_client_that_speaks_other_protocols_only_is_told_in_either_version() {
    for version in [&TLS12, &TLS13] {
        let (client, server) = both_ends(version);
        let mut client = Arc::unwrap_or_clone(client);
        client.alpn_protocols = vec![b"other".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut layer = TlsLayer::new(server.get()).unwrap();
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        layer.ingest(&mut outgoing(&mut client), &mut plain, &mut reply).unwrap_err();
        let mut raw = &*reply;
        while !raw.is_empty() {
            client.read_tls(&mut raw).unwrap();
        }
        let told = client.process_new_packets().unwrap_err();
        let expected = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(told, expected, "{version:?}");
    }
}

/// A WebSocket whose packets are at most 100 bytes, and the answer to its request.
fn web_socket() -> (Layer, String) {
    let UpgradeStep::Done(mut socket) = upgrade(None, REQUEST.as_bytes(), "/mqtt", 100) else {
        panic!("no upgrade");
    };
    let mut answer = Vec::new();
    socket.get_mut().take_output(&mut answer);
    (Layer::WebSocket(socket), String::from_utf8(answer).unwrap().to_lowercase())
}

/// A frame of a client, masked with zeros.
pub(super) fn frame(last: bool, kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    assert!(len < 126);
    let mut frame = vec![u8::from(last) << 7 | kind, 0x80 | len, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

pub(super) const CONTINUED: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// What frames mean, what is answered at once, and how it ended.
fn ingest(layer: &mut Layer, raw: &[u8]) -> (Vec<u8>, Vec<u8>, Option<ErrorKind>) {
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    let end = layer.ingest(&mut raw.to_vec(), &mut plain, &mut reply);
    (plain, reply, end.err().map(|error| error.kind()))
}

#[test]
fn an_upgrade_is_answered_once_its_request_is_whole() {
    let (head, tail) = REQUEST.as_bytes().split_at(40);
    let UpgradeStep::More(before) = upgrade(None, head, "/mqtt", 100) else { panic!() };
    let step = upgrade(Some(before), tail, "/mqtt", 100);
    assert!(matches!(step, UpgradeStep::Done(_)), "{step:?}");
    let mut before = None;
    for (at, byte) in REQUEST.bytes().enumerate() {
        match upgrade(before.take(), &[byte], "/mqtt", 100) {
            UpgradeStep::More(more) => before = Some(more),
            UpgradeStep::Done(_) => assert_eq!(at + 1, REQUEST.len()),
            UpgradeStep::Refused(_) => panic!("refused at {at}"),
        }
    }
    assert!(before.is_none());
    let (_, answer) = web_socket();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
}

#[test]
fn an_upgrade_that_does_not_fit_is_refused_with_its_reason() {
    for (from, to, status) in [
        ("GET /mqtt ", "GET /other ", "404"),
        ("chat, mqtt", "chat", "400"),
        ("Sec-WebSocket-Protocol: chat, mqtt\r\n", "", "400"),
        ("Version: 13", "Version: 8", "400"),
        ("GET /mqtt HTTP/1.1", "nonsense", "400"),
    ] {
        let request = REQUEST.replace(from, to);
        let step = upgrade(None, request.as_bytes(), "/mqtt", 100);
        let UpgradeStep::Refused(answer) = step else { panic!("{to:?} is taken") };
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to:?}: {answer:?}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer:?}");
    }
}

#[test]
fn an_endless_request_is_refused() {
    let mut before = None;
    for _ in 0..100 {
        match upgrade(before.take(), &[b'x'; 1000], "/mqtt", 100) {
            UpgradeStep::More(more) => before = Some(more),
            UpgradeStep::Refused(answer) => return assert!(answer.is_empty()),
            UpgradeStep::Done(_) => panic!("nonsense is taken"),
        }
    }
    panic!("it is kept for ever");
}

#[test]
fn frames_may_be_cut_anywhere() {
    let (mut layer, _) = web_socket();
    let frames = [
        frame(true, BINARY, b"one"),
        frame(false, BINARY, b"t"),
        frame(true, PING, b"between"),
        frame(false, CONTINUED, b"w"),
        frame(true, CONTINUED, b"o"),
        frame(true, BINARY, b""),
    ]
    .concat();
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    for byte in &frames {
        layer.ingest(&mut [*byte], &mut plain, &mut reply).unwrap();
    }
    assert_eq!(plain, b"onetwo");
    assert_eq!(reply, [&[0x80 | PONG, 7], &b"between"[..]].concat());
    assert_eq!(ingest(&mut layer, &frames).0, b"onetwo", "or all come at once");
}

#[test]
fn what_the_gateway_says_leaves_in_binary_frames_of_its_own() {
    let (mut layer, _) = web_socket();
    let mut raw = Vec::new();
    layer.emit(b"hello", &mut raw).unwrap();
    assert_eq!(raw, [&[0x80 | BINARY, 5], &b"hello"[..]].concat());
    raw.clear();
    layer.goodbye(&mut raw);
    assert_eq!(raw, [0x80 | CLOSE, 0]);
}

#[test]
fn what_a_client_must_not_send_ends_a_web_socket() {
    let mut unmasked = frame(true, BINARY, b"x");
    unmasked.splice(1..6, [1]);
    for wrong in [
        frame(true, TEXT, b"x"),
        frame(true, CONTINUED, b"x"),
        frame(true, 3, b"x"),
        frame(true, BINARY, &[0; 101]),
        [frame(false, BINARY, &[0; 60]), frame(true, CONTINUED, &[0; 60])].concat(),
        unmasked,
    ] {
        let (mut layer, _) = web_socket();
        let (plain, _, end) = ingest(&mut layer, &wrong);
        assert_eq!((plain.len(), end), (0, Some(ErrorKind::Other)), "{wrong:?}");
    }
}

#[test]
fn messages_may_be_longer_once_a_client_is_let_in() {
    let (mut layer, _) = web_socket();
    let long = frame(true, BINARY, &[0; 101]);
    layer.allow_messages(101);
    assert_eq!(ingest(&mut layer, &long).0.len(), 101);
    layer.allow_messages(100);
    assert_eq!(ingest(&mut layer, &long).2, Some(ErrorKind::Other));
}

#[test]
fn a_closing_web_socket_is_answered_and_over() {
    let (mut layer, _) = web_socket();
    let bytes = [frame(true, BINARY, b"last"), frame(true, CLOSE, &[])].concat();
    let (plain, reply, end) = ingest(&mut layer, &bytes);
    assert_eq!((plain.as_slice(), end), (&b"last"[..], Some(ErrorKind::UnexpectedEof)));
    assert!(reply.is_empty(), "{reply:?}");
    let mut said = Vec::new();
    layer.emit(b"ack", &mut said).unwrap();
    layer.goodbye(&mut said);
    assert_eq!(said, [&[0x80 | BINARY, 3][..], b"ack", &[0x80 | CLOSE, 0]].concat());
    layer.emit(b"late", &mut said).unwrap_err();
}

#[test]
fn a_web_socket_inside_tls_is_both() {
    let (mut client, mut server) = tls();
    let mut outer = Layer::Tls(server);
    exchange(&mut client, &mut outer);
    let Layer::Tls(inner) = outer else { panic!() };
    server = inner;
    let (Layer::WebSocket(socket), _) = web_socket() else { panic!() };
    let mut layer = Layer::SecureWebSocket(Box::new((*server, *socket)));
    let frames = [frame(true, PING, b"p"), frame(true, BINARY, b"up")].concat();
    client.writer().write_all(&frames).unwrap();
    let (up, down) = exchange(&mut client, &mut layer);
    assert_eq!((up.as_slice(), down), (&b"up"[..], vec![0x80 | PONG, 1, b'p']));
    let mut raw = Vec::new();
    layer.emit(b"down", &mut raw).unwrap();
    layer.goodbye(&mut raw);
    let heard = [&[0x80 | BINARY, 4], &b"down"[..], &[0x80 | CLOSE, 0]].concat();
    assert_eq!(incoming(&mut client, &raw), heard);
}

#[test]
fn plain_bytes_are_what_they_are() {
    let mut layer = Layer::Plain;
    assert!(layer.is_plain());
    assert_eq!(ingest(&mut layer, b"x"), (b"x".to_vec(), Vec::new(), None));
    let mut raw = b"before ".to_vec();
    layer.emit(b"after", &mut raw).unwrap();
    layer.goodbye(&mut raw);
    assert_eq!(raw, b"before after");
}
