//! Fences of gateways that are not alive: one that was only frozen may still store what it routed before, for a session that is
//! over meanwhile and whose estate is gone, so that nobody would give it to others.
//!
//! Each has a document that counts how often others raised its fence. What it routes to members of shared groups is stored only
//! if that stands as it stood when it was routed. So once a fence is raised, and the log read up to there, nothing of before that
//! comes any more; its owner learns of it by the log, and routes by what the log said until then.

use std::time::Duration;

use bytes::Bytes;
use protocol::{GatewayId, HashMap, HashSet, LogSeq};
use store::{Check, Expect, Pages, Put, Reader, Space, StoreError};

use super::follower::{Follower, Letter, Letters};
use crate::hub::Look;

/// The fences that were raised, as the log tells.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// How often, and by which commit the last time.
    raised: HashMap<GatewayId, (u64, LogSeq)>,
    /// Those that this gateway raises, until the log says so or they are looked at again.
    under_way: HashSet<GatewayId>,
    /// Not all of the log is in force: the routes still know what ended before our own fence was raised the last time.
    behind: bool,
}

/// Gateways that are read at a time.
const PAGE: usize = 1024;

/// That a gateway's fence was raised so often: what goes with all that it routes to members of shared groups.
pub(crate) fn fence_check(gateway: Bytes, raised: u64) -> Check {
    Check { space: Space::Lease, key: gateway, expect: expect(raised) }
}

const fn expect(raised: u64) -> Expect {
    match raised {
        0 => Expect::Absent,
        raised => Expect::Prefix(raised.to_be_bytes()),
    }
}

impl Fences {
    /// Forgets all of them: they are read anew, and so is what our own one vouches for.
    pub(super) fn clear(&mut self) {
        *self = Self { behind: true, ..Self::default() };
    }

    /// Time has passed: what was to be raised and is not may not have been stored.
    pub(super) fn look_again(&mut self) {
        self.under_way.clear();
    }

    /// The write that raises one.
    fn raise(&self, gateway: &GatewayId) -> Put {
        let before = self.raised.get(gateway).map_or(0, |(raised, _)| *raised);
        let value = Bytes::copy_from_slice(&before.saturating_add(1).to_be_bytes());
        let key = Bytes::copy_from_slice(gateway.as_str().as_bytes());
        let (space, expect) = (Space::Lease, expect(before));
        Put { space, key, value: Some(value), expect, announce: true }
    }
}

impl Follower {
    /// A fence was raised.
    pub(super) fn apply_fence(&mut self, key: &[u8], value: Option<&Bytes>) {
        let gateway = std::str::from_utf8(key).ok().and_then(|text| GatewayId::new(text).ok());
        let Some(gateway) = gateway else { return };
        let raised = value.and_then(|stored| Some(u64::from_be_bytes(*stored.first_chunk()?)));
        let raised = raised.unwrap_or_default();
        if gateway == self.gateway && !self.fences.behind {
            self.tables.change_routes(|routes| routes.set_fence(raised));
        }
        self.fences.under_way.remove(&gateway);
        let at = if self.loading { LogSeq(0) } else { LogSeq(self.applied().0 + 1) };
        self.fences.raised.insert(gateway, (raised, at));
    }

    /// All of the log is in force: what is routed from now on may be stored by our own fence as it stands.
    pub(super) fn settle_fence(&mut self) {
        if std::mem::take(&mut self.fences.behind) {
            let raised = self.fences.raised.get(&self.gateway).map_or(0, |(raised, _)| *raised);
            self.tables.change_routes(|routes| routes.set_fence(raised));
        }
    }

    /// Whether nothing comes any more, once the log is read, of what any gateway routed before a commit that every live one goes
    /// by, as was told until `good_until`. If one that is not alive stands in the way its fence is raised.
    pub(super) fn holds_for_all(
        &mut self,
        since: LogSeq,
        good_until: Duration,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<bool, StoreError> {
        let Some([now, before]) = self.tables.waited_for(good_until) else { return Ok(false) };
        let is_live = |look: &Look, gateway: &GatewayId| look.live.contains(gateway);
        let mut all = true;
        for gateway in known_gateways(reader)? {
            if gateway == self.gateway {
                continue;
            }
            if is_live(&now, &gateway) {
                // If it has only just come, it may not have been waited for.
                all &= is_live(&before, &gateway);
            } else if self.fences.raised.get(&gateway).is_none_or(|(_, at)| *at < since) {
                all = false;
                if self.fences.under_way.insert(gateway.clone()) {
                    out.push((0, Letter::Fence(self.fences.raise(&gateway))));
                }
            }
        }
        Ok(all)
    }
}

/// Every gateway that has a record, alive or not.
fn known_gateways(reader: &mut dyn Reader) -> Result<Vec<GatewayId>, StoreError> {
    let (mut known, mut pages) = (Vec::new(), Pages::new(Space::Gateway, &[], PAGE));
    while let Some(page) = pages.next(reader)? {
        let ids = page.iter().filter_map(|(key, _)| std::str::from_utf8(key).ok());
        known.extend(ids.filter_map(|text| GatewayId::new(text).ok()));
    }
    Ok(known)
}
