//! What holds for a host, field by field, with who says so.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::effective::{Effective, Sourced, registered};
use super::span;
use crate::calendar::TimeRule;
use crate::fleet::{Domain, Host};

/// One field as it holds for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownField {
    /// Its name, as policies write it.
    pub field: String,
    /// Its value.
    pub value: String,
    /// The policies that say so; none if it is the default.
    pub from: Vec<String>,
}

impl Effective {
    /// Every field with its value for a host among others, and the policies that say so.
    pub fn show(&self, host: &Host, hosts: &[Host]) -> Vec<ShownField> {
        let mut shown = Shown(Vec::new());
        self.show_times(&mut shown);
        self.show_domains(&mut shown, host, hosts);
        for label in &self.never_together {
            shown.add("never_together", label, |label| label.clone());
        }
        let percent = |value: &u8| format!("{value}%");
        shown.add("headroom.conns", &self.connections_percent, percent);
        shown.add("headroom.msgs", &self.messages_percent, percent);
        shown.add("headroom.forecast", &self.forecast, |it| or(it, "peak", word));
        self.show_drain(&mut shown);
        let part = |part: &u32| format!("{}.{:02}%", part / 100, part % 100);
        shown.add("moves.second_moves", &self.second_moves, |it| or(it, "not limited", part));
        shown.add("moves.per_device", &self.per_device, |it| {
            or(it, "not limited", |it| format!("{} per {}", it.max, span::shown(it.per)))
        });
        for failure in &self.failures {
            shown.add("failure", failure, |it| format!("{} per {}", it.max, span::shown(it.per)));
        }
        for condition in &self.close_if {
            shown.add("gate.close_if", condition, ToString::to_string);
        }
        shown.add("gate.reopen_after", &self.reopen_after, |it| span::shown(*it));
        for approval in &self.approvals {
            shown.add("approval", approval, |rule| {
                let when = rule.when.as_ref().map_or_else(|| "always".into(), ToString::to_string);
                format!("{} if {when}, valid {}", rule.approvers, span::shown(rule.valid))
            });
        }
        shown.add("on_failed_work", &self.on_failed_work, word);
        shown.add("soak", &self.soak, |time| span::shown(*time));
        shown.add("needs", &self.needs, word);
        shown.add("soft_yields_to", &self.soft_yields_to, |it| {
            or(it, "nobody", ToString::to_string)
        });
        shown.add("on_window_end", &self.on_window_end, word);
        shown.0
    }

    fn show_times(&self, shown: &mut Shown) {
        if self.windows.is_empty() {
            shown.0.push(ShownField {
                field: "windows".into(),
                value: "none: never".into(),
                from: Vec::new(),
            });
        }
        for (policy, windows) in &self.windows {
            let value = match &**windows {
                [] => "none: never".to_owned(),
                windows => windows.iter().map(text).collect::<Vec<_>>().join(" | "),
            };
            let from = vec![policy.as_ref().to_owned()];
            shown.0.push(ShownField { field: "windows".into(), value, from });
        }
        for rule in self.exclusions.iter().flat_map(|rules| rules.iter()) {
            let policy = rule.name.rsplit_once(".exclude").map_or(&*rule.name, |(name, _)| name);
            let from = vec![policy.to_owned()];
            shown.0.push(ShownField { field: "exclude".into(), value: text(rule), from });
        }
    }

    fn show_domains(&self, shown: &mut Shown, host: &Host, hosts: &[Host]) {
        for kind in self.kinds() {
            let Some(domain) = Domain::of(host, kind) else {
                continue;
            };
            let many = registered(&domain, hosts);
            if self.min_available.contains_key(kind) {
                let least = self.min_available(kind, many);
                shown.add(&format!("min_available.{kind}"), &least, |it| format!("{it} of {many}"));
            }
            if self.max_concurrent.contains_key(kind) {
                let most = self.max_concurrent(kind, many);
                shown.add(&format!("max_concurrent.{kind}"), &most, |it| format!("{it} of {many}"));
            }
        }
    }

    fn show_drain(&self, shown: &mut Shown) {
        const OWN: &str = "as the gateway's own [drain]";
        let rate = |rate: &u32| format!("{rate}/s");
        let time = |time: &Duration| span::shown(*time);
        shown.add("drain.profile", &self.profile, word);
        shown.add("drain.host_rate", &self.host_rate, |it| or(it, OWN, rate));
        shown.add("drain.fleet_rate", &self.fleet_rate, |it| or(it, "not limited", rate));
        shown.add("drain.lb_grace", &self.lb_grace, |it| or(it, OWN, time));
        shown.add("drain.flush", &self.flush, |it| or(it, OWN, time));
        shown.add("drain.takeover_wait", &self.takeover_wait, |it| or(it, OWN, time));
        shown.add("drain.timeout", &self.timeout, |it| or(it, OWN, time));
        shown.add("drain.on_timeout", &self.on_timeout, word);
        shown.add("drain.warm", &self.warm, time);
    }
}

struct Shown(Vec<ShownField>);

impl Shown {
    fn add<T>(&mut self, field: &str, of: &Sourced<T>, text: impl Fn(&T) -> String) {
        let name = |name: &Arc<str>| name.as_ref().to_owned();
        let from = of.from.iter().map(name).collect();
        self.0.push(ShownField { field: field.to_owned(), value: text(&of.value), from });
    }
}

/// The word that a policy would use.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn or<T>(value: &Option<T>, otherwise: &str, text: impl Fn(&T) -> String) -> String {
    value.as_ref().map_or_else(|| otherwise.to_owned(), text)
}

fn text(rule: &TimeRule) -> String {
    match &*rule.reason {
        "" => rule.to_string(),
        reason => format!("{rule} ({reason})"),
    }
}
