//! Who did what, when and why: entries that are only ever added, each sealed with the hash of the one before. The
//! oldest may be folded behind a checkpoint that the chain seals.

mod chain;
mod checkpoint;
mod entry;
mod tale;

#[cfg(test)]
mod tests;

pub use chain::{AuditHead, Broken, verify};
pub use checkpoint::{Checkpoint, CheckpointBroken};
pub use entry::{AuditEntry, AuditHash, AuditRecord, InvalidRecord};
pub use tale::TaleBroken;
