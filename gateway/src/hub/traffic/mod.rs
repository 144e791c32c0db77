//! Publications on their way: who wants them, who sends them, to whom they go in which form, and who gets what another left.

pub(super) mod aliases;
pub(super) mod deliver;
pub(super) mod dispatch;
pub(super) mod drops;
pub(super) mod encode;
mod exchange;
pub(super) mod flows;
pub(super) mod owing;
pub(super) mod passing;
pub(super) mod post;
pub(super) mod publish;
pub(super) mod refused;
pub(super) mod returned;
pub(super) mod route_cache;
mod steps;
mod stuck;
pub(super) mod subscribe;
pub(super) mod wordless;
