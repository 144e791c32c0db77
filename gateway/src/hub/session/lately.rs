//! Clients that left lately, and what the store holds of them since: who comes back soon need not be looked up first. Nothing
//! rests on it: a claim expects all of it to be as it is remembered, and if it is not, looks as any other.

use bytes::Bytes;
use protocol::{ClientId, Now, SessionEpoch};
use store::{Expect, Rev};

use crate::hub::Hub;
use crate::hub::recent::Recent;
use crate::hub::session::presence::PresenceFound;

/// What stands of a client whose session ended with its connection, besides no session.
#[derive(Debug)]
pub(in crate::hub) struct Trace {
    /// The ownership that ended.
    pub(in crate::hub) epoch: SessionEpoch,
    /// The record of its presence; none if none is kept.
    pub(in crate::hub) presence: Option<Bytes>,
    /// What it was stored at; none while it is on its way.
    pub(in crate::hub) rev: Option<Rev>,
}

/// The clients that left last, some two thousand of them.
#[derive(Debug)]
pub(in crate::hub) struct Lately(Recent<ClientId, Trace>);

/// Clients in one half.
const HALF: usize = 1_024;
/// Bytes of a record that is worth its memory: most have a tenth of this.
const RECORD_BYTES: usize = 2_048;

impl Default for Lately {
    fn default() -> Self {
        Self(Recent::new(HALF, |_| 1))
    }
}

impl Lately {
    /// A client leaves.
    pub(in crate::hub) fn note(&mut self, client: &ClientId, trace: Trace) {
        if trace.presence.as_ref().is_some_and(|record| record.len() > RECORD_BYTES) {
            return self.forget(client);
        }
        self.0.put(client.clone(), trace);
    }

    /// What a client left is stored, at this revision; or it is not.
    pub(in crate::hub) fn settle(
        &mut self,
        client: &ClientId,
        epoch: SessionEpoch,
        rev: Option<Rev>,
    ) {
        match self.0.get_mut(client).filter(|trace| trace.epoch == epoch) {
            Some(trace) if rev.is_some() => trace.rev = rev,
            Some(_) => self.forget(client),
            None => {}
        }
    }

    /// What it left is something else by now, or may be.
    pub(in crate::hub) fn forget(&mut self, client: &ClientId) {
        drop(self.0.take(client));
    }

    fn take(&mut self, client: &ClientId) -> Option<Trace> {
        self.0.take(client)
    }
}

impl Hub {
    /// What stands of the presence of a client that has no session any more, as far as that is remembered; none if it must be
    /// looked up, or if what its coming tells must wait. The write that ended its session may be on its way: what is written now
    /// is written behind it.
    pub(in crate::hub) fn take_trace(
        &mut self,
        client: &ClientId,
        now: Now,
    ) -> Option<Option<PresenceFound>> {
        let trace = self.lately.take(client)?;
        if self.must_wait_to_tell(now) {
            return None;
        }
        let ends = self.live(client).map(|live| (live.leaving, live.epoch));
        let behind_it = ends == Some((true, trace.epoch));
        let stored = ends.is_none() && !self.giving_up.contains(client);
        // Whether one is kept may have changed meanwhile.
        if trace.presence.is_some() != self.config.presence.is_on() {
            return None;
        }
        let fence = |record: &Bytes| record.first_chunk().copied().map(Expect::Prefix);
        let expect = match trace.rev {
            Some(rev) if stored => Some(Expect::Rev(rev)),
            None if behind_it => trace.presence.as_ref().map_or(Some(Expect::Any), fence),
            Some(_) | None => None,
        }?;
        Some(trace.presence.map(|record| PresenceFound::remembered(record, expect)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(epoch: u64) -> Trace {
        Trace { epoch: SessionEpoch(epoch), presence: None, rev: None }
    }

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    #[test]
    fn what_was_not_stored_or_is_of_another_ownership_is_not_remembered() {
        let mut lately = Lately::default();
        let who = client("c");
        lately.note(&who, trace(7));
        lately.settle(&who, SessionEpoch(6), None);
        lately.settle(&who, SessionEpoch(7), Some(Rev(3)));
        assert_eq!(lately.take(&who).unwrap().rev, Some(Rev(3)));
        lately.note(&who, trace(8));
        lately.settle(&who, SessionEpoch(8), None);
        assert!(lately.take(&who).is_none());
        let large = Trace { presence: Some(vec![0; RECORD_BYTES + 1].into()), ..trace(9) };
        lately.note(&who, large);
        assert!(lately.take(&who).is_none());
    }
}
