//! mosquitto's access file, read as it is: `user`, `topic` and `pattern` lines.

use std::sync::Arc;

use protocol::QoS;

use super::field::AclFault;
use super::pattern::Pattern;
use super::rule::{Effect, Rule, Source};
use super::value::Dialect;
use super::who::Who;

/// Reads a mosquitto access file; `file` is what explanations call it.
///
/// As mosquitto has it: topics before the first `user` line are for clients without a user, patterns are for everybody and
/// asked after the topics, and of both the denials are asked first.
///
/// # Errors
/// Every line that cannot be used.
pub fn read_mosquitto(file: &str, text: &str) -> Result<Vec<Rule>, Vec<AclFault>> {
    let file: Arc<str> = file.into();
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    let mut user: Option<String> = None;
    for (line, text) in (1..).zip(text.lines()) {
        // Only a `#` in front makes a comment; elsewhere it is a wildcard.
        let text = text.trim_end();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start();
        let read = match word {
            "user" if rest.is_empty() => Err("`user` without a name".to_owned()),
            "user" => {
                user = Some(rest.to_owned());
                continue;
            }
            "topic" => line_rule(rest, Who::mosquitto_user(user.as_deref()), false),
            "pattern" => line_rule(rest, Who::mosquitto_pattern(), true),
            other => Err(format!("{other:?} is neither `user` nor `topic` nor `pattern`")),
        };
        match read {
            Ok(rule) => {
                let source = Arc::new(Source { file: Arc::clone(&file), line, name: None });
                rules.push((word == "pattern", Rule { source, ..rule }));
            }
            Err(what) => faults.push(AclFault { line, what }),
        }
    }
    // A stable sort: within each kind the order of the file remains.
    rules.sort_by_key(|(pattern, rule)| (*pattern, rule.effect == Effect::Allow));
    if faults.is_empty() {
        Ok(rules.into_iter().map(|(_, rule)| rule).collect())
    } else {
        Err(faults)
    }
}

/// `[read|write|readwrite|deny] <topic>`; a topic with a space needs the word before it.
fn line_rule(rest: &str, who: Who, filled: bool) -> Result<Rule, String> {
    let (access, topic) = match rest.split_once(' ') {
        Some((access, topic)) => (access, topic.trim_start()),
        None => ("readwrite", rest),
    };
    let (effect, subscribe, publish) = match access {
        "read" => (Effect::Allow, true, false),
        "write" => (Effect::Allow, false, true),
        "readwrite" => (Effect::Allow, true, true),
        "deny" => (Effect::Deny, true, true),
        other => return Err(format!("{other:?} is not read, write, readwrite or deny")),
    };
    // What a topic line has of `%` is meant as it stands.
    let pattern = if filled {
        Pattern::new(topic, Dialect::Mosquitto)
    } else {
        Pattern::new(topic, Dialect::Literal)
    };
    Ok(Rule {
        source: Arc::new(Source { file: "".into(), line: 0, name: None }),
        who,
        publish,
        subscribe,
        topics: vec![pattern?],
        effect,
        max_qos: QoS::ExactlyOnce,
        retain: true,
    })
}
