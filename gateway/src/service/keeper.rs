//! Looks after what has no owner: due wills, and the sessions of gateways that died.
//!
//! Every live gateway is the keeper of a share of the clients, by rendezvous hash; the store's compare-and-set makes two
//! keepers during a change harmless.

use std::time::Duration;

use bytes::Bytes;

use maintenance::rendezvous;
use protocol::session::{Owner, SessionRecord};
use protocol::{ClientId, GatewayId, SessionEpoch, Wall};
use store::{Doc, Expect, Put, Reader, Rev, Space, StoreError, Write};

use crate::hub::ended;
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
    let mut due = Vec::new();
    let mut after: Option<Bytes> = None;
    loop {
        let page = reader.scan(Space::Will, &[], after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(due) };
        after = Some(last.clone());
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
    let mut writes = Vec::new();
    let mut after: Option<Bytes> = None;
    loop {
        let page = reader.scan(Space::Session, &[], after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(writes) };
        after = Some(last.clone());
        for (key, doc) in page {
            let client = std::str::from_utf8(&key).ok().and_then(|k| ClientId::new(k).ok());
            let Some(client) = client.filter(|client| is_mine(client)) else { continue };
            // What cannot be read is left as it is; who follows the log says so.
            let Some(record) = SessionRecord::decode(&doc.value) else { continue };
            let dead = record.owner.as_ref().is_some_and(is_dead);
            let expired = record.will.is_none() && record.is_over(now);
            if dead || expired {
                let mut write = Write::default();
                if let Some(owner) = record.owner.as_ref().filter(|_| dead) {
                    expect_back(reader, &client, owner, now.after(return_within), &mut write)?;
                }
                write_off(&client, (key, doc.rev), record, dead, now, &mut write);
                writes.push(write);
            }
        }
    }
}

fn write_off(
    client: &ClientId,
    (key, rev): (Bytes, Rev),
    mut record: SessionRecord,
    dead: bool,
    now: Wall,
    write: &mut Write,
) {
    // A gateway that was only cut off must hear of it, whatever the session.
    let announce = record.no.0 != 0 || dead;
    let mut put = Put {
        space: Space::Session,
        key: key.clone(),
        value: None,
        expect: Expect::Rev(rev),
        announce,
    };
    if dead {
        record.owner = None;
        record.orphaned = true;
        // Whatever a gateway that was only cut off still writes for it is refused.
        record.epoch = ended(record.epoch);
        record.detached_at = Some(now);
        if let Some(will) = &record.will {
            let wait = Duration::from_secs(u64::from(will.delay_s.min(record.expiry_s)));
            let mut value = now.after(wait).0.to_be_bytes().to_vec();
            value.extend_from_slice(&record.epoch.0.to_be_bytes());
            write.puts.push(Put {
                space: Space::Will,
                key,
                value: Some(value.into()),
                expect: Expect::Any,
                announce: false,
            });
        }
        // One without a rest is found expired by the next look, and deleted then.
        put.value = Some(record.encode());
        tracing::debug!(client_id = client.as_str(), "a dead gateway's session is written off");
    } else {
        // Before the end: who follows the log must not forget it with the session.
        write.puts.extend(left_by(client, &record));
    }
    write.puts.push(put);
}
