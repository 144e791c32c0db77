//! What a table of routes says of one topic.

use protocol::session::Full;
use protocol::{QoS, Refs, SessionNo};
use smallvec::SmallVec;

use crate::{Bits, GroupKey, SharedGroup};

/// What the fleet wants of one topic. Good as long as [`Routes::changes`](crate::Routes::changes) say so.
#[derive(Debug, Default)]
pub struct FleetRoute {
    /// Workers with a plain subscriber.
    pub workers: Bits<u64>,
    /// Peer gateways with a plain subscriber.
    pub peers: Bits<u128>,
    /// References for a publication at QoS 0, 1 and 2.
    pub refs: [Refs; 3],
    /// Sessions in `refs` that must not get what they published themselves.
    pub no_local: SmallVec<[SessionNo; 1]>,
    /// Shared groups; each gives the publication to one member.
    pub groups: Vec<(GroupKey, SharedGroup)>,
    /// Matching sessions that get nothing at QoS 1 and 2, since their queues are full.
    pub missing: SmallVec<[Missing; 1]>,
    /// Steps that it took to find all this.
    pub steps: usize,
    /// [`Routes::fence`](crate::Routes::fence) as it was then.
    pub fence: u64,
}

/// A session that should get a publication and whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub session: SessionNo,
    /// Why, and whether the publisher is refused for it.
    pub full: Full,
    /// Whether it does not want what it published itself.
    pub no_local: bool,
}

/// Every level, in the order of [`FleetRoute::refs`].
pub(crate) const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl FleetRoute {
    /// References for a publication at this level.
    pub const fn refs_of(&self, publication: QoS) -> &Refs {
        let [never, once, twice] = &self.refs;
        match publication {
            QoS::AtMostOnce => never,
            QoS::AtLeastOnce => once,
            QoS::ExactlyOnce => twice,
        }
    }
}
