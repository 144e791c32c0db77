//! Our codec against those of others: what they refuse, what they accept, and what they make of our packets.
//!
//! This package is a workspace of its own, so that no foreign codec comes near the product. From `protocol` it takes the
//! lists of packets and the mutation that the unit tests there use.

mod difference;
mod foreign;
mod known;
mod listed;
#[path = "../../../protocol/src/mqtt/codec/tests/lists/mod.rs"]
#[expect(dead_code, reason = "how a packet is answered is our own affair")]
mod lists;
#[path = "../../../protocol/src/tests/mutation.rs"]
#[expect(
    dead_code,
    reason = "a random source and one damage at a time are all that is needed here"
)]
mod mutation;
mod random_packet;

// The files that are shared with `protocol` say `crate` for it.
use protocol::mqtt;

pub use difference::{Difference, Way, difference};
pub use foreign::{FOREIGN, Foreign, Verdict, ours};
pub use known::{KNOWN, Known};
pub use listed::{Listed, malformed, unusual};
pub use random_packet::{Sample, damaged, sample};
