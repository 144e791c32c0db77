//! Devices that behave, and misbehave, on purpose.
