//! What must hold of any bytes, as the unit tests of the rooms say it, for cargo-fuzz.

#[cfg(feature = "access")]
#[path = "../../access/src/tests/any_bytes.rs"]
mod access_any_bytes;
#[cfg(feature = "gateway")]
#[path = "../../gateway/src/transport/any_bytes_tests.rs"]
mod gateway_any_bytes;
#[path = "../../protocol/src/tests/any_bytes.rs"]
mod protocol_any_bytes;
#[path = "../../shadow/src/tests/any_bytes.rs"]
mod shadow_any_bytes;
mod targets;

// The files that are shared with the rooms say `crate` for their room.
#[cfg(feature = "access")]
use access::*;
use protocol::*;
use shadow::*;
#[cfg(feature = "gateway")]
use tidegate::transport;

pub use targets::*;
