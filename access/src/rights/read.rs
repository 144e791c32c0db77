//! The access list in TOML: `[[rule]]` tables in the order in which they are asked.

use std::sync::Arc;

use protocol::QoS;
use toml::de::DeTable;

use super::field::{AclFault, Fields, Lines};
use super::pattern::Pattern;
use super::rule::{Effect, Rule, Source};
use super::value::Dialect;
use super::who::{Who, WhoWritten};

/// Reads an access list; `file` is what explanations call it.
///
/// # Errors
/// Everything that is wrong with it, each with its line; what is not TOML at all is told alone.
pub fn read_acl(file: &str, text: &str) -> Result<Vec<Rule>, Vec<AclFault>> {
    let lines = Lines::of(text);
    let parsed = DeTable::parse(text).map_err(|error| {
        let line = lines.at(error.span().map_or(0, |span| span.start));
        vec![AclFault { line, what: error.message().trim_end().replace('\n', ", ") }]
    })?;
    let mut faults = Vec::new();
    let mut top = Fields::new((parsed.get_ref(), 0), &lines, &mut faults);
    let tables = top.tables("rule");
    top.finish();
    let file = file.into();
    let mut rules = Vec::new();
    for table in tables {
        let rule = read_rule(Fields::new(table, &lines, &mut faults), &file);
        rules.extend(rule);
    }
    faults.sort_by_key(|fault| fault.line);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// One rule; none if something was noted that leaves nothing to go on with.
fn read_rule(mut fields: Fields<'_, '_>, file: &Arc<str>) -> Option<Rule> {
    let name = fields.text("name");
    let source = Source { file: Arc::clone(file), line: fields.line, name: name.map(Arc::from) };
    let effect = read_effect(&mut fields);
    let (publish, subscribe) = read_action(&mut fields);
    let who = read_who(&mut fields);
    let topics = read_topics(&mut fields);
    let max_qos = match fields.number("max_qos") {
        None | Some(2) => QoS::ExactlyOnce,
        Some(1) => QoS::AtLeastOnce,
        Some(0) => QoS::AtMostOnce,
        Some(_) => {
            fields.fault("max_qos", "is not 0, 1 or 2");
            QoS::AtMostOnce
        }
    };
    let retain = fields.truth("retain");
    if retain.is_some() && !publish {
        fields.fault("retain", "says nothing about subscribing");
    }
    if effect == Some(Effect::Deny) && (retain == Some(false) || max_qos != QoS::ExactlyOnce) {
        let key = if retain == Some(false) { "retain" } else { "max_qos" };
        fields.fault(key, "limits what is allowed, and this rule denies");
    }
    fields.finish();
    Some(Rule {
        source: Arc::new(source),
        who: who?,
        publish,
        subscribe,
        topics,
        effect: effect?,
        max_qos,
        retain: retain.unwrap_or(true),
    })
}

fn read_effect(fields: &mut Fields<'_, '_>) -> Option<Effect> {
    match fields.text("effect") {
        Some("allow") => Some(Effect::Allow),
        Some("deny") => Some(Effect::Deny),
        Some(_) => {
            fields.fault("effect", "is neither \"allow\" nor \"deny\"");
            None
        }
        None => {
            fields.fault("effect", "is missing: \"allow\" or \"deny\"");
            None
        }
    }
}

fn read_action(fields: &mut Fields<'_, '_>) -> (bool, bool) {
    match fields.text("action") {
        None | Some("both") => (true, true),
        Some("publish") => (true, false),
        Some("subscribe") => (false, true),
        Some(_) => {
            fields.fault("action", "is neither \"publish\" nor \"subscribe\" nor \"both\"");
            (true, true)
        }
    }
}

fn read_who(fields: &mut Fields<'_, '_>) -> Option<Who> {
    let written = WhoWritten {
        client: fields.texts("client"),
        user: fields.texts("user"),
        anonymous: fields.truth("anonymous"),
        address: fields.texts("address"),
        cn: fields.texts("cn"),
        o: fields.texts("o"),
        ou: fields.texts("ou"),
        san: fields.texts("san"),
        issuer: fields.texts("issuer"),
    };
    match Who::new(&written) {
        Ok(who) => Some(who),
        Err(faults) => {
            faults.iter().for_each(|(key, what)| fields.fault(key, what));
            None
        }
    }
}

fn read_topics(fields: &mut Fields<'_, '_>) -> Vec<Pattern> {
    let mut topics = Vec::new();
    let written = fields.texts("topics");
    if written.is_empty() {
        fields.fault("topics", "is missing: `#` is every topic");
    }
    for text in &written {
        match Pattern::new(text, Dialect::Ours) {
            Ok(pattern) => topics.push(pattern),
            Err(what) => fields.fault("topics", &what),
        }
    }
    topics
}
