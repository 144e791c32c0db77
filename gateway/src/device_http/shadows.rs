//! Shadows: the same requests as over MQTT, with the rights to publish those, and the same answers. Who subscribes to these is
//! told of them too.

use protocol::QoS;
use shadow::{Ask, Operation, OwnedKey, Page, Refusal, ShadowKey, list_named_shadows};

use super::answer::{Answer, CallRefusal, document};
use super::requests::Asked;

/// Asks one thing of one shadow.
pub(super) async fn ask(
    asked: &Asked<'_>,
    key: OwnedKey,
    (operation, body): (Operation, &[u8]),
) -> Result<Answer, CallRefusal> {
    let topic = key.key().topic(operation, None).to_string();
    asked.may_publish("shadow", (&topic, QoS::AtLeastOnce, false))?;
    request(asked, key, (operation, body)).await
}

/// The same of whoever has the right to it.
pub(super) async fn request(
    asked: &Asked<'_>,
    key: OwnedKey,
    (operation, body): (Operation, &[u8]),
) -> Result<Answer, CallRefusal> {
    let shadows = asked.shadows();
    let ask = Ask::parse(operation, body, shadows.limits()).map_err(|it| it.refusal)?;
    let Some(_pending) = asked.begin_about(key.key().thing) else {
        return Err(Refusal::TooManyRequests.into());
    };
    let answered = shadows.ask(key, ask).await;
    Ok(document(answered.map_err(|it| it.refusal)?))
}

/// The names of a thing's named shadows.
pub(super) async fn names(
    asked: &Asked<'_>,
    key: &OwnedKey,
    page: Page,
) -> Result<Answer, CallRefusal> {
    let ShadowKey { thing, .. } = key.key();
    // What shows all of them also shows their names.
    asked
        .may_read("list_named_shadows", &format!("$aws/things/{}/shadow/name/#", thing.as_str()))?;
    let found = asked.shadows().names(thing, page.after.as_deref(), page.size).await;
    let (names, next) = found?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(document(list_named_shadows(&names, next.as_deref(), asked.now.wall)))
}
