//! Frames between gateways.
