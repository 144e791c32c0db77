//! The plan: what the scheduler makes of policies, freezes, operations and the fleet, and why it is as it is.

mod agenda;
mod answer;
mod basis;
mod gates;
mod look;
mod news;
mod publish;
#[cfg(test)]
mod tests;
mod told;

pub use answer::{HeldUp, HostWhy, PlanPreview, VisitWhy, WhatIf};
pub use basis::{BasedOn, PlanAnswer, PlanBasis};
pub use news::PlanNews;

pub(super) use gates::Gates;
pub(super) use publish::Planning;
pub(super) use told::tell_needs;
