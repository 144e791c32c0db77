//! What a connection may do and whether it may stay: identity, rights, pace, seats, bans, silence.

pub(super) mod authenticate;
pub(super) mod bans;
pub(super) mod guards;
pub(super) mod pace;
pub(super) mod review;
pub(super) mod rights;
pub(super) mod seats;
pub(super) mod silence;
