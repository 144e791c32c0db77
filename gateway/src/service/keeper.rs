//! Looks after what has no owner: due wills, and the sessions of gateways that died.
//!
//! Every live gateway is the keeper of a share of the clients, by rendezvous hash; the store's compare-and-set makes two
//! keepers during a change harmless.

use std::time::Duration;

use bytes::Bytes;

use maintenance::rendezvous;
use protocol::session::{Owner, SessionRecord};
use protocol::{ClientId, GatewayId, SessionEpoch, Wall};
use store::{Doc, Expect, Pages, Put, Reader, Rev, Space, StoreError, Write};

use crate::hub::{ended, put_will};
use crate::presence::expect_back;
use crate::tail::left_by;

/// Documents read at a time.
const PAGE: usize = 512;

/// A will whose time has come.
#[derive(Debug)]
pub struct DueWill {
    /// Whose.
    pub client: ClientId,
    /// Its session, which nobody owns.
    pub record: Box<SessionRecord>,
    /// The revision of that session's document.
    pub rev: Rev,
}

/// The wills that are due and ours to publish.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn due_wills(
    reader: &mut dyn Reader,
    me: &GatewayId,
    live: &[GatewayId],
    now: Wall,
) -> Result<Vec<DueWill>, StoreError> {
    let (mut due, mut pages) = (Vec::new(), Pages::new(Space::Will, &[], PAGE));
    while let Some(page) = pages.next(reader)? {
        for (key, doc) in page {
            let Some((client, at, epoch)) = read_will(&key, &doc) else { continue };
            if at > now || rendezvous(&client, live) != Some(me) {
                continue;
            }
            let Some(session) = reader.get(Space::Session, &key)? else { continue };
            // What cannot be read is left as it is: its will waits until it can.
            let Some(record) = SessionRecord::decode(&session.value) else { continue };
            // A newer ownership means that the client came back; its claim forgot the will.
            if record.epoch == epoch && record.owner.is_none() {
                due.push(DueWill { client, record: Box::new(record), rev: session.rev });
            }
        }
    }
    Ok(due)
}

fn read_will(key: &[u8], doc: &Doc) -> Option<(ClientId, Wall, SessionEpoch)> {
    let client = ClientId::new(std::str::from_utf8(key).ok()?).ok()?;
    let (at, rest) = doc.value.split_first_chunk::<8>()?;
    let epoch = rest.first_chunk::<8>()?;
    Some((client, Wall(u64::from_be_bytes(*at)), SessionEpoch(u64::from_be_bytes(*epoch))))
}

/// Writes off what gateways that died still own, and what has expired: each session whose owner `is_dead` loses it, its
/// will waits its delay. One that has expired is forgotten.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub fn orphans(
    reader: &mut dyn Reader,
    is_mine: &dyn Fn(&ClientId) -> bool,
    is_dead: &dyn Fn(&Owner) -> bool,
    (now, return_within): (Wall, Duration),
) -> Result<Vec<Write>, StoreError> {
    let (mut writes, mut pages) = (Vec::new(), Pages::new(Space::Session, &[], PAGE));
    while let Some(page) = pages.next(reader)? {
        for (key, doc) in page {
            let client = std::str::from_utf8(&key).ok().and_then(|k| ClientId::new(k).ok());
            let Some(client) = client.filter(|client| is_mine(client)) else { continue };
            // What cannot be read is left as it is; who follows the log says so.
            let Some(record) = SessionRecord::decode(&doc.value) else { continue };
            let session = StoredSession { client, key, rev: doc.rev, record };
            let mut write = Write::default();
            if let Some(owner) = session.record.owner.as_ref().filter(|owner| is_dead(owner)) {
                expect_back(reader, &session.client, owner, now.after(return_within), &mut write)?;
                session.write_off(now, &mut write);
            } else if session.has_expired(now) {
                session.forget(&mut write);
            } else {
                continue;
            }
            writes.push(write);
        }
    }
    Ok(writes)
}

/// A session as its document has it.
struct StoredSession {
    client: ClientId,
    key: Bytes,
    rev: Rev,
    record: SessionRecord,
}

impl StoredSession {
    /// Whether it is over, and owes nobody a will.
    fn has_expired(&self, now: Wall) -> bool {
        self.record.will.is_none() && self.record.is_over(now)
    }

    /// Takes it off its owner, which is dead: its will waits from now on. One without a rest is found expired by the next look.
    fn write_off(mut self, now: Wall, write: &mut Write) {
        let record = &mut self.record;
        record.owner = None;
        record.orphaned = true;
        // Whatever a gateway that was only cut off still writes for it is refused.
        record.epoch = ended(record.epoch);
        record.detached_at = Some(now);
        if let Some(will) = &record.will {
            let wait = Duration::from_secs(u64::from(will.delay_s.min(record.expiry_s)));
            write.puts.push(put_will(&self.client, now.after(wait), record.epoch));
        }
        tracing::debug!(
            client_id = self.client.as_str(),
            "a dead gateway's session is written off"
        );
        // A gateway that was only cut off must hear of it, whatever the session.
        write.puts.push(Put { announce: true, ..self.put(Some(self.record.encode())) });
    }

    /// Ends it.
    fn forget(self, write: &mut Write) {
        // Before the end: who follows the log must not forget it with the session.
        write.puts.extend(left_by(&self.client, &self.record));
        write.puts.push(Put { announce: self.record.no.0 != 0, ..self.put(None) });
    }

    /// Writes its document, if it is still the one that was read.
    fn put(&self, value: Option<Bytes>) -> Put {
        Put {
            space: Space::Session,
            key: self.key.clone(),
            value,
            expect: Expect::Rev(self.rev),
            announce: false,
        }
    }
}
