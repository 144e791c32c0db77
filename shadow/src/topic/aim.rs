//! What a publication or a subscription under `$aws/` is after.

use super::reserved::PREFIX;
use super::{InvalidReserved, ReservedTopic, ThingName};

/// What a client that publishes to a topic is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishAim<'a> {
    /// A topic like any other.
    Ordinary,
    /// A request about a shadow.
    Request(ReservedTopic<'a>),
}

/// Why nobody may publish this; the publisher's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpublishable {
    /// Only the fleet publishes answers and events.
    #[error("only the fleet publishes to this topic")]
    OnlyFleet,
    /// Nothing under a reserved topic is retained.
    #[error("a reserved topic takes no retained message")]
    Retained,
    /// A service of AWS that is not offered here.
    #[error("is reserved for a service that is not offered")]
    NotOffered,
    /// Neither of these.
    #[error("is no topic of a shadow")]
    Invalid(#[source] InvalidReserved),
}

/// What a client that subscribes to a filter is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterAim<'a> {
    /// Nothing reserved: also `#`, which matches no topic that begins with a dollar.
    Ordinary,
    /// Topics of this thing only.
    Thing(ThingName<'a>),
    /// Topics of more than one thing, or of none that there can be.
    Things,
    /// Lifecycle events, of one client or of all.
    Events,
    /// Anything else that is reserved, or more than one of these.
    Reserved,
}

/// What a publication is after.
///
/// # Errors
/// [`Unpublishable`], by what is wrong with it.
pub fn publish_aim(topic: &str, is_retained: bool) -> Result<PublishAim<'_>, Unpublishable> {
    let Some(rest) = topic.strip_prefix(RESERVED) else {
        return Ok(PublishAim::Ordinary);
    };
    if rest.starts_with("events/") {
        return Err(Unpublishable::OnlyFleet);
    }
    let parsed = match ReservedTopic::parse(topic) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Err(Unpublishable::NotOffered),
        Err(InvalidReserved::Operation) if is_elsewhere(topic) => {
            return Err(Unpublishable::NotOffered);
        }
        Err(why) => return Err(Unpublishable::Invalid(why)),
    };
    match parsed.answer {
        Some(_) => Err(Unpublishable::OnlyFleet),
        None if is_retained => Err(Unpublishable::Retained),
        None => Ok(PublishAim::Request(parsed)),
    }
}

/// Whether a thing's topic is of another service than shadows.
fn is_elsewhere(topic: &str) -> bool {
    let of_thing = topic.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    of_thing.is_some_and(|(_, rest)| rest != "shadow" && !rest.starts_with("shadow/"))
}

/// What a subscription is after; the filter is without any share prefix.
pub fn filter_aim(filter: &str) -> FilterAim<'_> {
    let mut levels = filter.split('/');
    if levels.next() != Some("$aws") {
        return FilterAim::Ordinary;
    }
    match levels.next() {
        Some("things") => match levels.next().map(ThingName::new) {
            Some(Ok(thing)) => FilterAim::Thing(thing),
            Some(Err(_)) | None => FilterAim::Things,
        },
        Some("events") => FilterAim::Events,
        Some(_) | None => FilterAim::Reserved,
    }
}

const RESERVED: &str = "$aws/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_about_shadows_are_published() {
        for topic in ["a", "$aws", "$awsome/x", "x/$aws/things/t/shadow/get", "$SYS/a"] {
            assert_eq!(publish_aim(topic, true), Ok(PublishAim::Ordinary), "{topic}");
        }
        for end in ["get", "update", "delete", "name/n/get", "name/n/update"] {
            let topic = format!("$aws/things/t/shadow/{end}");
            let aim = publish_aim(&topic, false).unwrap();
            assert!(matches!(aim, PublishAim::Request(r) if r.thing.as_str() == "t"), "{topic}");
            assert_eq!(publish_aim(&topic, true), Err(Unpublishable::Retained));
        }
        for topic in [
            "$aws/things/t/shadow/get/accepted",
            "$aws/things/t/shadow/name/n/update/delta",
            "$aws/events/presence/connected/c",
        ] {
            assert_eq!(publish_aim(topic, false), Err(Unpublishable::OnlyFleet), "{topic}");
        }
        for topic in [
            "$aws/rules/r/x",
            "$aws/things/t/jobs/get",
            "$aws/things/t/defender/metrics/json",
            "$aws/certificates/create/json",
            "$aws/",
        ] {
            assert_eq!(publish_aim(topic, false), Err(Unpublishable::NotOffered), "{topic}");
        }
        for (topic, why) in [
            ("$aws/things/a b/shadow/get", InvalidReserved::ThingName),
            ("$aws/things/t/shadow/name//get", InvalidReserved::ShadowName),
            ("$aws/things/t/shadow/put", InvalidReserved::Operation),
            ("$aws/things/t", InvalidReserved::Operation),
        ] {
            assert_eq!(publish_aim(topic, false), Err(Unpublishable::Invalid(why)), "{topic}");
        }
    }

    #[test]
    fn a_filter_is_of_one_thing_only_if_it_names_it() {
        let thing = |name| FilterAim::Thing(ThingName::new(name).unwrap());
        for (filter, aim) in [
            ("#", FilterAim::Ordinary),
            ("+/things/t/shadow/get", FilterAim::Ordinary),
            ("a/b", FilterAim::Ordinary),
            ("$aws/things/t/shadow/get/+", thing("t")),
            ("$aws/things/t/#", thing("t")),
            ("$aws/things/t", thing("t")),
            ("$aws/things/+/shadow/get", FilterAim::Things),
            ("$aws/things/#", FilterAim::Things),
            ("$aws/things", FilterAim::Things),
            ("$aws/+/t/shadow/get", FilterAim::Reserved),
            ("$aws/#", FilterAim::Reserved),
            ("$aws/events/presence/connected/+", FilterAim::Events),
            ("$aws", FilterAim::Reserved),
        ] {
            assert_eq!(filter_aim(filter), aim, "{filter}");
        }
    }
}
