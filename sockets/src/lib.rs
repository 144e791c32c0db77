//! Managed sockets: receive criteria and peering decisions.

mod receive;

pub use receive::{Chunk, Complete, InvalidCriteria, ReceiveCriteria, Receiving};
