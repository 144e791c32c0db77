//! What a device that is away is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{ClientId, Wall};

use crate::json::{ObjectWriter, put_array, put_text};

/// What is sent to a device that is away, by whatever way reaches it: why it should come, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeNotice<'a> {
    /// Whom.
    pub client: &'a ClientId,
    /// Who sent what waits, if a client did.
    pub sender: Option<&'a ClientId>,
    /// Under which topic.
    pub topic: &'a str,
    /// What waits, whole.
    pub payload: &'a [u8],
    /// Where to connect, the best first: where the sender is.
    pub addresses: &'a [Box<str>],
    /// When it was stored.
    pub at: Wall,
}

impl WakeNotice<'_> {
    /// What is sent, with so many bytes of the payload at most, in Base64.
    pub fn to_json(&self, excerpt_bytes: usize) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        body.text("clientId", self.client.as_str());
        if let Some(sender) = self.sender {
            body.text("senderId", sender.as_str());
        }
        body.text("topic", self.topic);
        let excerpt = self.payload.get(..excerpt_bytes).unwrap_or(self.payload);
        body.text("excerpt", &STANDARD.encode(excerpt));
        body.number("payloadSize", u64::try_from(self.payload.len()).unwrap_or(u64::MAX));
        put_array(body.member("addresses"), self.addresses, |out, text| put_text(out, text));
        body.number("timestamp", self.at.0);
        body.end();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_who_what_and_where_to() {
        let (client, sender) = (ClientId::new("c").unwrap(), ClientId::new("s").unwrap());
        let addresses = ["gw-1.example:8883".into(), "gw-2.example:8883".into()];
        let notice = WakeNotice {
            client: &client,
            sender: Some(&sender),
            topic: "a/b",
            payload: b"hello",
            addresses: &addresses,
            at: Wall(7),
        };
        assert_eq!(
            notice.to_json(3),
            r#"{"clientId":"c","senderId":"s","topic":"a/b","excerpt":"aGVs","payloadSize":5,"addresses":["gw-1.example:8883","gw-2.example:8883"],"timestamp":7}"#
        );
        let nobody = WakeNotice { sender: None, addresses: &[], ..notice };
        assert_eq!(
            nobody.to_json(99),
            r#"{"clientId":"c","topic":"a/b","excerpt":"aGVsbG8=","payloadSize":5,"addresses":[],"timestamp":7}"#
        );
    }
}
