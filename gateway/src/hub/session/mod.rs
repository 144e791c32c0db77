//! A client's session: who gets it, what it holds, whether it is still ours, and how a connection and it part.

pub(super) mod claim;
pub(super) mod connects;
pub(super) mod detach;
pub(super) mod doubt;
pub(super) mod epochs;
pub(super) mod errands;
pub(super) mod holder;
pub(super) mod lately;
pub(super) mod live;
pub(super) mod moving;
pub(super) mod numbers;
pub(super) mod presence;
pub(super) mod release;
pub(super) mod request;
pub(super) mod status;
pub(super) mod untold;
