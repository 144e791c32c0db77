/// Quality of service of a publication or a subscription `[MQTT5-4.3]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Delivered at most once, never acknowledged.
    AtMostOnce = 0,
    /// Acknowledged by PUBACK; may repeat.
    AtLeastOnce = 1,
    /// Delivered once, by the four-packet exchange.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level for its two wire bits; 3 is malformed `[MQTT5-3.3.1-4]`.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two wire bits.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}
