//! Session numbers in blocks: one compare-and-set gives a worker thousands of them.

use bytes::Bytes;

use store::{Doc, Expect, Put, Rev, Space, Write};

/// The key of the counter.
pub const KEY: &[u8] = b"session_no";
/// Numbers in a block. By the place of its first block a worker marks its ownerships, so this never changes.
const BLOCK: u32 = 4096;

/// The write that takes the next block, and the block: from, and the first that is not ours. `None` when 2^32 sessions have lived.
pub fn take(stands: Option<&Doc>) -> Option<(Write, (u32, u32))> {
    let (rev, next): (Option<Rev>, u32) = match stands {
        None => (None, 1),
        Some(doc) => (Some(doc.rev), u32::from_be_bytes(doc.value.get(..4)?.try_into().ok()?)),
    };
    let end = next.checked_add(BLOCK)?;
    let mut write = Write::default();
    write.puts.push(Put {
        space: Space::Counter,
        key: Bytes::from_static(KEY),
        value: Some(Bytes::copy_from_slice(&end.to_be_bytes())),
        expect: rev.map_or(Expect::Absent, Expect::Rev),
        announce: false,
    });
    Some((write, (next, end)))
}
