//! What the connections of a worker are held to, and which of them are held.

use std::sync::Arc;

use access::{Bans, Policy};

use crate::hub::ConnId;
use crate::hub::standing::review::Review;

/// What connections are held to beside the limits of their classes.
#[derive(Debug)]
pub(in crate::hub) struct Guards {
    /// Who may say what.
    pub(in crate::hub) policy: Arc<Policy>,
    /// Who is kept out.
    pub(in crate::hub) bans: Arc<Bans>,
    /// How far the look at all connections is since something of that changed.
    pub(in crate::hub) review: Review,
    /// Connections that have a guard.
    pub(in crate::hub) guarded: usize,
    /// Connections that were too fast, until they are slow enough.
    pub(in crate::hub) paced: Vec<ConnId>,
}

impl Guards {
    /// Nobody is here, and nobody is kept out.
    pub(in crate::hub) fn new(policy: Arc<Policy>) -> Self {
        let (bans, review) = (Arc::default(), Review::default());
        Self { policy, bans, review, guarded: 0, paced: Vec::new() }
    }
}
