//! What is asked about the clients of the whole fleet, and about the things that they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{ClientId, Publication, Wall};
use serde::{Deserialize, Serialize};
use shadow::{InvalidThing, Presence, Thing, ThingName};

use crate::control::ControlError;

/// Clients and things of the fleet, whichever gateway serves them.
pub trait ClientControl: Send + Sync + std::fmt::Debug {
    /// A client's record; none if none is kept.
    ///
    /// # Errors
    /// The store does not answer.
    fn presence(&self, client: &ClientId) -> Result<Option<Presence>, ControlError>;

    /// Up to `max` records in order of client id, behind `after`; at most 1,000.
    ///
    /// # Errors
    /// The store does not answer.
    fn presences(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<(ClientId, Presence)>, ControlError>;

    /// What a client is subscribed to; none if it has no session.
    ///
    /// # Errors
    /// The store does not answer; or it is a session that ends with its connection, and its gateway does not.
    fn subscriptions(
        &self,
        client: &ClientId,
    ) -> Result<Option<Vec<SubscriptionStatus>>, ControlError>;

    /// Ends a client's connection at whichever gateway it is, in the name of an operator; answers once it has ended.
    ///
    /// # Errors
    /// There is no such connection, nor a session that is to end; or its gateway does not answer in time.
    fn send_away(
        &self,
        client: &ClientId,
        how: SendAwayRequest,
        by: &str,
    ) -> Result<SentAway, ControlError>;

    /// Gives a client that is connected, at whichever gateway, a message that nobody else gets, ahead of all that waits for
    /// it, as soon as it takes one. At QoS 1 it waits until the client has acknowledged it. All of this takes `patience` at most.
    ///
    /// # Errors
    /// It is not connected, or went meanwhile; or the store does not answer.
    fn give(
        &self,
        client: &ClientId,
        message: Publication,
        patience: Duration,
    ) -> Result<Given, ControlError>;

    /// One thing; none if it is not known.
    ///
    /// # Errors
    /// The store does not answer.
    fn thing(&self, name: &str) -> Result<Option<Thing>, ControlError>;

    /// Up to `max` things in order of name, behind `after`, that a search finds.
    ///
    /// # Errors
    /// The store does not answer; what is searched for is no search.
    fn things(
        &self,
        query: Option<&str>,
        after: Option<&str>,
        max: usize,
    ) -> Result<FoundThings, ControlError>;

    /// Writes things down, in the name of an operator; answers for each what became of it, in their order.
    ///
    /// # Errors
    /// One cannot be meant, then none is written down; or the store does not answer, then some may be.
    fn put_things(
        &self,
        things: Vec<ThingDocument>,
        when: PutWhen,
        by: &str,
    ) -> Result<Vec<PutThing>, ControlError>;

    /// Forgets a thing, in the name of an operator; none if it is not known. Its shadows stay.
    ///
    /// # Errors
    /// The store does not answer.
    fn remove_thing(&self, name: &str, by: &str) -> Result<Option<Thing>, ControlError>;
}

/// One client's connection, or how its last ones ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Client id.
    pub client_id: String,
    /// Whether it is there; also while it is on its way from one gateway to another.
    pub connected: bool,
    /// The gateway that holds the connection, or held it before it was moved.
    pub gateway: Option<String>,
    /// Since when it is there, in milliseconds since 1970; a move does not count.
    pub since_ms: Option<u64>,
    /// Until when it may arrive before it counts as gone, if it is on its way; in milliseconds since 1970.
    pub expected_until_ms: Option<u64>,
    /// Whom it speaks for: user, or the subject of its certificate.
    pub principal: Option<String>,
    /// Where it comes from, without the port.
    pub address: Option<String>,
    /// The thing that it is, if one of its name is known.
    pub thing: Option<String>,
    /// Whether it began without what was left of an earlier session.
    pub clean: Option<bool>,
    /// Seconds of silence that are allowed; 0 is any.
    pub keep_alive_s: Option<u16>,
    /// Seconds that its session outlives the connection.
    pub expiry_s: Option<u32>,
    /// Grows with each connection; the same in all events about one.
    pub version: Option<u64>,
    /// How its last connections ended, the latest first, at most 10.
    pub left: Vec<Left>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Why, in the words of lifecycle events.
    pub reason: String,
    /// When it had begun, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where.
    pub gateway: String,
}

impl ConnectionStatus {
    /// What a record says.
    pub fn of(client: &ClientId, presence: &Presence) -> Self {
        let now = presence.connection();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let left = presence.departures().map(|it| Left {
            reason: it.reason.as_str().to_owned(),
            since_ms: it.since.0,
            at_ms: it.at.0,
            gateway: it.gateway.gateway().as_str().to_owned(),
        });
        Self {
            client_id: client.as_str().to_owned(),
            connected: now.is_some(),
            gateway: now.map(|it| it.gateway.gateway().as_str().to_owned()),
            since_ms: now.map(|it| it.since.0),
            expected_until_ms: presence.expected_until().map(|at| at.0),
            principal: now.and_then(|it| text(&it.principal)),
            address: now.and_then(|it| text(&it.address)),
            thing: now.and_then(|it| it.thing.as_deref().and_then(text)),
            clean: now.map(|it| it.clean),
            keep_alive_s: now.map(|it| it.keep_alive_s),
            expiry_s: now.map(|it| it.expiry_s),
            version: presence.version(),
            left: left.collect(),
        }
    }

    /// Why it is not there, if it ever was.
    pub fn reason(&self) -> Option<&str> {
        self.left.first().filter(|_| !self.connected).map(|left| left.reason.as_str())
    }
}

/// One subscription of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionStatus {
    /// Its filter.
    pub filter: String,
    /// The level that was granted.
    pub qos: u8,
}

/// How a client's connection is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendAwayRequest {
    /// Whether its session ends too, also if it is not connected.
    pub clean_session: bool,
    /// Whether its will is not published.
    pub prevent_will: bool,
}

/// A connection that was ended, or a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAway {
    /// Client id.
    pub client_id: String,
    /// The gateway where it was; none if it was not connected and its session is over now.
    pub gateway: Option<String>,
}

/// What became of a message for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It is sent; at QoS 1 it is acknowledged too.
    Taken,
    /// It may have been sent, and there is no acknowledgement in time.
    Unanswered,
    /// The client has no right to read that topic.
    Denied,
    /// Too many such messages wait for the client already.
    Busy,
    /// The client takes no packet of that size.
    TooLarge,
}

/// A thing, as it is written down and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThingDocument {
    /// Its name: 1 to 128 of `a-z A-Z 0-9 : _ -`; a client with that id is this thing.
    pub name: String,
    /// At most 50.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The groups that it is in, at most 10.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// SHA-256 fingerprints of its certificates in hexadecimal, at most 10.
    #[serde(default)]
    pub certificates: BTreeSet<String>,
    /// When it was first known, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at_ms: Option<u64>,
}

impl ThingDocument {
    /// As it is shown.
    pub fn of(thing: &Thing) -> Self {
        let pairs = thing.attributes();
        Self {
            name: thing.name().to_owned(),
            attributes: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            groups: thing.groups().map(str::to_owned).collect(),
            certificates: thing.certificates().map(str::to_owned).collect(),
            created_at_ms: Some(thing.created_at.0),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// [`InvalidThing`], by what is wrong first.
    pub fn to_thing(&self, now: Wall) -> Result<Thing, InvalidThing> {
        let name = ThingName::new(&self.name).map_err(|_| InvalidThing::Name)?;
        let mut thing = Thing::new(name, self.created_at_ms.map_or(now, Wall));
        self.attributes.iter().try_for_each(|(name, value)| thing.set_attribute(name, value))?;
        self.groups.iter().try_for_each(|group| thing.join(group))?;
        self.certificates.iter().try_for_each(|it| thing.attach(it))?;
        Ok(thing)
    }
}

/// When a thing is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutWhen {
    /// Only if it is not known yet.
    #[default]
    New,
    /// In the place of what is known of it.
    Always,
}

/// What became of a thing that was to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutThing {
    /// It is known now.
    Created,
    /// It was known, and is as written now.
    Replaced,
    /// It is known already, and nothing was changed.
    Known,
}

/// Things that a search found.
#[derive(Debug, Clone, Default)]
pub struct FoundThings {
    /// They, in order of name.
    pub things: Vec<(Thing, Option<Presence>)>,
    /// Where to go on, if there may be more.
    pub next: Option<String>,
}
