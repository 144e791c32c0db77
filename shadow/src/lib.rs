//! What the fleet knows of a device: shadow documents, presence.
