//! Publishing: answered as PUBACK would be, once it is stored for every persistent session that matches.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use protocol::Publication;
use protocol::mqtt::codec::Carried;
use shadow::{PublishAim, PublishCall, publish_aim, user_properties};
use tokio::sync::oneshot;

use super::answer::{Answer, CallRefusal, done};
use super::paces::TooFast;
use super::requests::Asked;
use super::shadows;
use crate::hub::{Post, Posted};

/// What stands in the headers of a publication.
#[derive(Debug, Default, PartialEq, Eq)]
struct Headers {
    user: Vec<(String, String)>,
    correlation_data: Option<Vec<u8>>,
    payload_is_utf8: bool,
}

impl Headers {
    fn read(headers: &HeaderMap) -> Result<Self, CallRefusal> {
        let text = |name: &'static str| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(CallRefusal::invalid(format!("header {name} is not valid"))),
        };
        let wrong = |name: &str| CallRefusal::invalid(format!("header {name} is not valid"));
        let user = text(USER_PROPERTIES)?
            .map(|it| user_properties(it).ok_or_else(|| wrong(USER_PROPERTIES)));
        let correlation = text(CORRELATION_DATA)?;
        let correlation =
            correlation.map(|it| STANDARD.decode(it).map_err(|_| wrong(CORRELATION_DATA)));
        let payload_is_utf8 = match text(PAYLOAD_FORMAT)? {
            None | Some("UNSPECIFIED_BYTES") => false,
            Some("UTF8_DATA") => true,
            Some(_) => return Err(wrong(PAYLOAD_FORMAT)),
        };
        Ok(Self {
            user: user.transpose()?.unwrap_or_default(),
            correlation_data: correlation.transpose()?,
            payload_is_utf8,
        })
    }

    /// As MQTT carries them, with what stands in the query.
    fn carried(&self, call: &PublishCall) -> Result<Vec<u8>, CallRefusal> {
        let user: Vec<_> = self.user.iter().map(|(name, value)| (&**name, &**value)).collect();
        let carried = Carried {
            payload_is_utf8: self.payload_is_utf8,
            content_type: call.content_type.as_deref(),
            response_topic: call.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            user: &user,
        };
        let what = "the content type, the response topic or a property is not valid";
        carried.encode().ok_or_else(|| CallRefusal::invalid(what))
    }
}

/// A message as a request has it, and what must be looked at before it is taken.
#[derive(Debug)]
pub(super) struct Message {
    /// What the body holds.
    pub(super) publication: Publication,
    /// How many user properties it carries.
    pub(super) user_count: usize,
    /// Whether its payload is said to be UTF-8.
    pub(super) payload_is_utf8: bool,
}

impl Message {
    /// Reads what stands in query, headers and body.
    pub(super) fn read(
        headers: &HeaderMap,
        call: &PublishCall,
        body: &[u8],
    ) -> Result<Self, CallRefusal> {
        let headers = Headers::read(headers)?;
        let properties = headers.carried(call)?;
        let topic = call.topic.as_str();
        Ok(Self {
            publication: Publication::new(topic, &properties, body, call.qos, call.retain),
            user_count: headers.user.len(),
            payload_is_utf8: headers.payload_is_utf8,
        })
    }
}

/// Publishes what the body holds.
pub(super) async fn publish(
    asked: &Asked<'_>,
    call: PublishCall,
    body: Bytes,
) -> Result<Answer, CallRefusal> {
    let message = Message::read(asked.headers, &call, &body)?;
    let Message { publication, user_count, payload_is_utf8 } = message;
    let limits = asked.limits();
    asked.in_pace(publication.len_bytes(), &limits)?;
    let topic = call.topic.as_str();
    asked.may_publish("publish", (topic, call.qos, call.retain))?;
    if let Ok(PublishAim::Request(request)) = publish_aim(topic, call.retain) {
        let what = (request.operation, &*body);
        return shadows::request(asked, request.key().into(), what).await.map(|_| done());
    }
    let (answer, posted) = oneshot::channel();
    let expires_in = call.expiry_s.map(|seconds| Duration::from_secs(seconds.into()));
    let limits = Some(limits);
    asked.post(Post {
        publication,
        expires_in,
        user_count,
        payload_is_utf8,
        limits,
        fence: None,
        answer,
    });
    match posted.await {
        Ok(Posted::Taken) => Ok(done()),
        Ok(Posted::Refused(reason)) => Err(CallRefusal::of_reason(reason)),
        Ok(Posted::NotStored) => Err(CallRefusal::unavailable("it could not be stored")),
        Err(_) => Err(CallRefusal::unavailable("the gateway is going away").closing()),
    }
}

impl From<TooFast> for CallRefusal {
    fn from(what: TooFast) -> Self {
        match what {
            TooFast::Requests => Self::throttled("too many requests"),
            TooFast::Publications => Self::throttled("too many publications, or too many bytes"),
            TooFast::TooLarge => Self::too_large(),
        }
    }
}

const USER_PROPERTIES: &str = "x-amz-mqtt5-user-properties";
const CORRELATION_DATA: &str = "x-amz-mqtt5-correlation-data";
const PAYLOAD_FORMAT: &str = "x-amz-mqtt5-payload-format-indicator";

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Headers, u16> {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        let headers = pairs.iter().map(|(name, text)| ((*name).parse().unwrap(), value(text)));
        Headers::read(&headers.collect()).map_err(|refusal| refusal.status())
    }

    #[test]
    fn what_stands_in_headers_is_read() {
        let user = STANDARD.encode(r#"[{"a":"1"}]"#);
        let all =
            [(USER_PROPERTIES, &*user), (CORRELATION_DATA, "AAE="), (PAYLOAD_FORMAT, "UTF8_DATA")];
        let whole = Headers {
            user: vec![("a".to_owned(), "1".to_owned())],
            correlation_data: Some(vec![0, 1]),
            payload_is_utf8: true,
        };
        assert_eq!(read(&all), Ok(whole));
        assert_eq!(read(&[]), Ok(Headers::default()));
        for wrong in [
            (USER_PROPERTIES, "x"),
            (USER_PROPERTIES, "ä"),
            (CORRELATION_DATA, "%"),
            (PAYLOAD_FORMAT, "utf8"),
        ] {
            assert_eq!(read(&[wrong]), Err(400), "{wrong:?}");
        }
    }
}
