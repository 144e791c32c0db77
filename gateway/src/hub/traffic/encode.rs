//! The encodings of one publication that several receivers share.

use protocol::mqtt::Version;
use protocol::mqtt::codec::{self, PublishHead};
use protocol::{Publication, QoS};

use crate::hub::connection::Connection;
use crate::hub::traffic::aliases::{Named, hash_of};

/// Encodings of one publication at QoS 0.
#[derive(Debug, Default)]
pub(in crate::hub) struct Encoder {
    /// By version, how the topic is named, and RETAIN: where it begins and ends in `bytes`.
    made: [Option<(usize, usize)>; 8],
    bytes: Vec<u8>,
    /// Hash of the topic, once somebody needed it.
    hash: Option<u64>,
    /// There is one receiver: nothing is kept for others.
    for_one: bool,
}

/// What one receiver's copy says.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Copy<'a> {
    pub(in crate::hub) retain: bool,
    /// Identifiers of the subscriptions that match.
    pub(in crate::hub) ids: &'a [u32],
    /// Seconds that are left.
    pub(in crate::hub) expiry_s: Option<u32>,
}

impl Encoder {
    /// The next publication begins.
    pub(in crate::hub) fn begin(&mut self) {
        self.made = [None; 8];
        self.bytes.clear();
        self.hash = None;
        self.for_one = false;
    }

    /// The next publication begins, which one receiver gets.
    pub(in crate::hub) fn begin_for_one(&mut self) {
        self.begin();
        self.for_one = true;
    }

    /// Appends a PUBLISH at QoS 0 for a connection, copied from the shared encoding unless it carries identifiers of its own or
    /// nobody else gets it.
    /// Says whether it fits `[MQTT5-3.1.2-25]`.
    pub(in crate::hub) fn write(
        &mut self,
        out: &mut Vec<u8>,
        connection: &mut Connection,
        publication: &Publication,
        copy: Copy<'_>,
    ) -> bool {
        let named = match &mut connection.named {
            None => Named::Name,
            Some(aliases) => {
                let topic = publication.topic();
                aliases.name(topic, *self.hash.get_or_insert_with(|| hash_of(topic)))
            }
        };
        let (version, most) = (connection.version, connection.max_packet_bytes as usize);
        if self.append(out, (version, named), publication, copy, most) {
            return true;
        }
        let Named::Both(alias) = named else { return false };
        if let Some(aliases) = &mut connection.named {
            aliases.forget(alias);
        }
        self.append(out, (version, Named::Name), publication, copy, most)
    }

    fn append(
        &mut self,
        out: &mut Vec<u8>,
        (version, named): (Version, Named),
        publication: &Publication,
        copy: Copy<'_>,
        most: usize,
    ) -> bool {
        let from = out.len();
        if !self.for_one && (copy.ids.is_empty() || version != Version::V5) {
            out.extend_from_slice(self.shared(version, named, publication, copy));
            if let Some((alias, _)) = named.alias() {
                // The last property, right before the payload.
                let end = out.len() - publication.payload().len();
                if let Some(place) = out.get_mut(end - 2..end) {
                    place.copy_from_slice(&alias.to_be_bytes());
                }
            }
        } else {
            codec::publish(out, version, publication, &head(copy, named));
        }
        let fits = out.len() - from <= most;
        if !fits {
            out.truncate(from);
        }
        fits
    }

    /// The encoding for a kind of receiver; whatever alias it holds is to be overwritten.
    fn shared(
        &mut self,
        version: Version,
        named: Named,
        publication: &Publication,
        copy: Copy<'_>,
    ) -> &[u8] {
        let form = match (version, named) {
            (Version::V31 | Version::V311, _) => 0,
            (Version::V5, Named::Name) => 1,
            (Version::V5, Named::Both(_)) => 2,
            (Version::V5, Named::Alias(_)) => 3,
        };
        let kind = form * 2 + usize::from(copy.retain);
        let known = self.made.get(kind).copied().flatten();
        let (from, to) = known.unwrap_or_else(|| {
            let from = self.bytes.len();
            codec::publish(&mut self.bytes, version, publication, &head(copy, named));
            let made = (from, self.bytes.len());
            if let Some(place) = self.made.get_mut(kind) {
                *place = Some(made);
            }
            made
        });
        self.bytes.get(from..to).unwrap_or_default()
    }
}

fn head(copy: Copy<'_>, named: Named) -> PublishHead<'_> {
    PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: copy.retain,
        packet_id: None,
        subscription_ids: copy.ids,
        message_expiry_s: copy.expiry_s,
        topic_alias: named.alias(),
        user: None,
    }
}
