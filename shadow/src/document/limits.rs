use std::time::Duration;

/// What a shadow may be. The default is what AWS grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowLimits {
    /// Longest request in bytes. Longer: refused with 413 unread.
    pub request_bytes: usize,
    /// Most bytes of desired and reported together as compact JSON, without metadata. More: refused with 413.
    pub document_bytes: usize,
    /// How deep objects and arrays may lie in desired or reported, 1 to 32. Deeper: refused with 400.
    pub nesting: usize,
    /// Longest client token in bytes. Longer: refused with 400.
    pub token_bytes: usize,
    /// How many named shadows a thing may have; 0 is no limit. More: refused with 400. Ours; AWS publishes none.
    pub named_shadows: usize,
    /// How long a deleted shadow's version is known, so that one created again goes on from there.
    pub tombstone: Duration,
}

impl Default for ShadowLimits {
    fn default() -> Self {
        Self {
            request_bytes: 131_072,
            document_bytes: 8_192,
            nesting: 8,
            token_bytes: 64,
            named_shadows: 100,
            tombstone: Duration::from_hours(48),
        }
    }
}
