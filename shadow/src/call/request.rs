//! Calls of AWS's data plane, as method, path, query and headers ask for them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{ClientId, QoS, TopicName};

use super::uri::{Query, decode};
use crate::json::{Json, read};
use crate::topic::{OwnedKey, ShadowKey, ShadowName, ThingName};

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The document of a shadow.
    GetShadow(OwnedKey),
    /// The change of a shadow that the body says.
    UpdateShadow(OwnedKey),
    /// Its end.
    DeleteShadow(OwnedKey),
    /// The names of a thing's named shadows; the key is its classic one.
    ListNamedShadows(OwnedKey, Page),
    /// A publication whose payload is the body.
    Publish(PublishCall),
    /// A retained message.
    GetRetained(TopicName),
    /// What retained messages there are.
    ListRetained(Page),
    /// What is known of a client's connection.
    GetConnection {
        /// Whose.
        client: ClientId,
        /// Whether to say where it comes from.
        with_socket: bool,
    },
    /// Its end.
    DeleteConnection {
        /// Whose.
        client: ClientId,
        /// Whether its session ends as well.
        clean_session: bool,
        /// Whether its will is dropped.
        prevent_will: bool,
    },
    /// What a client is subscribed to.
    ListSubscriptions(ClientId, Page),
    /// A message, the body, for one client that is there.
    SendMessage {
        /// Whom.
        client: ClientId,
        /// Under which topic and with what besides the body; at QoS 1 the answer waits until the client has acknowledged it.
        message: PublishCall,
        /// For how long at most to wait for that, 1 to 15 seconds.
        timeout: Duration,
    },
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Behind which entry it begins.
    pub after: Option<Box<str>>,
    /// How many entries it has at most.
    pub size: usize,
}

/// A publication by HTTP, but for what stands in headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishCall {
    /// Where to.
    pub topic: TopicName,
    /// At most once, or at least once.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// The content type, if any.
    pub content_type: Option<Box<str>>,
    /// The response topic, if any.
    pub response_topic: Option<Box<str>>,
    /// Seconds that it is worth delivering, if limited.
    pub expiry_s: Option<u32>,
}

/// Why a request is none; the requester's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// There is no such resource.
    #[error("there is no such resource")]
    Path,
    /// The resource has no such method.
    #[error("method is not allowed")]
    Method,
    /// A name in the path is none.
    #[error("{0} in the path is not valid")]
    Name(&'static str),
    /// A parameter of the query is not what it should be.
    #[error("parameter {0} is not valid")]
    Parameter(&'static str),
}

impl CallFault {
    /// The status over HTTP.
    pub const fn code(self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method => 405,
            Self::Name(_) | Self::Parameter(_) => 400,
        }
    }

    /// The value of the header `x-amzn-ErrorType`.
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Path => "ResourceNotFoundException",
            Self::Method => "MethodNotAllowedException",
            Self::Name(_) | Self::Parameter(_) => "InvalidRequestException",
        }
    }
}

impl Call {
    /// What it is called in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GetShadow(_) => "get_shadow",
            Self::UpdateShadow(_) => "update_shadow",
            Self::DeleteShadow(_) => "delete_shadow",
            Self::ListNamedShadows(..) => "list_named_shadows",
            Self::Publish(_) => "publish",
            Self::GetRetained(_) => "get_retained",
            Self::ListRetained(_) => "list_retained",
            Self::GetConnection { .. } => "get_connection",
            Self::DeleteConnection { .. } => "delete_connection",
            Self::ListSubscriptions(..) => "list_subscriptions",
            Self::SendMessage { .. } => "send_message",
        }
    }

    /// Reads the beginning of a request; the path as it was sent, the query without its question mark.
    ///
    /// # Errors
    /// [`CallFault`], by what is wrong first.
    pub fn parse(method: &str, path: &str, query: &str) -> Result<Self, CallFault> {
        let query = Query(query);
        let path = path.strip_prefix('/').ok_or(CallFault::Path)?;
        let (family, rest) = path.split_once('/').unwrap_or((path, ""));
        match family {
            "things" => {
                let thing = rest.strip_suffix("/shadow").ok_or(CallFault::Path)?;
                Self::of_shadow(method, thing, query)
            }
            "api" => {
                let thing = rest.strip_prefix("things/shadow/ListNamedShadowsForThing/");
                let thing = thing.ok_or(CallFault::Path)?;
                only(method, "GET")?;
                let key = read_key(thing, None)?;
                Ok(Self::ListNamedShadows(key, read_page(query, ("pageSize", 100, 100))?))
            }
            "topics" => {
                only(method, "POST")?;
                Ok(Self::Publish(read_publish(rest, query)?))
            }
            "retainedMessage" if rest.is_empty() => {
                only(method, "GET")?;
                Ok(Self::ListRetained(read_page(query, ("maxResults", 200, 200))?))
            }
            "retainedMessage" => {
                only(method, "GET")?;
                Ok(Self::GetRetained(read_topic(rest)?))
            }
            "connections" => Self::of_connection(method, rest, query),
            _ => Err(CallFault::Path),
        }
    }

    fn of_shadow(method: &str, thing: &str, query: Query<'_>) -> Result<Self, CallFault> {
        let name = query.text("name").map_err(|()| CallFault::Parameter("name"))?;
        let key = read_key(thing, name.as_deref())?;
        match method {
            "GET" => Ok(Self::GetShadow(key)),
            "POST" => Ok(Self::UpdateShadow(key)),
            "DELETE" => Ok(Self::DeleteShadow(key)),
            _ => Err(CallFault::Method),
        }
    }

    fn of_connection(method: &str, rest: &str, query: Query<'_>) -> Result<Self, CallFault> {
        let (client, part) = rest.split_once('/').unwrap_or((rest, ""));
        let client = decode(client).and_then(|client| ClientId::new(&client).ok());
        let client = client.ok_or(CallFault::Name("client id"))?;
        let truth = |name| query.truth(name).map_err(|()| CallFault::Parameter(name));
        match (part, method) {
            ("", "GET") => {
                let with_socket = truth("includeSocketInformation")?;
                Ok(Self::GetConnection { client, with_socket })
            }
            ("", "DELETE") => Ok(Self::DeleteConnection {
                client,
                clean_session: truth("cleanSession")?,
                prevent_will: truth("preventWillMessage")?,
            }),
            ("subscriptions", "GET") => {
                let page = read_page(query, ("maxResults", SUBSCRIPTIONS, 200))?;
                Ok(Self::ListSubscriptions(client, page))
            }
            ("messages", "POST") => Self::of_message(client, query),
            ("" | "subscriptions" | "messages", _) => Err(CallFault::Method),
            _ => Err(CallFault::Path),
        }
    }

    fn of_message(client: ClientId, query: Query<'_>) -> Result<Self, CallFault> {
        let topic = query.text("topic").ok().flatten();
        let topic = topic.and_then(|topic| TopicName::new(&topic).ok());
        let topic = topic.ok_or(CallFault::Parameter("topic"))?;
        let timeout_s = query.number("timeout", 1..=MAX_TIMEOUT_S);
        let timeout_s = timeout_s.map_err(|()| CallFault::Parameter("timeout"))?;
        let confirmation = query.truth("confirmation");
        let is_confirmed = confirmation.map_err(|()| CallFault::Parameter("confirmation"))?;
        let qos = if is_confirmed { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let message = PublishCall {
            topic,
            qos,
            retain: false,
            content_type: read_text(query, "contentType")?,
            response_topic: read_text(query, "responseTopic")?,
            expiry_s: None,
        };
        let timeout = Duration::from_secs(timeout_s.unwrap_or(TIMEOUT_S));
        Ok(Self::SendMessage { client, message, timeout })
    }
}

fn only(method: &str, allowed: &str) -> Result<(), CallFault> {
    if method == allowed { Ok(()) } else { Err(CallFault::Method) }
}

fn read_key(thing: &str, shadow: Option<&str>) -> Result<OwnedKey, CallFault> {
    let thing = decode(thing).ok_or(CallFault::Name("thing name"))?;
    let thing = ThingName::new(&thing).map_err(|_| CallFault::Name("thing name"))?;
    let shadow = shadow.map(ShadowName::new).transpose();
    let shadow = shadow.map_err(|_| CallFault::Parameter("name"))?;
    Ok(ShadowKey { thing, shadow }.into())
}

fn read_topic(text: &str) -> Result<TopicName, CallFault> {
    let topic = decode(text).and_then(|topic| TopicName::new(&topic).ok());
    topic.ok_or(CallFault::Name("topic"))
}

fn read_text(query: Query<'_>, name: &'static str) -> Result<Option<Box<str>>, CallFault> {
    let text = query.text(name).map_err(|()| CallFault::Parameter(name))?;
    Ok(text.map(String::into_boxed_str))
}

/// A page whose size is in a parameter of this name, with what it is if nothing is said, and at most.
fn read_page(
    query: Query<'_>,
    (name, usual, most): (&'static str, u64, u64),
) -> Result<Page, CallFault> {
    let after = read_text(query, "nextToken")?.filter(|after| !after.is_empty());
    let asked = query.number(name, 1..=most).map_err(|()| CallFault::Parameter(name))?;
    let size = usize::try_from(asked.unwrap_or(usual)).map_err(|_| CallFault::Parameter(name))?;
    Ok(Page { after, size })
}

fn read_publish(topic: &str, query: Query<'_>) -> Result<PublishCall, CallFault> {
    let number = |name, most| query.number(name, 0..=most).map_err(|()| CallFault::Parameter(name));
    let expiry_s = number("messageExpiry", u64::from(u32::MAX))?;
    Ok(PublishCall {
        topic: read_topic(topic)?,
        qos: match number("qos", 1)? {
            None | Some(0) => QoS::AtMostOnce,
            Some(_) => QoS::AtLeastOnce,
        },
        retain: query.truth("retain").map_err(|()| CallFault::Parameter("retain"))?,
        content_type: read_text(query, "contentType")?,
        response_topic: read_text(query, "responseTopic")?,
        expiry_s: expiry_s.and_then(|seconds| u32::try_from(seconds).ok()),
    })
}

/// The header `x-amz-mqtt5-user-properties`: an array of objects with one text each, in Base64, or a text that is one, as
/// AWS's SDKs send what they are given as text. `None` if it is not.
pub fn user_properties(header: &str) -> Option<Vec<(String, String)>> {
    let text = String::from_utf8(STANDARD.decode(header).ok()?).ok()?;
    let Ok(Json::Text(array)) = read(&text) else { return pairs(&text) };
    pairs(&array)
}

fn pairs(array: &str) -> Option<Vec<(String, String)>> {
    let Ok(Json::Array(items)) = read(array) else { return None };
    let mut properties = Vec::new();
    for item in items {
        let Json::Object(members) = item else { return None };
        for (name, value) in members {
            let Json::Text(value) = value else { return None };
            properties.push((name.into(), value.into()));
        }
    }
    Some(properties)
}

/// Subscriptions on a page if nothing is said.
const SUBSCRIPTIONS: u64 = 20;
/// The longest that an answer to a direct message waits.
const MAX_TIMEOUT_S: u64 = 15;
/// How long it waits if nothing is said.
const TIMEOUT_S: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(thing: &str, shadow: Option<&str>) -> OwnedKey {
        let shadow = shadow.map(|name| ShadowName::new(name).unwrap());
        ShadowKey { thing: ThingName::new(thing).unwrap(), shadow }.into()
    }

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn client() -> ClientId {
        ClientId::new("c/1").unwrap()
    }

    #[test]
    fn every_call_of_the_model_is_read() {
        for (method, path, query, call) in [
            ("GET", "/things/pump%3A1/shadow", "", Call::GetShadow(key("pump:1", None))),
            ("POST", "/things/t/shadow", "name=%24n", Call::UpdateShadow(key("t", Some("$n")))),
            ("DELETE", "/things/t/shadow", "name=n", Call::DeleteShadow(key("t", Some("n")))),
            (
                "GET",
                "/api/things/shadow/ListNamedShadowsForThing/t",
                "pageSize=7&nextToken=n",
                Call::ListNamedShadows(key("t", None), Page { after: Some("n".into()), size: 7 }),
            ),
            ("GET", "/retainedMessage", "", Call::ListRetained(Page { after: None, size: 200 })),
            ("GET", "/retainedMessage/a%2Fb", "", Call::GetRetained(topic("a/b"))),
            ("GET", "/retainedMessage/a/b", "", Call::GetRetained(topic("a/b"))),
            (
                "GET",
                "/connections/c%2F1",
                "",
                Call::GetConnection { client: client(), with_socket: false },
            ),
            (
                "GET",
                "/connections/c%2F1",
                "includeSocketInformation=true",
                Call::GetConnection { client: client(), with_socket: true },
            ),
            (
                "DELETE",
                "/connections/c%2F1",
                "cleanSession=true",
                Call::DeleteConnection {
                    client: client(),
                    clean_session: true,
                    prevent_will: false,
                },
            ),
            (
                "GET",
                "/connections/c%2F1/subscriptions",
                "",
                Call::ListSubscriptions(client(), Page { after: None, size: 20 }),
            ),
        ] {
            assert_eq!(Call::parse(method, path, query), Ok(call), "{method} {path}?{query}");
        }
    }

    #[test]
    fn a_publication_has_its_properties() {
        let query = "qos=1&retain=true&contentType=text%2Fplain&responseTopic=r&messageExpiry=60";
        let full = PublishCall {
            topic: topic("a/b c"),
            qos: QoS::AtLeastOnce,
            retain: true,
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            expiry_s: Some(60),
        };
        assert_eq!(Call::parse("POST", "/topics/a%2Fb%20c", query), Ok(Call::Publish(full)));
        let header = STANDARD.encode(r#"[{"a":"1"},{"a":"2"}]"#);
        let pair = |value: &str| ("a".to_owned(), value.to_owned());
        assert_eq!(user_properties(&header), Some(vec![pair("1"), pair("2")]));
        let text = STANDARD.encode(r#""[{\"a\":\"1\"}]""#);
        assert_eq!(user_properties(&text), Some(vec![pair("1")]));
        for text in ["{}", "[1]", r#"[{"a":1}]"#, "["] {
            assert_eq!(user_properties(&STANDARD.encode(text)), None, "{text}");
        }
        assert_eq!(user_properties("%"), None);
    }

    #[test]
    fn a_message_for_one_client_has_its_properties() {
        let message = PublishCall {
            topic: topic("a/b"),
            qos: QoS::AtLeastOnce,
            retain: false,
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            expiry_s: None,
        };
        let query =
            "topic=a%2Fb&confirmation=true&timeout=15&contentType=text%2Fplain&responseTopic=r";
        let timeout = Duration::from_secs(15);
        let full = Call::SendMessage { client: client(), message: message.clone(), timeout };
        assert_eq!(Call::parse("POST", "/connections/c%2F1/messages", query), Ok(full));
        let plain = PublishCall {
            qos: QoS::AtMostOnce,
            content_type: None,
            response_topic: None,
            ..message
        };
        let timeout = Duration::from_secs(TIMEOUT_S);
        let plain = Call::SendMessage { client: client(), message: plain, timeout };
        assert_eq!(Call::parse("POST", "/connections/c%2F1/messages", "topic=a%2Fb"), Ok(plain));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        use CallFault::{Method, Name, Parameter, Path};
        for (method, path, query, fault) in [
            ("GET", "", "", Path),
            ("GET", "/", "", Path),
            ("GET", "/things/t", "", Path),
            ("GET", "/things/a/b/shadow", "", Name("thing name")),
            ("GET", "/things/%zz/shadow", "", Name("thing name")),
            ("GET", "/things//shadow", "", Name("thing name")),
            ("GET", "/things/t/shadow", "name=", Parameter("name")),
            ("GET", "/things/t/shadow", "name=a+b", Parameter("name")),
            ("PUT", "/things/t/shadow", "", Method),
            ("GET", "/api/things/t", "", Path),
            ("GET", "/topics/a", "", Method),
            ("POST", "/topics/a", "qos=2", Parameter("qos")),
            ("POST", "/topics/%23", "", Name("topic")),
            ("POST", "/topics/", "", Name("topic")),
            ("GET", "/retainedMessage", "maxResults=201", Parameter("maxResults")),
            ("GET", "/connections/", "", Name("client id")),
            ("GET", "/connections/c/subscriptions", "maxResults=0", Parameter("maxResults")),
            (
                "POST",
                "/connections/c/messages",
                "topic=a&confirmation=1",
                Parameter("confirmation"),
            ),
            ("POST", "/connections/c", "", Method),
            ("GET", "/connections/c/x", "", Path),
            ("DELETE", "/connections/c", "preventWillMessage=1", Parameter("preventWillMessage")),
            ("POST", "/connections/c/messages", "", Parameter("topic")),
            ("POST", "/connections/c/messages", "topic=a&timeout=16", Parameter("timeout")),
        ] {
            assert_eq!(Call::parse(method, path, query), Err(fault), "{method} {path}?{query}");
        }
        assert_eq!((Path.code(), Method.code(), Name("x").code()), (404, 405, 400));
        assert_eq!(Method.error_type(), "MethodNotAllowedException");
    }
}
