//! Hash maps for the cores: fast, and seeded per process, because client ids are chosen by strangers.
//!
//! No core iterates over a hash map (a lint forbids it), so the seed never shows in behaviour.

use std::hash::BuildHasher as _;

/// A hash map with a fast hasher whose seed differs from process to process.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;

/// A hash set with a fast hasher whose seed differs from process to process.
pub type HashSet<K> = hashbrown::HashSet<K, foldhash::fast::RandomState>;

/// A hash that is the same in every process: for placement (worker of a client, rendezvous), never for tables.
pub fn hash64(bytes: &[u8]) -> u64 {
    foldhash::quality::FixedState::with_seed(0x7469_6465_6761_7465).hash_one(bytes)
}
