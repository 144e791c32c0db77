//! MQTT packets: one model for every version, a strict borrowed decoder and an encoder that appends.

pub mod codec;
mod packet;
mod reason;

pub use packet::{
    Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Packet, Publish,
    PublishProperties, RetainHandling, SubAck, Subscribe, SubscribeOptions, UnsubAck, Unsubscribe,
    Version, WillProperties,
};
pub use reason::ReasonCode;
