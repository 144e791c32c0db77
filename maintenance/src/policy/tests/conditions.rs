//! Selectors and conditions.

use proptest::prelude::*;

use super::host;
use crate::operation::{Class, OpKind};
use crate::policy::{APPROVAL_FACTS, Expression, GATE_FACTS, Selector, Value};

#[test]
fn selectors_choose_by_labels() {
    let gateway = host("gw-1", "role=gateway,region=eu,zone=eu-1");
    for (selector, chosen) in [
        ("", true),
        ("role=gateway,region=eu", true),
        (" role = gateway , region == us ", false),
        ("region!=us", true),
        ("rack!=r1", true),
        ("rack=r1", false),
        ("zone in (eu-1, eu-2)", true),
        ("zone notin (eu-1)", false),
        ("zone in (eu-3),role=gateway", false),
        ("host=gw-1", true),
        ("host!=gw-1", false),
    ] {
        let parsed: Selector = selector.parse().unwrap();
        assert_eq!(parsed.matches(&gateway), chosen, "{selector}");
        assert_eq!(parsed.to_string().parse(), Ok(parsed), "{selector}");
    }
}

#[test]
fn a_selector_that_cannot_be_read_says_where() {
    for (selector, expected) in [
        ("role", "at position 5: =, != or in is missing"),
        ("role=", "at position 6: a value is missing"),
        ("role=a b=c", "at position 8: a comma is missing"),
        ("role=a,", "at position 8: a label is missing"),
        ("role=a,,", "at position 8: a label is missing"),
        ("role in a", "at position 9: ( is missing"),
        ("role in (a", "at position 11: ) is missing"),
        ("role of (a)", "at position 6: =, != or in is missing"),
        ("=a", "at position 1: a label is missing"),
    ] {
        let found = selector.parse::<Selector>().map(|it| it.to_string());
        // A comma at the end is forgiven nowhere.
        assert_eq!(found.map_err(|it| it.to_string()), Err(expected.to_owned()), "{selector}");
    }
}

fn facts(name: &str) -> Option<Value> {
    match name {
        "lost_hosts" => Some(Value::Number(2.0)),
        "connect_error_rate" => Some(Value::Number(0.004)),
        "connect_p99" => Some(Value::Number(0.8)),
        "class" => Some(Value::Word("drain")),
        "hosts" => Some(Value::Number(30.0)),
        "promql:down" => Some(Value::Number(1.0)),
        "promql:up" => Some(Value::Number(0.0)),
        _ => None,
    }
}

#[test]
fn conditions_hold_or_not_or_nobody_knows() {
    for (text, gate, holds) in [
        ("lost_hosts >= 2", true, Some(true)),
        ("lost_hosts>2", true, Some(false)),
        ("connect_error_rate > 0.5%", true, Some(false)),
        ("connect_p99 > 750ms", true, Some(true)),
        ("failed_visits > 1", true, None),
        ("failed_visits > 1 || lost_hosts == 2", true, Some(true)),
        ("failed_visits > 1 && lost_hosts != 2", true, Some(false)),
        ("promql: sum(up) < 3", true, None),
        ("promql: down", true, Some(true)),
        ("promql:up", true, Some(false)),
        ("class >= drain && hosts > 20", false, Some(true)),
        ("class >= Absent || hosts > 20", false, Some(true)),
        ("!(class < drain) && !(hosts <= 20 || priority > 3)", false, None),
        ("class = in_place", false, Some(false)),
    ] {
        let names = if gate { GATE_FACTS.as_slice() } else { &APPROVAL_FACTS };
        let parsed = Expression::parse(text, names).unwrap();
        assert_eq!(parsed.holds(&facts), holds, "{text}");
        assert_eq!(Expression::parse(&parsed.to_string(), names), Ok(parsed), "{text}");
    }
}

#[test]
fn a_condition_that_cannot_be_read_says_where() {
    for (text, expected) in [
        ("lost_host >= 2", "at position 1: unknown name `lost_host`; did you mean `lost_hosts`?"),
        ("lost_hosts", "at position 11: a comparison is missing (<, <=, ==, !=, >=, >)"),
        ("lost_hosts >= ", "at position 15: a number is missing"),
        ("lost_hosts >= two", "at position 15: a number is missing"),
        ("lost_hosts >= 2x", "at position 16: unknown unit (%, ms, s, m, h)"),
        ("lost_hosts >= 2 lost_hosts >= 3", "at position 17: && or || is missing"),
        ("(lost_hosts >= 2", "at position 17: ) is missing"),
        ("promql:", "at position 1: the query is missing"),
    ] {
        let found = Expression::parse(text, &GATE_FACTS).unwrap_err().to_string();
        assert_eq!(found, expected, "{text}");
    }
    let class = Expression::parse("class > big", &APPROVAL_FACTS).unwrap_err().to_string();
    assert_eq!(class, "at position 9: class is one of hot, in_place, drain, absent");
    let deep = "(".repeat(1000);
    assert!(Expression::parse(&deep, &GATE_FACTS).unwrap_err().to_string().contains("too deep"));
}

#[test]
fn approvals_know_the_words_of_operations() {
    let words = |name: &str| APPROVAL_FACTS.iter().find(|fact| fact.name == name).unwrap().words;
    let classes = [Class::Hot, Class::InPlace, Class::Drain, Class::Absent];
    assert!(classes.is_sorted());
    let classes = classes.map(|class| serde_json::to_value(class).unwrap());
    assert_eq!(words("class"), classes.each_ref().map(|class| class.as_str().unwrap()));
    for kind in [OpKind::Restart, OpKind::CertRotate, OpKind::Reboot] {
        assert!(words("kind").contains(&kind.name()));
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_condition_or_selector_panic(
        text in "([a-z_]{1,12}|lost_hosts|class|[()!&|<>=,% ]|&&|>=|in|[0-9.]{1,5}|ü){0,12}",
    ) {
        let _ = Expression::parse(&text, &GATE_FACTS);
        let _ = Expression::parse(&text, &APPROVAL_FACTS);
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }
    }
}
