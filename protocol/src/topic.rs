//! Topic names and filters `[MQTT5-4.7]`, parsed once.

use std::sync::Arc;

/// Why a text is no topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// `[MQTT5-4.7.3-1]`
    #[error("is empty")]
    Empty,
    /// `[MQTT5-4.7.3-3]`
    #[error("is longer than 65,535 bytes")]
    TooLong,
    /// `[MQTT5-4.7.3-2]`
    #[error("has a null character")]
    Null,
    /// `[MQTT5-3.3.2-2]`
    #[error("has a wildcard in a topic name")]
    WildcardInName,
    /// `[MQTT5-4.7.1-1]`, `[MQTT5-4.7.1-2]`
    #[error("has a misplaced wildcard")]
    Wildcard,
    /// `[MQTT5-4.8.2-1]`, `[MQTT5-4.8.2-2]`
    #[error("has a malformed share name")]
    ShareName,
}

/// The topic of a publication: no wildcards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// The filter of a subscription, without a share prefix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

/// The name of a shared group: what stands between `$share/` and the next `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedName(Arc<str>);

impl TopicName {
    /// Checks a text as a topic name.
    ///
    /// # Errors
    /// [`InvalidTopic`], by what is wrong.
    pub fn new(text: &str) -> Result<Self, InvalidTopic> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// The check of [`Self::new`] without the allocation.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(text: &str) -> Result<(), InvalidTopic> {
        check_common(text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(InvalidTopic::WildcardInName);
        }
        Ok(())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// Checks a text as a plain filter.
    ///
    /// # Errors
    /// [`InvalidTopic`], by what is wrong.
    pub fn new(text: &str) -> Result<Self, InvalidTopic> {
        check_common(text)?;
        let mut rest = levels(text).peekable();
        while let Some(level) = rest.next() {
            match level {
                "#" if rest.peek().is_some() => return Err(InvalidTopic::Wildcard),
                "#" | "+" => {}
                other if other.bytes().any(|b| b == b'+' || b == b'#') => {
                    return Err(InvalidTopic::Wildcard);
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Splits what a client wrote in SUBSCRIBE into the share name, if any, and the filter.
    ///
    /// # Errors
    /// [`InvalidTopic`]; [`InvalidTopic::ShareName`] for a malformed `$share/...` `[MQTT5-4.8.2-1]`.
    pub fn parse_subscription(text: &str) -> Result<(Option<SharedName>, Self), InvalidTopic> {
        if text == "$share" {
            return Err(InvalidTopic::ShareName);
        }
        let Some(rest) = text.strip_prefix("$share/") else {
            return Ok((None, Self::new(text)?));
        };
        let Some((name, filter)) = rest.split_once('/') else {
            return Err(InvalidTopic::ShareName);
        };
        if name.is_empty() || filter.is_empty() || name.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(InvalidTopic::ShareName);
        }
        Ok((Some(SharedName(name.into())), Self::new(filter)?))
    }

    /// Whether it holds a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|b| b == b'+' || b == b'#')
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SharedName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The levels of a topic name or filter. There is always at least one.
pub fn levels(text: &str) -> std::str::Split<'_, char> {
    text.split('/')
}

/// Whether a valid filter matches a valid topic name; a leading wildcard does not match `$` topics `[MQTT5-4.7.2-1]`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let (mut filter, mut topic) = (levels(filter), levels(topic));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(f), Some(t)) if f == t => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether some topic name matches both of two valid filters.
pub fn overlap(a: &str, b: &str) -> bool {
    let apart = |a: &str, b: &str| a.starts_with('$') && (b.starts_with('+') || b.starts_with('#'));
    if apart(a, b) || apart(b, a) {
        return false;
    }
    let (mut a, mut b) = (levels(a), levels(b));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

fn check_common(text: &str) -> Result<(), InvalidTopic> {
    match text.len() {
        0 => Err(InvalidTopic::Empty),
        1..=65_535 if text.as_bytes().contains(&0) => Err(InvalidTopic::Null),
        1..=65_535 => Ok(()),
        _ => Err(InvalidTopic::TooLong),
    }
}

crate::text::show_as_text!(TopicName, TopicFilter, SharedName);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of one to three of these levels.
    fn texts(of: &[&str]) -> Vec<String> {
        let mut texts: Vec<String> = of.iter().map(|&level| level.to_owned()).collect();
        for from in [0, texts.len()] {
            let longer = texts.iter().skip(from).flat_map(|text| {
                let open = !text.ends_with('#');
                of.iter().filter(move |_| open).map(move |level| format!("{text}/{level}"))
            });
            let longer: Vec<String> = longer.collect();
            texts.extend(longer);
        }
        texts
    }

    #[test]
    fn filters_overlap_if_a_topic_matches_both() {
        let topics = texts(&["a", "b", "", "$c"]);
        let filters = texts(&["a", "", "$c", "+", "#"]);
        for a in &filters {
            for b in &filters {
                let both = topics.iter().any(|topic| matches(a, topic) && matches(b, topic));
                assert_eq!(overlap(a, b), both, "{a} and {b}");
            }
        }
    }

    #[test]
    fn filters_with_misplaced_wildcards_are_refused() {
        for bad in ["", "a/#/b", "a+", "#a", "a/b#", "+a/b", "a\0b"] {
            assert!(TopicFilter::new(bad).is_err(), "{bad:?}");
        }
        for good in ["#", "+", "a/#", "+/+/#", "/", "//", "a/+/b", "$SYS/#"] {
            assert!(TopicFilter::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn share_names_are_split_off_and_checked() {
        let (name, filter) = TopicFilter::parse_subscription("$share/g/a/+").unwrap();
        assert_eq!((name.unwrap().as_str(), filter.as_str()), ("g", "a/+"));
        for bad in ["$share", "$share/", "$share/g", "$share//x", "$share/g/", "$share/g+/x"] {
            assert!(TopicFilter::parse_subscription(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn matching_follows_the_standard() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/+", "a", false),
            ("a/+/c", "a//c", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
