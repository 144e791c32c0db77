//! What a session that is over leaves to its shared groups, as it is stored until all of it is given to others
//! `[MQTT5-4.8.2]`.

use bytes::Bytes;

use super::SessionRecord;
use crate::{ClientId, Position, QoS, SessionNo, TopicFilter, put_varint, take_varint};

/// What an ended session leaves: which messages of its queue go back, and to which groups. The messages themselves stay
/// where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estate {
    /// Whose session it was.
    pub client: ClientId,
    /// Everything up to here is acknowledged, or given to others.
    pub given: Position,
    /// The highest position that was sent, or given to others: what is not in `open` up to here is acknowledged or given.
    pub sent: Position,
    /// What was sent and not acknowledged, or waits for a member while later ones are given, ascending.
    pub open: Vec<Position>,
    /// The shared subscriptions above `QoS` 0 that it had then, as written in SUBSCRIBE.
    pub groups: Vec<Box<str>>,
}

/// The form's version.
const FORM: u8 = 1;

impl Estate {
    /// What a session leaves that ends as its record says; `None` if it has no queue or was never in a shared group. Of groups that
    /// it has left before, what they gave says which they were.
    pub fn of(client: &ClientId, record: &SessionRecord) -> Option<Self> {
        if record.no == SessionNo(0) {
            return None;
        }
        let in_group = |text: &str| {
            TopicFilter::parse_subscription(text).is_ok_and(|(share, _)| share.is_some())
        };
        let stored = record.subscriptions.iter().filter(|s| s.qos != QoS::AtMostOnce);
        let groups: Vec<Box<str>> =
            stored.map(|s| s.filter.clone()).filter(|text| in_group(text)).collect();
        if groups.is_empty() && !record.grouped {
            return None;
        }
        let mut open: Vec<Position> = record.inflight.iter().map(|(_, at, _)| *at).collect();
        open.sort_unstable();
        let (given, sent) = (record.acknowledged, record.sent);
        Some(Self { client: client.clone(), given, sent, open, groups })
    }

    /// What is left once everything up to and with a position is given.
    #[must_use]
    pub fn after(&self, given: Position) -> Self {
        let mut rest = self.clone();
        rest.given = rest.given.max(given);
        rest.open.retain(|at| *at > rest.given);
        rest
    }

    /// What is left once everything up to and with a position is given but for some before it, ascending.
    #[must_use]
    pub fn after_but(&self, given: Position, kept: &[Position]) -> Self {
        let mut rest = self.after(given);
        if let Some(first) = kept.first() {
            rest.given = self.given.max(Position(first.0.saturating_sub(1)));
            rest.sent = rest.sent.max(given);
            rest.open.splice(0..0, kept.iter().copied());
        }
        rest
    }

    /// Whether a message at a position that a group gave at `QoS` 1 is still to be given to others.
    pub fn holds(&self, at: Position) -> bool {
        at > self.given && (at > self.sent || self.open.binary_search(&at).is_ok())
    }

    /// The key of its document.
    pub fn key(session: SessionNo) -> Bytes {
        Bytes::copy_from_slice(&session.0.to_be_bytes())
    }

    /// Whose document a key names.
    pub fn session_of(key: &[u8]) -> Option<SessionNo> {
        Some(SessionNo(u32::from_be_bytes(key.try_into().ok()?)))
    }

    /// The stored form; [`Self::decode`] reads it back. `open` goes by distances: mostly a byte each.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORM];
        put_text(&mut out, self.client.as_str());
        put_varint(&mut out, self.given.0);
        put_varint(&mut out, self.sent.0);
        put_varint(&mut out, self.open.len() as u64);
        let mut before = 0;
        for at in &self.open {
            put_varint(&mut out, at.0.wrapping_sub(before));
            before = at.0;
        }
        put_varint(&mut out, self.groups.len() as u64);
        self.groups.iter().for_each(|group| put_text(&mut out, group));
        out.into()
    }

    /// Reads the stored form; `None` if it is damaged or of a newer version.
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let (form, mut rest) = stored.split_first()?;
        if *form != FORM {
            return None;
        }
        let client = ClientId::new(take_text(&mut rest)?).ok()?;
        let (given, sent) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
        let mut open = Vec::new();
        let mut before = 0_u64;
        for _ in 0..take_varint(&mut rest)? {
            before = before.checked_add(take_varint(&mut rest)?)?;
            open.push(Position(before));
        }
        let mut groups = Vec::new();
        for _ in 0..take_varint(&mut rest)? {
            groups.push(take_text(&mut rest)?.into());
        }
        let estate = Self { client, given: Position(given), sent: Position(sent), open, groups };
        rest.is_empty().then_some(estate)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::StoredSubscription;
    use crate::{PacketId, SessionEpoch};

    fn record(filters: &[(&str, QoS)]) -> SessionRecord {
        let mut record = SessionRecord::new(SessionNo(9), SessionEpoch(4), 60);
        record.subscriptions.extend(filters.iter().map(|(filter, qos)| StoredSubscription {
            filter: (*filter).into(),
            qos: *qos,
            no_local: false,
            retain_as_published: false,
            id: None,
        }));
        (record.acknowledged, record.sent) = (Position(300), Position(900));
        let open = [(2, 500), (1, 301)];
        record.inflight =
            open.map(|(id, at)| (PacketId::new(id).unwrap(), Position(at), false)).into();
        record
    }

    fn client() -> ClientId {
        ClientId::new("c").unwrap()
    }

    #[test]
    fn only_who_has_a_queue_and_was_in_a_group_leaves_something() {
        let all = [
            ("$share/g/t", QoS::AtLeastOnce),
            ("$share/h/t", QoS::AtMostOnce),
            ("t", QoS::AtLeastOnce),
        ];
        let estate = Estate::of(&client(), &record(&all)).unwrap();
        assert_eq!(estate.groups, ["$share/g/t".into()]);
        assert_eq!(Estate::of(&client(), &record(&all[1..])), None);
        let left = SessionRecord { grouped: true, ..record(&all[2..]) };
        assert_eq!(Estate::of(&client(), &left).map(|it| it.groups.len()), Some(0));
        let clean = SessionRecord { no: SessionNo(0), ..left };
        assert_eq!(Estate::of(&client(), &clean), None);
    }

    #[test]
    fn what_is_acknowledged_behind_an_open_exchange_is_not_held() {
        let estate = Estate::of(&client(), &record(&[("$share/g/t", QoS::ExactlyOnce)])).unwrap();
        let held = |estate: &Estate| {
            [300, 301, 302, 500, 900, 901]
                .into_iter()
                .filter(|at| estate.holds(Position(*at)))
                .collect::<Vec<_>>()
        };
        assert_eq!(held(&estate), [301, 500, 901]);
        let rest = estate.after(Position(400));
        assert_eq!(held(&rest), [500, 901]);
        assert_eq!((rest.open.len(), rest.after(Position(7)).given), (1, Position(400)));
    }

    proptest! {
        /// Whatever it is given in, in the end everything that is held was given once.
        #[test]
        fn portions_of_an_estate_are_all_of_it_and_nothing_twice(
            (given, sent) in (0_u64..50, 0_u64..100),
            open in proptest::collection::btree_set(1_u64..100, 0..20),
            sizes in proptest::collection::vec(1_usize..9, 1..60),
            groups in proptest::collection::vec("[$]share/[a-c]/[a-z]{0,9}", 0..4),
        ) {
            let whole = Estate {
                client: client(),
                given: Position(given),
                sent: Position(sent),
                open: open.iter().map(|at| Position(*at)).collect(),
                groups: groups.into_iter().map(Into::into).collect(),
            };
            prop_assert_eq!(Estate::decode(&whole.encode()), Some(whole.clone()));
            // Straight from what the fields say.
            let held = |at: u64| at > given && (at > sent || open.contains(&at));
            let mut left: Vec<u64> = (1..120).filter(|at| held(*at)).collect();
            let mut rest = whole.clone();
            for size in sizes.into_iter().cycle() {
                let holds: Vec<u64> = (1..120).filter(|at| rest.holds(Position(*at))).collect();
                prop_assert_eq!(&holds, &left);
                let portion: Vec<u64> = left.drain(..size.min(left.len())).collect();
                let Some(last) = portion.last() else { break };
                rest = rest.after(Position(*last));
                // Somebody else who goes on reads it from the store, and an older portion takes nothing back.
                rest = Estate::decode(&rest.encode()).unwrap();
                prop_assert_eq!(&rest.after(Position(last - 1)), &rest);
                prop_assert!(rest.open.iter().all(|at| at.0 > *last));
            }
            prop_assert!(left.is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_portion_is_held_on_and_nothing_else_of_it(
            (given, sent, last) in (0_u64..20, 0_u64..60, 20_u64..60),
            open in proptest::collection::btree_set(1_u64..60, 0..20),
            kept in proptest::collection::btree_set(1_u64..60, 0..20),
        ) {
            let whole = Estate {
                client: client(),
                given: Position(given),
                sent: Position(sent),
                open: open.into_iter().map(Position).collect(),
                groups: Vec::new(),
            };
            let kept: Vec<_> = kept.into_iter().map(Position).collect();
            let kept: Vec<_> =
                kept.into_iter().filter(|at| at.0 <= last && whole.holds(*at)).collect();
            let rest = whole.after_but(Position(last), &kept);
            for at in (1..80).map(Position) {
                let held = if at.0 <= last { kept.contains(&at) } else { whole.holds(at) };
                prop_assert_eq!(rest.holds(at), held, "{}", at.0);
            }
            prop_assert!(rest.open.is_sorted() && rest.given >= whole.given);
            prop_assert_eq!(Estate::decode(&rest.encode()), Some(rest));
        }
    }

    #[test]
    fn an_estate_reads_back_and_a_cut_one_does_not() {
        let estate = Estate::of(&client(), &record(&[("$share/g/t", QoS::AtLeastOnce)])).unwrap();
        let stored = estate.encode();
        assert_eq!(Estate::decode(&stored), Some(estate));
        for cut in 0..stored.len() {
            assert_eq!(Estate::decode(&stored[..cut]), None, "cut at {cut}");
        }
        let endless = [&[FORM, 1, b'c', 1, 1][..], &[0xff; 9], &[1]].concat();
        assert_eq!(Estate::decode(&endless), None);
        assert_eq!(Estate::session_of(&Estate::key(SessionNo(7))), Some(SessionNo(7)));
        assert_eq!(Estate::session_of(b"abc"), None);
    }
}
