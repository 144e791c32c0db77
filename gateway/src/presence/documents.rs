//! The documents of presence. A client's record stands behind `p`, the moment at which it counts as gone behind `l` while it
//! is expected, and an operator's order to send it away behind `k`; each then has the client id.
//!
//! A record is written with the session document whose ownership it follows, in one write, so the fence of the session
//! guards both. Only who takes a session, and who says that a client is late, expect the record as they read it.

use std::time::Duration;

use bytes::Bytes;
use maintenance::rendezvous;
use protocol::session::Owner;
use protocol::{ClientId, GatewayId, SessionEpoch, Wall};
use shadow::{DisconnectReason, Presence};
use store::{Doc, Expect, Pages, Put, Reader, Rev, Space, StoreError, Write};

const RECORD: u8 = b'p';
const LATE: u8 = b'l';
const ORDER: u8 = b'k';
/// Documents read at a time.
const PAGE: usize = 512;
/// Records that one look for forgotten clients reads.
pub(crate) const FORGET_PAGE: usize = 512;

fn key(kind: u8, client: &str) -> Bytes {
    let mut key = Vec::with_capacity(client.len() + 1);
    key.push(kind);
    key.extend_from_slice(client.as_bytes());
    key.into()
}

fn put(key: Bytes, value: Option<Bytes>, expect: Expect) -> Put {
    Put { space: Space::Presence, key, value, expect, announce: false }
}

/// The client id in a key.
pub(crate) fn client_of(key: &[u8]) -> Option<ClientId> {
    let (_, client) = key.split_first()?;
    ClientId::new(std::str::from_utf8(client).ok()?).ok()
}

/// The key of a client's record.
pub(crate) fn record_key(client: &str) -> Bytes {
    key(RECORD, client)
}

/// What the keys of all records begin with.
pub(crate) const RECORDS: [u8; 1] = [RECORD];

/// The key of a client's session.
pub(crate) fn session_key(client: &ClientId) -> Bytes {
    Bytes::copy_from_slice(client.as_str().as_bytes())
}

/// A client's record, and whether it is a thing that is known.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn read_presence(
    reader: &mut dyn Reader,
    client: &ClientId,
) -> Result<(Option<Doc>, bool), StoreError> {
    let doc = reader.get(Space::Presence, &record_key(client.as_str()))?;
    let is_thing = reader.get(Space::Thing, client.as_str().as_bytes())?.is_some();
    Ok((doc, is_thing))
}

/// A client's record; `None` forgets it.
pub(crate) fn put_record(client: &ClientId, value: Option<Bytes>, expect: Expect) -> Put {
    put(record_key(client.as_str()), value, expect)
}

/// From when on a client that is expected counts as gone.
pub(crate) fn put_late(client: &ClientId, until: Wall) -> Put {
    let value = Bytes::copy_from_slice(&until.0.to_be_bytes());
    put(key(LATE, client.as_str()), Some(value), Expect::Any)
}

/// It is not expected any more.
pub(crate) fn delete_late(client: &ClientId) -> Put {
    put(key(LATE, client.as_str()), None, Expect::Any)
}

/// An operator's order to end a client's connection, in one ownership of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendAway {
    /// The ownership that is meant: not that of a later connection.
    pub epoch: SessionEpoch,
    /// Whether its session ends too.
    pub end_session: bool,
    /// Whether its will is not published.
    pub prevent_will: bool,
}

/// The order, as every gateway hears of it through the log.
pub(crate) fn put_order(client: &ClientId, order: SendAway) -> Put {
    let mut value = order.epoch.0.to_be_bytes().to_vec();
    value.push(u8::from(order.end_session) | u8::from(order.prevent_will) << 1);
    let key = key(ORDER, client.as_str());
    Put {
        space: Space::Presence,
        key,
        value: Some(value.into()),
        expect: Expect::Any,
        announce: true,
    }
}

/// The order is carried out, or means nobody.
pub(crate) fn delete_order(client: &ClientId) -> Put {
    put(key(ORDER, client.as_str()), None, Expect::Any)
}

/// Reads an order that the log tells of; `None` if this is none.
pub(crate) fn order_of(key: &[u8], value: &[u8]) -> Option<(ClientId, SendAway)> {
    if key.first() != Some(&ORDER) {
        return None;
    }
    let (epoch, rest) = value.split_first_chunk::<8>()?;
    let flags = *rest.first()?;
    let order = SendAway {
        epoch: SessionEpoch(u64::from_be_bytes(*epoch)),
        end_session: flags & 1 != 0,
        prevent_will: flags & 2 != 0,
    };
    Some((client_of(key)?, order))
}

/// A client that was expected and did not come.
#[derive(Debug)]
pub struct DueLate {
    /// Who.
    pub client: ClientId,
    /// Its record, if there is one.
    pub presence: Option<Box<Presence>>,
    /// The revision of that record's document; without one, of that which says until when the client is expected.
    pub rev: Rev,
}

/// The clients that are late, and are ours to tell of.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn due_late(
    reader: &mut dyn Reader,
    me: &GatewayId,
    live: &[GatewayId],
    now: Wall,
) -> Result<Vec<DueLate>, StoreError> {
    let (mut due, mut pages) = (Vec::new(), Pages::new(Space::Presence, &[LATE], PAGE));
    while let Some(page) = pages.next(reader)? {
        for (key, doc) in page {
            let until = doc.value.first_chunk::<8>().map(|at| Wall(u64::from_be_bytes(*at)));
            let Some(client) = client_of(&key).filter(|_| until.is_some_and(|at| at <= now)) else {
                continue;
            };
            if rendezvous(&client, live) != Some(me) {
                continue;
            }
            let Some(record) = reader.get(Space::Presence, &record_key(client.as_str()))? else {
                due.push(DueLate { client, presence: None, rev: doc.rev });
                continue;
            };
            if let Some(presence) = Presence::decode(&record.value) {
                let presence = Some(Box::new(presence));
                due.push(DueLate { client, presence, rev: record.rev });
            }
        }
    }
    Ok(due)
}

/// What is written about a client whose gateway died: it is expected elsewhere for a while. Nothing if it has no record, or
/// if that is of another life.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn expect_back(
    reader: &mut dyn Reader,
    client: &ClientId,
    dead: &Owner,
    until: Wall,
    write: &mut Write,
) -> Result<(), StoreError> {
    let doc = reader.get(Space::Presence, &record_key(client.as_str()))?;
    let Some(mut presence) = doc.and_then(|doc| Presence::decode(&doc.value)) else {
        return Ok(());
    };
    let of_dead = presence
        .connection()
        .filter(|it| it.gateway == dead.gateway && it.incarnation == dead.incarnation);
    let Some(session) = of_dead.map(|it| it.session.clone()) else { return Ok(()) };
    if presence.send(&session, DisconnectReason::ServerError, until) {
        // The session's document, which goes with it, is expected as it was read.
        write.puts.push(put_record(client, Some(presence.encode().into()), Expect::Any));
        write.puts.push(put_late(client, until));
    }
    Ok(())
}

/// The writes that forget clients which were away for too long, of one page of records; and the last key of that page, none
/// behind the last one.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn forgotten(
    reader: &mut dyn Reader,
    after: Option<&[u8]>,
    is_mine: &dyn Fn(&ClientId) -> bool,
    (now, keep): (Wall, Duration),
) -> Result<(Vec<Write>, Option<Bytes>), StoreError> {
    let page = reader.scan(Space::Presence, &[RECORD], after, FORGET_PAGE)?;
    let last = page.last().filter(|_| page.len() == FORGET_PAGE).map(|(key, _)| key.clone());
    let forget = |(key, doc): &(Bytes, Doc)| {
        let client = client_of(key).filter(|client| is_mine(client))?;
        let presence = Presence::decode(&doc.value)?;
        let left = presence.departures().next().filter(|_| presence.connection().is_none())?;
        (left.at.after(keep) <= now).then(|| {
            let mut write = Write::default();
            write.puts.push(put_record(&client, None, Expect::Rev(doc.rev)));
            write
        })
    };
    Ok((page.iter().filter_map(forget).collect(), last))
}
