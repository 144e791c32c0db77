//! What must hold of any bytes whatsoever, for each thing that reads them. A breach panics.
//!
//! The fuzz targets outside the workspace include this file as it is, so it uses nothing but the public face of the room.

use protocol::Wall;

use crate::{
    Call, Facts, Presence, PublishAim, Query, Record, ReservedTopic, ShadowKey, ShadowLimits,
    Sleeper, Thing, ThingName, UpdateRequest, filter_aim, get, publish_aim, read_delete, read_get,
    update, user_properties,
};

const NOW: Wall = Wall(1_700_000_000_123);

/// Requests, one in each line, to one shadow.
pub(crate) fn requests(bytes: &[u8]) {
    let limits = ShadowLimits::default();
    let mut record: Option<Record> = None;
    for payload in bytes.split(|byte| *byte == b'\n') {
        let _ = read_get(payload, &limits);
        let _ = read_delete(payload, &limits);
        let request = match UpdateRequest::parse(payload, &limits) {
            Ok(request) => request,
            Err(rejection) => {
                is_message(&rejection.message(NOW));
                continue;
            }
        };
        let next = match update(record.as_ref(), &request, NOW, &limits) {
            Ok(updated) => {
                is_message(&updated.accepted());
                is_message(&updated.documents());
                updated.delta().iter().for_each(|delta| is_message(delta));
                assert!(updated.document().state_bytes() <= limits.document_bytes);
                updated.record()
            }
            Err(rejection) => {
                is_message(&rejection.message(NOW));
                continue;
            }
        };
        assert_eq!(next.version(), record.as_ref().map_or(0, Record::version) + 1);
        assert_eq!(Record::decode(&next.encode()).as_ref(), Some(&next));
        // A request that names no version may be made again: nothing but the version changes.
        if let Ok(again) = update(Some(&next), &request, NOW, &limits) {
            assert_eq!(again.document().state_bytes(), next.document().unwrap().state_bytes());
        }
        record = Some(next);
    }
    show(record.as_ref());
}

/// What is stored of a shadow, and of a client's presence.
pub(crate) fn records(bytes: &[u8]) {
    if let Some(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
        show(Some(&record));
    }
    if let Some(presence) = Presence::decode(bytes) {
        let stored = presence.encode();
        // Forms of versions before are read, and written as the newest.
        if stored.get(8) == bytes.get(8) {
            assert_eq!(stored, bytes);
        }
        assert_eq!(Presence::decode(&stored).as_ref(), Some(&presence));
    }
    if let Some(sleeper) = Sleeper::decode(bytes) {
        assert_eq!(sleeper.encode(), bytes);
    }
}

/// A search, and a thing as it is stored.
pub(crate) fn things(bytes: &[u8]) {
    if let Some(thing) = Thing::decode(bytes) {
        assert_eq!(thing.encode(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(query) = Query::parse(text) {
        let thing = Thing::new(ThingName::new("pump-7").unwrap(), NOW);
        let facts = Facts { thing: &thing, presence: None, shadows: &[] };
        let found = query.matches(&facts);
        // Not so, if that lies too deep.
        if let Ok(opposite) = Query::parse(&format!("NOT ({text})")) {
            assert_eq!(opposite.matches(&facts), !found);
        }
    }
}

/// Topics, filters and keys.
pub(crate) fn reserved_topics(bytes: &[u8]) {
    if let Some(key) = ShadowKey::from_stored(bytes) {
        assert_eq!(key.to_stored().as_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = filter_aim(text);
    if let Ok(Some(topic)) = ReservedTopic::parse(text) {
        assert_eq!(topic.to_string(), text);
    }
    match publish_aim(text, false) {
        Ok(PublishAim::Ordinary) => assert!(!text.starts_with("$aws/")),
        Ok(PublishAim::Request(topic)) => assert_eq!(topic.answer, None),
        Err(_) => assert!(text.starts_with("$aws/")),
    }
}

/// The beginning of an HTTP request: method, path and query, each in its line; and a header.
pub(crate) fn calls(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = user_properties(text);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let _ = Call::parse(line(), line(), line());
}

fn show(record: Option<&Record>) {
    let key = ShadowKey { thing: ThingName::new("t").unwrap(), shadow: None };
    match get(record, key, None, NOW) {
        Ok(shown) => is_message(&shown),
        Err(rejection) => {
            assert!(record.is_none_or(|record| record.document().is_none()));
            is_message(&rejection.message(NOW));
        }
    }
}

/// That it is JSON can be seen by giving it back as a request, of which no more is asked.
fn is_message(message: &str) {
    let limits =
        ShadowLimits { request_bytes: usize::MAX, token_bytes: usize::MAX, ..Default::default() };
    assert!(read_get(message.as_bytes(), &limits).is_ok(), "{message}");
}
