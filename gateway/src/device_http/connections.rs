//! Connections of clients, at whichever gateway of the fleet: what is known of them, their end, and messages for one of them.
//!
//! Who may know of a client's connection is who may subscribe to its lifecycle events, and the client itself. Ending it, and
//! giving it a message, are publications to topics that exist for rules alone.

use std::time::Duration;

use protocol::{ClientId, QoS, levels};
use shadow::{Page, PublishCall, connection, list_subscriptions};

use super::answer::{Answer, CallRefusal, document, done};
use super::publish::Message;
use super::requests::Asked;
use crate::presence::{Given, SendAwayRequest};

/// What is known of a client's connection.
pub(super) async fn get(
    asked: &Asked<'_>,
    client: ClientId,
    with_socket: bool,
) -> Result<Answer, CallRefusal> {
    may_know(asked, &client, "get_connection", "presence/connected", "presence/disconnected")?;
    let of = client.clone();
    let presence = asked.ask(move |clients| clients.presence(&of)).await?;
    let presence =
        presence.ok_or_else(|| CallRefusal::missing("nothing is known of this client"))?;
    Ok(document(connection(&client, &presence, with_socket)))
}

/// Its end.
pub(super) async fn end(
    asked: &Asked<'_>,
    client: ClientId,
    how: SendAwayRequest,
) -> Result<Answer, CallRefusal> {
    let topic = format!("$aws/connections/{}/delete", level_of(&client));
    asked.may_publish("delete_connection", (&topic, QoS::AtLeastOnce, false))?;
    let _waiting = asked.wait()?;
    let by = format!("device {}", asked.caller.client());
    asked.ask(move |clients| clients.send_away(&client, how, &by)).await?;
    Ok(done())
}

/// What it is subscribed to, by filter.
pub(super) async fn subscriptions(
    asked: &Asked<'_>,
    client: ClientId,
    page: Page,
) -> Result<Answer, CallRefusal> {
    let (on, off) = ("subscriptions/subscribed", "subscriptions/unsubscribed");
    may_know(asked, &client, "list_subscriptions", on, off)?;
    let _waiting = asked.wait()?;
    let found = asked.ask(move |clients| clients.subscriptions(&client)).await?;
    let none = || CallRefusal::missing("the fleet has no session of this client");
    let mut found = found.ok_or_else(none)?;
    found.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
    let is_behind = |filter: &str| page.after.as_deref().is_none_or(|after| filter > after);
    let all = found.iter().filter(|it| is_behind(&it.filter));
    let mut shown: Vec<(&str, u8)> =
        all.map(|it| (&*it.filter, it.qos)).take(page.size + 1).collect();
    let are_more = shown.len() > page.size;
    shown.truncate(page.size);
    let next = shown.last().filter(|_| are_more).map(|(filter, _)| *filter);
    Ok(document(list_subscriptions(&shown, next)))
}

/// Gives it a message that nobody else gets.
pub(super) async fn give(
    asked: &Asked<'_>,
    (client, call): (ClientId, PublishCall),
    patience: Duration,
    body: &[u8],
) -> Result<Answer, CallRefusal> {
    let message = Message::read(asked.headers, &call, body)?;
    let (topic, limits) = (call.topic.as_str(), asked.limits());
    asked.in_pace(message.publication.len_bytes(), &limits)?;
    let right = format!("$aws/connections/{}/messages/{topic}", level_of(&client));
    asked.may_publish("send_message", (&right, call.qos, false))?;
    if topic.starts_with('$') {
        return Err(CallRefusal::forbidden("topics that begin with $ are not published to"));
    }
    if topic.len() > limits.topic_bytes || levels(topic).nth(limits.topic_levels).is_some() {
        return Err(CallRefusal::invalid("the topic is too long, or has too many levels"));
    }
    if message.user_count > usize::from(asked.rules().places.limits().user_properties) {
        return Err(CallRefusal::throttled("too many user properties"));
    }
    if message.payload_is_utf8 && std::str::from_utf8(body).is_err() {
        return Err(CallRefusal::invalid("the payload is not UTF-8"));
    }
    let _waiting = asked.wait()?;
    let publication = message.publication;
    match asked.ask(move |clients| clients.give(&client, publication, patience)).await? {
        Given::Taken => Ok(done()),
        Given::Unanswered => {
            Err(CallRefusal::unconfirmed("the client has not acknowledged it in time"))
        }
        Given::Denied => Err(CallRefusal::forbidden("the client may not read this topic")),
        Given::Busy => Err(CallRefusal::throttled("too many such messages wait for the client")),
        Given::TooLarge => Err(CallRefusal::too_large_for_receiver()),
    }
}

/// Whether whoever asks may know what two kinds of events tell of a client.
fn may_know(
    asked: &Asked<'_>,
    client: &ClientId,
    action: &str,
    one: &str,
    other: &str,
) -> Result<(), CallRefusal> {
    if client == asked.caller.client() {
        return Ok(());
    }
    // A client id with wildcards asks for more, never for less.
    for kind in [one, other] {
        asked.may_read(action, &format!("$aws/events/{kind}/{client}"))?;
    }
    Ok(())
}

/// A client id as one level of a topic: what would make it more, or a wildcard, is written as in addresses.
fn level_of(client: &ClientId) -> String {
    let mut level = String::with_capacity(client.as_str().len());
    for letter in client.as_str().chars() {
        match letter {
            '%' => level.push_str("%25"),
            '/' => level.push_str("%2F"),
            '+' => level.push_str("%2B"),
            '#' => level.push_str("%23"),
            plain => level.push(plain),
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_id_is_more_than_one_level_or_the_level_of_another() {
        let level = |name: &str| level_of(&ClientId::new(name).unwrap());
        assert_eq!(level("pump-7"), "pump-7");
        assert_eq!(level("a/messages/b"), "a%2Fmessages%2Fb");
        assert_eq!(level("a%2Fmessages%2Fb"), "a%252Fmessages%252Fb");
        assert_eq!(level("+#"), "%2B%23");
    }
}
