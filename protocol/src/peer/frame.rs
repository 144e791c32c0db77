//! The frames of peer links: what they say, and how they are written and read.

use bytes::Bytes;
use smallvec::SmallVec;

use super::hash::HashChange;
use super::interest::put_changes;
use super::lists::{changes, hashes, publication, targets};
use super::wire::{Fields, FrameError, put_frame, put_text, put_u16, put_u32, put_u64};
use crate::{
    ClientId, GatewayId, Incarnation, LogSeq, Publication, SessionEpoch, SharedName, TopicFilter,
};

/// What travels between gateways: a length of four bytes, a kind of one, fields; all big-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of whoever dialled.
    Hello {
        /// The version it speaks.
        version: u16,
        /// Its fleet, 1 to 64 bytes.
        fleet: String,
        /// Its id.
        gateway: GatewayId,
        /// This life of its process.
        incarnation: Incarnation,
    },
    /// The answer to a hello.
    Welcome {
        /// The version that is spoken from here on.
        version: u16,
        /// The id of whoever answers.
        gateway: GatewayId,
        /// This life of its process.
        incarnation: Incarnation,
        /// The last forward it has taken from this incarnation of the dialling gateway.
        forwarded: u64,
    },
    /// The last frame before the accepting side closes.
    Refused {
        /// [`super::PeerViolation::code`].
        reason: u8,
        /// The same in words.
        text: String,
    },
    /// What the dialling gateway has subscribers for, at a revision.
    Interest {
        /// Grows with each change; all frames of one snapshot or delta carry the same.
        rev: u64,
        /// A snapshot, which replaces all that was said before; else a delta.
        replace: bool,
        /// Whether the snapshot or delta ends here.
        last: bool,
        /// The changes.
        changes: Vec<InterestChange>,
    },
    /// The part of a snapshot or delta that is told by hashes; from version 2 on.
    Hashes {
        /// As of the other frames of the snapshot or delta.
        rev: u64,
        /// As of the other frames of the snapshot or delta.
        replace: bool,
        /// Whether the snapshot or delta ends here.
        last: bool,
        /// The changes.
        hashes: Vec<HashChange>,
    },
    /// Interest up to the revision is known to every worker there.
    InterestAck {
        /// The revision.
        rev: u64,
    },
    /// One publication for the subscribers at the other gateway.
    Forward {
        /// Grows by one.
        seq: u64,
        /// Whether it is for all plain subscribers there.
        plain: bool,
        /// Shared groups of which one member there gets it.
        shared: SharedTargets,
        /// The publication.
        publication: Publication,
    },
    /// All forwards up to the number have been taken.
    ForwardAck {
        /// The number.
        seq: u64,
    },
    /// So much may be sent; from version 2 on. Both numbers only grow.
    ForwardCredit {
        /// Forwards up to this number.
        seq: u64,
        /// As long as fewer bytes of forwards than this were sent over the connection.
        bytes: u64,
    },
    /// Asks the owner of a session to give it up.
    Release {
        /// Names the answer.
        request: u64,
        /// The session's client.
        client: ClientId,
        /// The epoch in which the other gateway owns it.
        epoch: SessionEpoch,
    },
    /// The answer to a release.
    Released {
        /// The request.
        request: u64,
        /// What became of it.
        outcome: ReleaseOutcome,
    },
    /// The store's log reaches so far: read it.
    Poke {
        /// The last commit.
        seq: LogSeq,
    },
    /// The log has been applied up to here.
    Poked {
        /// The last commit applied.
        seq: LogSeq,
    },
    /// A draining gateway asks how many clients it may send.
    DrainAsk {
        /// The drain.
        drain: u64,
        /// How many clients are left.
        clients: u32,
        /// How many it would like to send in a second.
        per_s: u32,
    },
    /// Permission to send reconnecting clients.
    DrainCredit {
        /// The drain.
        drain: u64,
        /// How many clients.
        clients: u32,
        /// How many in a second at most.
        per_s: u32,
    },
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// The session is frozen, saved and free.
    Done,
    /// The session is not owned there in that epoch.
    NotOwner,
    /// Not now; ask again.
    Busy,
}

/// A change of a gateway's interest in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestChange {
    /// The filter, without share prefix.
    pub filter: TopicFilter,
    /// The shared group, if it is one's.
    pub share: Option<SharedName>,
    /// Members of the group at that gateway; plain filters use 1. 0: no longer interested.
    pub members: u32,
}

/// A shared group: share name and filter together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedTarget {
    /// The share name.
    pub share: SharedName,
    /// The filter.
    pub filter: TopicFilter,
}

/// The shared groups that a forward is for; seldom more than one.
pub type SharedTargets = SmallVec<[SharedTarget; 1]>;

/// Longest fleet name, in bytes.
const FLEET_BYTES: usize = 64;

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const INTEREST: u8 = 4;
    pub(super) const INTEREST_ACK: u8 = 5;
    pub(super) const FORWARD: u8 = 6;
    pub(super) const FORWARD_ACK: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const RELEASED: u8 = 9;
    pub(super) const POKE: u8 = 10;
    pub(super) const POKED: u8 = 11;
    pub(super) const DRAIN_ASK: u8 = 12;
    pub(super) const DRAIN_CREDIT: u8 = 13;
    pub(super) const PONG: u8 = 14;
    pub(super) const PING: u8 = 15;
    pub(super) const HASHES: u8 = 16;
    pub(super) const FORWARD_CREDIT: u8 = 17;
}

impl Frame {
    /// Appends the frame with its length. An interest frame longer than 64 KiB is cut into several.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, fleet, gateway, incarnation } => {
                put_frame(out, kind::HELLO, |out| {
                    put_u16(out, *version);
                    put_text(out, fleet);
                    put_text(out, gateway.as_str());
                    put_u64(out, incarnation.0);
                });
            }
            Self::Welcome { version, gateway, incarnation, forwarded } => {
                put_frame(out, kind::WELCOME, |out| {
                    put_u16(out, *version);
                    put_text(out, gateway.as_str());
                    put_u64(out, incarnation.0);
                    put_u64(out, *forwarded);
                });
            }
            Self::Refused { reason, text } => put_frame(out, kind::REFUSED, |out| {
                out.push(*reason);
                put_text(out, text);
            }),
            Self::Interest { rev, replace, last, changes } => {
                put_changes::<InterestChange>(out, (*rev, *replace, *last), changes.iter());
            }
            Self::Hashes { rev, replace, last, hashes } => {
                put_changes::<HashChange>(out, (*rev, *replace, *last), hashes.iter().copied());
            }
            Self::InterestAck { rev } => put_number(out, kind::INTEREST_ACK, *rev),
            Self::Forward { seq, plain, shared, publication } => {
                put_forward(out, *seq, *plain, shared, publication);
            }
            Self::ForwardAck { seq } => put_number(out, kind::FORWARD_ACK, *seq),
            Self::ForwardCredit { seq, bytes } => put_frame(out, kind::FORWARD_CREDIT, |out| {
                put_u64(out, *seq);
                put_u64(out, *bytes);
            }),
            Self::Release { request, client, epoch } => put_frame(out, kind::RELEASE, |out| {
                put_u64(out, *request);
                put_u64(out, epoch.0);
                put_text(out, client.as_str());
            }),
            Self::Released { request, outcome } => put_frame(out, kind::RELEASED, |out| {
                put_u64(out, *request);
                out.push(outcome.code());
            }),
            Self::Poke { seq } => put_number(out, kind::POKE, seq.0),
            Self::Poked { seq } => put_number(out, kind::POKED, seq.0),
            Self::DrainAsk { drain, clients, per_s } => {
                put_drain(out, kind::DRAIN_ASK, *drain, *clients, *per_s);
            }
            Self::DrainCredit { drain, clients, per_s } => {
                put_drain(out, kind::DRAIN_CREDIT, *drain, *clients, *per_s);
            }
            Self::Ping => put_frame(out, kind::PING, |_| ()),
            Self::Pong => put_frame(out, kind::PONG, |_| ()),
        }
    }

    /// Reads a frame that stands alone in `whole`, without its length field. A forward's publication
    /// shares the allocation of `whole`.
    ///
    /// # Errors
    /// [`FrameError`], by what is wrong.
    pub fn decode(whole: &Bytes) -> Result<Self, FrameError> {
        let mut fields = Fields::new(whole);
        let kind = fields.u8().map_err(|_| FrameError::Empty)?;
        let frame = match kind {
            kind::HELLO => Self::Hello {
                version: fields.u16()?,
                fleet: fleet(&mut fields)?,
                gateway: gateway(&mut fields)?,
                incarnation: Incarnation(fields.u64()?),
            },
            kind::WELCOME => Self::Welcome {
                version: fields.u16()?,
                gateway: gateway(&mut fields)?,
                incarnation: Incarnation(fields.u64()?),
                forwarded: fields.u64()?,
            },
            kind::REFUSED => {
                Self::Refused { reason: fields.u8()?, text: fields.text("text")?.into() }
            }
            kind::INTEREST => Self::Interest {
                rev: fields.u64()?,
                replace: fields.flag("replace flag")?,
                last: fields.flag("last flag")?,
                changes: changes(&mut fields)?,
            },
            kind::HASHES => Self::Hashes {
                rev: fields.u64()?,
                replace: fields.flag("replace flag")?,
                last: fields.flag("last flag")?,
                hashes: hashes(&mut fields)?,
            },
            kind::INTEREST_ACK => Self::InterestAck { rev: fields.u64()? },
            kind::FORWARD => Self::Forward {
                seq: fields.u64()?,
                plain: fields.flag("plain flag")?,
                shared: targets(&mut fields)?,
                publication: publication(&mut fields)?,
            },
            kind::FORWARD_ACK => Self::ForwardAck { seq: fields.u64()? },
            kind::FORWARD_CREDIT => {
                Self::ForwardCredit { seq: fields.u64()?, bytes: fields.u64()? }
            }
            kind::RELEASE => release(&mut fields)?,
            kind::RELEASED => Self::Released {
                request: fields.u64()?,
                outcome: ReleaseOutcome::from_code(fields.u8()?)?,
            },
            kind::POKE => Self::Poke { seq: LogSeq(fields.u64()?) },
            kind::POKED => Self::Poked { seq: LogSeq(fields.u64()?) },
            kind::DRAIN_ASK => Self::DrainAsk {
                drain: fields.u64()?,
                clients: fields.u32()?,
                per_s: fields.u32()?,
            },
            kind::DRAIN_CREDIT => Self::DrainCredit {
                drain: fields.u64()?,
                clients: fields.u32()?,
                per_s: fields.u32()?,
            },
            kind::PING => Self::Ping,
            kind::PONG => Self::Pong,
            unknown => return Err(FrameError::Kind(unknown)),
        };
        fields.finish()?;
        Ok(frame)
    }
}

/// The kind of interest frames, for whoever writes them piece by piece.
pub(super) const INTEREST_KIND: u8 = kind::INTEREST;
/// The kind of frames with hashes, likewise.
pub(super) const HASHES_KIND: u8 = kind::HASHES;

impl Frame {
    /// The number of a kind that only later versions than the last one know.
    pub(super) const fn new_kind(&self) -> Option<u8> {
        match self {
            Self::Hashes { .. } => Some(kind::HASHES),
            Self::ForwardCredit { .. } => Some(kind::FORWARD_CREDIT),
            Self::Hello { .. }
            | Self::Welcome { .. }
            | Self::Refused { .. }
            | Self::Interest { .. }
            | Self::InterestAck { .. }
            | Self::Forward { .. }
            | Self::ForwardAck { .. }
            | Self::Release { .. }
            | Self::Released { .. }
            | Self::Poke { .. }
            | Self::Poked { .. }
            | Self::DrainAsk { .. }
            | Self::DrainCredit { .. }
            | Self::Ping
            | Self::Pong => None,
        }
    }
}

/// Appends a forward without building a [`Frame`] first: one copy of the publication.
pub(super) fn put_forward(
    out: &mut Vec<u8>,
    seq: u64,
    plain: bool,
    shared: &[SharedTarget],
    publication: &Publication,
) {
    put_frame(out, kind::FORWARD, |out| {
        put_u64(out, seq);
        out.push(u8::from(plain));
        put_u32(out, u32::try_from(shared.len()).unwrap_or(u32::MAX));
        for target in shared {
            put_text(out, target.share.as_str());
            put_text(out, target.filter.as_str());
        }
        publication.encode(out);
    });
}

/// Bytes of a forward's frame without its length field.
pub(super) fn forward_len(shared: &[SharedTarget], publication: &Publication) -> usize {
    let target = |t: &SharedTarget| 4 + t.share.as_str().len() + t.filter.as_str().len();
    14 + shared.iter().map(target).sum::<usize>() + publication.encoded_len()
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    put_frame(out, kind, |out| put_u64(out, number));
}

fn put_drain(out: &mut Vec<u8>, kind: u8, drain: u64, clients: u32, per_s: u32) {
    put_frame(out, kind, |out| {
        put_u64(out, drain);
        put_u32(out, clients);
        put_u32(out, per_s);
    });
}

fn fleet(fields: &mut Fields<'_>) -> Result<String, FrameError> {
    let text = fields.text("fleet")?;
    if text.is_empty() || text.len() > FLEET_BYTES {
        return Err(FrameError::Field("fleet"));
    }
    Ok(text.into())
}

fn gateway(fields: &mut Fields<'_>) -> Result<GatewayId, FrameError> {
    GatewayId::new(fields.text("gateway")?).map_err(|_| FrameError::Field("gateway"))
}

fn release(fields: &mut Fields<'_>) -> Result<Frame, FrameError> {
    let request = fields.u64()?;
    let epoch = SessionEpoch(fields.u64()?);
    let client = ClientId::new(fields.text("client")?).map_err(|_| FrameError::Field("client"))?;
    Ok(Frame::Release { request, client, epoch })
}

impl ReleaseOutcome {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotOwner => 1,
            Self::Busy => 2,
        }
    }

    const fn from_code(code: u8) -> Result<Self, FrameError> {
        match code {
            0 => Ok(Self::Done),
            1 => Ok(Self::NotOwner),
            2 => Ok(Self::Busy),
            _ => Err(FrameError::Field("outcome")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::FilterHash;
    use crate::{QoS, Wall};

    fn target_strategy() -> impl Strategy<Value = SharedTarget> {
        ("[a-z0-9]{1,5}", "[a-z]{1,4}(/[a-z]{1,4}){0,2}(/#)?").prop_map(|(share, filter)| {
            let text = format!("$share/{share}/{filter}");
            let (share, filter) = TopicFilter::parse_subscription(&text).unwrap();
            SharedTarget { share: share.unwrap(), filter }
        })
    }

    fn change_strategy() -> impl Strategy<Value = InterestChange> {
        (target_strategy(), any::<bool>(), any::<u32>()).prop_map(|(target, shared, members)| {
            let share = shared.then_some(target.share);
            InterestChange { filter: target.filter, share, members }
        })
    }

    fn publication_strategy() -> impl Strategy<Value = Publication> {
        let payload = proptest::collection::vec(any::<u8>(), 0..200);
        ("[a-z/]{1,12}", payload, 0..3u8, any::<bool>(), any::<u64>()).prop_map(
            |(topic, payload, qos, retain, expires)| {
                let qos = QoS::from_bits(qos).unwrap();
                let mut publication = Publication::new(&topic, &[1, 1], &payload, qos, retain);
                publication.expires_at = (expires != 0).then_some(Wall(expires));
                publication
            },
        )
    }

    fn hash_strategy() -> impl Strategy<Value = HashChange> {
        ("[a-z/]{1,12}", 0..3u32)
            .prop_map(|(topic, members)| HashChange::new(FilterHash::of(&topic), members))
    }

    fn frame_strategy() -> impl Strategy<Value = Frame> {
        let id = || "[a-zA-Z0-9_.-]{1,64}".prop_map(|text| GatewayId::new(&text).unwrap());
        let n = any::<u64>;
        let forward = (
            n(),
            any::<bool>(),
            proptest::collection::vec(target_strategy(), 0..3),
            publication_strategy(),
        );
        let changes = proptest::collection::vec(change_strategy(), 0..20);
        let outcome = prop_oneof![
            Just(ReleaseOutcome::Done),
            Just(ReleaseOutcome::NotOwner),
            Just(ReleaseOutcome::Busy)
        ];
        prop_oneof![
            (any::<u16>(), "\\PC{1,16}", id(), n()).prop_map(|(version, fleet, gateway, i)| {
                Frame::Hello { version, fleet, gateway, incarnation: Incarnation(i) }
            }),
            (any::<u16>(), id(), n(), n()).prop_map(|(version, gateway, i, forwarded)| {
                Frame::Welcome { version, gateway, incarnation: Incarnation(i), forwarded }
            }),
            (any::<u8>(), ".*").prop_map(|(reason, text)| Frame::Refused { reason, text }),
            (n(), any::<bool>(), any::<bool>(), changes).prop_map(
                |(rev, replace, last, changes)| Frame::Interest { rev, replace, last, changes }
            ),
            (n(), any::<bool>(), any::<bool>(), proptest::collection::vec(hash_strategy(), 0..20))
                .prop_map(|(rev, replace, last, hashes)| Frame::Hashes {
                    rev,
                    replace,
                    last,
                    hashes
                }),
            (n(), n()).prop_map(|(seq, bytes)| Frame::ForwardCredit { seq, bytes }),
            n().prop_map(|rev| Frame::InterestAck { rev }),
            forward.prop_map(|(seq, plain, shared, publication)| Frame::Forward {
                seq,
                plain,
                shared: shared.into(),
                publication
            }),
            n().prop_map(|seq| Frame::ForwardAck { seq }),
            (n(), "\\PC{1,30}", n()).prop_map(|(request, client, epoch)| Frame::Release {
                request,
                client: ClientId::new(&client).unwrap(),
                epoch: SessionEpoch(epoch)
            }),
            (n(), outcome).prop_map(|(request, outcome)| Frame::Released { request, outcome }),
            n().prop_map(|seq| Frame::Poke { seq: LogSeq(seq) }),
            n().prop_map(|seq| Frame::Poked { seq: LogSeq(seq) }),
            (n(), any::<u32>(), any::<u32>())
                .prop_map(|(drain, clients, per_s)| { Frame::DrainAsk { drain, clients, per_s } }),
            (n(), any::<u32>(), any::<u32>()).prop_map(|(drain, clients, per_s)| {
                Frame::DrainCredit { drain, clients, per_s }
            }),
            Just(Frame::Ping),
            Just(Frame::Pong),
        ]
    }

    fn encoded(frame: &Frame) -> Bytes {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let len = u32::from_be_bytes(out[..4].try_into().unwrap()) as usize;
        assert_eq!(len, out.len() - 4);
        Bytes::from(out).slice(4..)
    }

    proptest! {
        #[test]
        fn every_frame_reads_back(frame in frame_strategy()) {
            prop_assert_eq!(Frame::decode(&encoded(&frame)), Ok(frame));
        }

        #[test]
        fn no_cut_frame_is_taken_for_the_whole_one(frame in frame_strategy(), cut: usize) {
            let whole = encoded(&frame);
            let cut = cut % whole.len();
            prop_assert_ne!(Frame::decode(&whole.slice(..cut)), Ok(frame));
        }

        #[test]
        fn a_changed_frame_is_refused_or_reads_back_as_itself(
            frame in frame_strategy(), at: usize, byte: u8
        ) {
            let mut bytes = encoded(&frame).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let bytes = Bytes::from(bytes);
            if let Ok(read) = Frame::decode(&bytes) {
                prop_assert_eq!(encoded(&read), bytes);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::decode(&Bytes::from(bytes));
        }
    }

    #[test]
    fn a_forward_shares_the_bytes_it_arrived_in() {
        let publication = Publication::new("a", &[], &[7; 4096], QoS::AtLeastOnce, false);
        let shared = SmallVec::new();
        let whole = encoded(&Frame::Forward { seq: 1, plain: true, shared, publication });
        let Ok(Frame::Forward { publication, .. }) = Frame::decode(&whole) else { panic!() };
        let inside = whole.as_ptr_range();
        assert!(inside.contains(&publication.payload().as_ptr()));
        assert_eq!(forward_len(&[], &publication), whole.len());
    }

    #[test]
    fn a_count_that_lies_reserves_nothing() {
        let mut bytes = vec![INTEREST_KIND];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[1, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(Frame::decode(&Bytes::from(bytes)), Err(FrameError::Short));
    }

    #[test]
    fn a_share_name_cannot_smuggle_levels() {
        for (share, filter) in [("a/b", "c"), ("", "c"), ("a", ""), ("a+", "b")] {
            let mut bytes = vec![INTEREST_KIND];
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&[1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1]);
            put_text(&mut bytes, share);
            put_text(&mut bytes, filter);
            let read = Frame::decode(&Bytes::from(bytes));
            assert!(matches!(read, Err(FrameError::Field(_) | FrameError::Short)), "{read:?}");
        }
    }
}
