//! Positions: clients that ask for it are shown where in their queue they stand, and go on behind a position they show.

pub(super) mod resume;
pub(super) mod seal;
pub(super) mod show;
