use std::sync::Arc;

use proptest::prelude::*;
use protocol::{ClientId, QoS, TopicFilter, matches};

use super::*;
use crate::{CertificateNames, Claims, Identity};

fn who(client: &str) -> Arc<Identity> {
    Arc::new(Identity::anonymous(ClientId::new(client).unwrap()))
}

fn user(client: &str, user: &str) -> Arc<Identity> {
    Arc::new(Identity { user: Some(user.into()), ..Identity::clone(&who(client)) })
}

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::of(read_acl("acl.toml", text).unwrap(), ClaimsMode::Narrow))
}

fn mosquitto(text: &str) -> Arc<Policy> {
    Arc::new(Policy::of(read_mosquitto("acl", text).unwrap(), ClaimsMode::Narrow))
}

/// A rule that allows.
fn allow(more: &str) -> String {
    format!("[[rule]]\neffect = \"allow\"\n{more}\n")
}

fn deny(more: &str) -> String {
    format!("[[rule]]\neffect = \"deny\"\n{more}\n")
}

fn publishes(policy: &Arc<Policy>, who: &Arc<Identity>, topic: &str) -> bool {
    policy.rights_of(who).is_none_or(|mut r| r.publish(topic, QoS::AtMostOnce, false).is_ok())
}

fn subscribes(policy: &Arc<Policy>, who: &Arc<Identity>, filter: &str) -> bool {
    policy.rights_of(who).is_none_or(|r| r.subscribe(filter).is_ok())
}

fn faults(text: &str) -> Vec<String> {
    read_acl("acl.toml", text).unwrap_err().iter().map(AclFault::to_string).collect()
}

#[test]
fn without_a_rule_nothing_is_allowed() {
    let none = policy("");
    assert!(!publishes(&none, &who("c"), "t") && !subscribes(&none, &who("c"), "t"));
    let all = Arc::new(Policy::allow_all(ClaimsMode::Narrow));
    assert!(all.rights_of(&who("c")).is_none());
}

#[test]
fn the_first_rule_that_fits_decides() {
    let it = policy(
        &[deny("topics = 'a/secret'"), allow("topics = 'a/#'"), deny("topics = '#'")].concat(),
    );
    assert!(publishes(&it, &who("c"), "a/b"));
    assert!(!publishes(&it, &who("c"), "a/secret"));
    assert!(!publishes(&it, &who("c"), "b"));
    let mut rights = it.rights_of(&who("c")).unwrap();
    let denial = rights.publish("a/secret", QoS::AtMostOnce, false).unwrap_err();
    assert_eq!(denial.cause, Cause::Rule);
    assert_eq!(denial.to_string(), "denied by rule acl.toml:1");
}

#[test]
fn a_wider_filter_gets_no_more_than_an_earlier_rule_gives_to_a_part_of_it() {
    let it = policy(&[allow("topics = 'a/low'\nmax_qos = 0"), allow("topics = 'a/#'")].concat());
    let rights = it.rights_of(&who("c")).unwrap();
    assert_eq!(rights.subscribe("a/low"), Ok(QoS::AtMostOnce));
    assert_eq!(rights.subscribe("a/+"), Ok(QoS::AtMostOnce));
    assert_eq!(rights.subscribe("a/high"), Ok(QoS::ExactlyOnce));
}

#[test]
fn a_client_speaks_for_itself_alone() {
    let it = policy(&allow("topics = ['dev/%c/#', 'by/%u']"));
    assert!(it.names_client() && !policy(&allow("topics = 'by/%cn/%u'")).names_client());
    assert!(publishes(&it, &who("one"), "dev/one/t") && !publishes(&it, &who("one"), "dev/two/t"));
    assert!(publishes(&it, &user("x", "bob"), "by/bob") && !publishes(&it, &who("bob"), "by/bob"));
}

#[test]
fn a_name_never_brings_in_levels_or_wildcards() {
    let it = policy(&allow("topics = ['dev/%c', 'dev/%c/#']"));
    for name in ["+", "#", "a/b", "a+", "one/#"] {
        for topic in ["dev/one", "dev/a/b", "dev/one/x", &format!("dev/{name}")] {
            assert!(!publishes(&it, &who(name), topic), "{name} {topic}");
        }
        assert!(!subscribes(&it, &who(name), &format!("dev/{name}")), "{name}");
    }
    let first = policy(&allow("topics = '%c/#'"));
    assert!(!subscribes(&first, &who("$SYS"), "$SYS/x"));
    assert!(publishes(&policy(&allow("topics = 'x/%c/#'")), &who("$a"), "x/$a/t"));
}

#[test]
fn nobody_gets_around_a_denial_by_its_name() {
    let it = policy(&[deny("topics = 'box/%c/in'"), allow("topics = '#'")].concat());
    assert!(publishes(&it, &who("a"), "box/b/in") && !publishes(&it, &who("a"), "box/a/in"));
    assert!(!publishes(&it, &who("a/b"), "box/a/b/in") && publishes(&it, &who("a/b"), "other"));
}

#[test]
fn what_is_said_about_whom_is_heeded() {
    let names = CertificateNames {
        common_name: Some("dev-1".into()),
        organization: Some("acme".into()),
        issuer: "CN=our ca,O=acme".into(),
        organizational_unit: Some("pumps".into()),
        dns_names: vec!["a.example".into(), "b.example".into()],
        ..CertificateNames::default()
    };
    let certified = |client: &str| {
        Arc::new(Identity {
            certificate: Some(Arc::new(names.clone())),
            address: Some("10.1.2.3".parse().unwrap()),
            ..Identity::clone(&who(client))
        })
    };
    let fits = |key: &str, who: &Arc<Identity>| {
        publishes(&policy(&allow(&format!("{key}\ntopics = '#'"))), who, "t")
    };
    for (key, expected) in [
        ("client = 'dev-?'", true),
        ("client = ['x', 'd*1']", true),
        ("client = '*2'", false),
        ("client = '%cn'", true),
        ("cn = 'dev-*'", true),
        ("cn = '%c'", true),
        ("o = 'acme'", true),
        ("o = 'acm'", false),
        ("ou = '*'", true),
        ("san = 'b.*'", true),
        ("san = 'c.*'", false),
        ("issuer = 'CN=our ca,*'", true),
        ("issuer = 'CN=our ca'", false),
        ("address = '10.0.0.0/8'", true),
        ("address = ['::1', '10.1.2.3']", true),
        ("address = '192.168.0.0/16'", false),
        ("user = '*'", false),
        ("anonymous = true", true),
        ("anonymous = false", false),
        ("cn = 'dev-1'\no = 'other'", false),
    ] {
        assert_eq!(fits(key, &certified("dev-1")), expected, "{key}");
    }
    assert!(!fits("client = '%cn'", &certified("dev-2")) && !fits("cn = '*'", &who("dev-1")));
    let filled = policy(&allow("topics = '%o/%ou/%san/%cn'"));
    assert!(publishes(&filled, &certified("x"), "acme/pumps/a.example/dev-1"));
    let mapped: Arc<Identity> = Arc::new(Identity {
        address: Some("::ffff:10.1.2.3".parse().unwrap()),
        ..Identity::clone(&who("x"))
    });
    assert!(fits("address = '10.0.0.0/8'", &mapped));
}

#[test]
fn a_hostile_client_id_costs_no_more_than_its_length() {
    let it = policy(&allow("client = '*a*a*a*a*a*a*a*a*b'\ntopics = '#'"));
    assert!(!publishes(&it, &who(&"a".repeat(60_000)), "t"));
}

#[test]
fn limits_of_a_rule_hold() {
    let it = policy(&allow("topics = 't'\nmax_qos = 1\nretain = false"));
    let mut rights = it.rights_of(&who("c")).unwrap();
    assert!(rights.publish("t", QoS::AtLeastOnce, false).is_ok());
    let cause = |r: Result<(), Denial>| r.unwrap_err().cause;
    assert_eq!(cause(rights.publish("t", QoS::ExactlyOnce, false)), Cause::Qos);
    assert_eq!(cause(rights.publish("t", QoS::AtMostOnce, true)), Cause::Retain);
    assert_eq!(rights.subscribe("t"), Ok(QoS::AtLeastOnce));
}

#[test]
fn a_topic_that_was_allowed_is_remembered_and_no_other() {
    let it = policy(&allow("topics = 'a/+'"));
    let mut rights = it.rights_of(&who("c")).unwrap();
    for (topic, expected) in
        [("a/b", true), ("a/b", true), ("b", false), ("a/b", true), ("a/c", true)]
    {
        assert_eq!(rights.publish(topic, QoS::AtMostOnce, false).is_ok(), expected, "{topic}");
    }
}

#[test]
fn a_filter_is_allowed_if_all_it_can_match_is() {
    let it = policy(&[deny("topics = 'a/secret/#'"), allow("topics = 'a/#'")].concat());
    for (filter, expected) in [
        ("a/b", true),
        ("a/b/#", true),
        ("a/#", false),
        ("a/+", false),
        ("a/secret", false),
        ("a/secret/x", false),
        ("+/b", false),
        ("#", false),
    ] {
        assert_eq!(subscribes(&it, &who("c"), filter), expected, "{filter}");
    }
    // What an earlier rule allowed, a later one does not take back.
    let other = [allow("topics = 'a/b'"), deny("topics = 'a/b'"), allow("topics = 'a/#'")].concat();
    assert!(subscribes(&policy(&other), &who("c"), "a/#"));
}

#[test]
fn a_token_narrows_or_grants() {
    let claims =
        Claims { publish: vec!["a/#".into(), "bad/#/x".into()], subscribe: vec!["a/+".into()] };
    let with = Arc::new(Identity { claims: Some(Arc::new(claims)), ..Identity::clone(&who("c")) });
    let rules = || {
        read_acl("x", &[deny("topics = 'a/no'"), allow("topics = ['a/#', 'b']")].concat()).unwrap()
    };
    let narrow = Arc::new(Policy::of(rules(), ClaimsMode::Narrow));
    assert!(publishes(&narrow, &with, "a/b") && !publishes(&narrow, &with, "b"));
    assert!(!publishes(&narrow, &with, "a/no") && !subscribes(&narrow, &with, "a/#"));
    let grant =
        Arc::new(Policy::of(read_acl("x", &deny("topics = 'a/no'")).unwrap(), ClaimsMode::Grant));
    assert!(publishes(&grant, &with, "a/b") && !publishes(&grant, &with, "a/no"));
    assert!(!publishes(&grant, &with, "bad/x") && !publishes(&grant, &who("c"), "a/b"));
    let all = Arc::new(Policy::allow_all(ClaimsMode::Narrow));
    assert!(publishes(&all, &with, "a/b") && !publishes(&all, &with, "b"));
}

#[test]
fn every_fault_of_a_file_is_told_with_its_line() {
    let text = "[[rule]]\neffect = \"alow\"\ntopic = \"x\"\n\n[[rule]]\neffect = \"deny\"\n\
                topics = [\"a/#/b\", \"%x\"]\nmax_qos = 3\naddress = \"10.0.0.0/33\"\nretain = \"no\"\n\
                [[rul]]\n";
    assert_eq!(
        faults(text),
        [
            "line 1: `topics` is missing: `#` is every topic",
            "line 2: `effect` is neither \"allow\" nor \"deny\"",
            "line 3: unknown key `topic`; did you mean `topics`?",
            "line 7: `topics` \"a/#/b\" has a misplaced wildcard",
            "line 7: `topics` `%x` stands for nothing; there are %c, %u, %cn, %o, %ou, %san and %%",
            "line 8: `max_qos` is not 0, 1 or 2",
            "line 8: `max_qos` limits what is allowed, and this rule denies",
            "line 9: `address` \"10.0.0.0/33\" is no address and no network like 10.0.0.0/8",
            "line 10: `retain` is a string, not true or false",
            "line 11: unknown key `rul`; did you mean `rule`?",
        ]
    );
    assert!(faults("rule = 3")[0].contains("no list of tables"));
    assert!(faults("[[rule]\n")[0].starts_with("line 1: "));
    assert_eq!(faults(&allow("topics = []")).len(), 2);
    assert!(
        faults(&allow("action = 'subscribe'\nretain = true\ntopics = 'x'"))[0].contains("retain")
    );
    assert!(faults(&allow("topics = '$share/g/x'"))[0].contains("shared group"));
}

#[test]
fn a_mosquitto_file_means_what_it_means_there() {
    let it = mosquitto(
        "# a comment\ntopic read public/#\ntopic deny public/not\n\nuser bob\ntopic readwrite own/bob\n\
         topic write a topic with spaces\ntopic both/ways\nuser eve\ntopic deny pat/eve/x\n\
         pattern write pat/%u/#\npattern read to/%c\npattern deny pat/+/never\n",
    );
    let (nobody, bob, eve) = (who("n"), user("b", "bob"), user("e", "eve"));
    assert!(subscribes(&it, &nobody, "public/x") && !publishes(&it, &nobody, "public/x"));
    assert!(!subscribes(&it, &nobody, "public/not") && !subscribes(&it, &bob, "public/x"));
    assert!(publishes(&it, &bob, "own/bob") && subscribes(&it, &bob, "own/bob"));
    assert!(publishes(&it, &bob, "a topic with spaces"));
    assert!(publishes(&it, &bob, "both/ways") && !publishes(&it, &eve, "both/ways"));
    assert!(publishes(&it, &bob, "pat/bob/x") && !publishes(&it, &bob, "pat/eve/x"));
    assert!(!publishes(&it, &eve, "pat/eve/x") && publishes(&it, &eve, "pat/eve/y"));
    assert!(!publishes(&it, &bob, "pat/bob/never") && subscribes(&it, &bob, "to/b"));
    assert!(!publishes(&it, &nobody, "pat//x") && !subscribes(&it, &user("+", "bob"), "to/+"));
}

#[test]
fn a_mosquitto_file_is_refused_with_every_line_that_is_wrong() {
    let text = "topics x\nuser\ntopic all x y\ntopic read a/#/b\npattern read %c/%x\n";
    let lines: Vec<_> =
        read_mosquitto("acl", text).unwrap_err().iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}

#[test]
fn an_explanation_names_the_rule_that_decides_and_why_the_others_did_not() {
    let text = [
        allow("client = 'other'\ntopics = '#'"),
        allow("action = 'subscribe'\ntopics = '#'"),
        allow("topics = 'dev/%u'"),
        deny("name = 'mine'\ntopics = 'x/#'"),
        allow("topics = '#'"),
    ];
    let it = policy(&text.concat());
    let question =
        Question { action: Action::Publish, topic: "x/y", qos: QoS::AtMostOnce, retain: false };
    let told = it.explain(&who("c"), question);
    let reasons: Vec<_> = told.steps.iter().map(|step| step.reason.clone()).collect();
    assert_eq!(
        reasons,
        [Reason::Others("client"), Reason::OtherAction, Reason::NothingToFillIn, Reason::Decides]
    );
    assert_eq!(told.answer.unwrap_err().to_string(), "denied by rule \"mine\" (acl.toml:12)");
}

/// Topics and filters of few words, so that they meet.
fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("a"), Just("b"), Just("$s"), Just("+")];
    (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, hash)| {
        if hash {
            if levels.len() > 1 {
                levels.pop();
                levels.push("#");
            } else {
                levels = vec!["#"];
            }
        }
        levels.join("/")
    })
}

/// Every topic of up to five levels of the words that filters use, and one that no filter names.
fn topics() -> Vec<String> {
    let words = ["a", "b", "$s", "z"];
    let mut all: Vec<String> = words.map(str::to_owned).to_vec();
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|t| words.map(|w| format!("{t}/{w}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn covering_and_overlapping_are_what_matching_says(one in filter(), other in filter()) {
        thread_local!(static TOPICS: Vec<String> = topics());
        TOPICS.with(|topics| {
            let of_other = topics.iter().filter(|topic| matches(&other, topic));
            prop_assert_eq!(covers(&one, &other), of_other.clone().all(|t| matches(&one, t)));
            prop_assert_eq!(overlaps(&one, &other), of_other.clone().any(|t| matches(&one, t)));
            Ok(())
        })?;
    }

    #[test]
    fn nothing_that_is_not_allowed_reaches_a_subscriber(
        rules in prop::collection::vec((any::<bool>(), filter()), 1..6),
        filter in filter(),
    ) {
        thread_local!(static TOPICS: Vec<String> = topics());
        let text: String = rules.iter().map(|(yes, topic)| {
            let topics = format!("topics = '{topic}'");
            if *yes { allow(&topics) } else { deny(&topics) }
        }).collect();
        let it = policy(&text);
        let mut rights = it.rights_of(&who("c")).unwrap();
        if rights.subscribe(&filter).is_ok() {
            TOPICS.with(|topics| {
                for topic in topics.iter().filter(|topic| matches(&filter, topic)) {
                    // Rules about both: what may be published is what may be read.
                    prop_assert!(rights.publish(topic, QoS::AtMostOnce, false).is_ok(), "{}", topic);
                }
                Ok(())
            })?;
        }
        let question = Question { action: Action::Subscribe, topic: &filter, qos: QoS::AtMostOnce, retain: false };
        let told = it.explain(&who("c"), question);
        let decided = told.steps.iter().find(|step| step.reason == Reason::Decides);
        prop_assert_eq!(told.answer.is_ok(), decided.is_some_and(|step| step.effect == Effect::Allow));
    }

    #[test]
    fn whatever_a_client_calls_itself_it_reads_nothing_of_others(name in "[ab/+#$%]{1,4}") {
        let it = policy(&allow("topics = 'dev/%c/#'"));
        for filter in ["dev/#", "#", "dev/+", "dev/+/#", "dev/other", "dev/other/#"] {
            prop_assert!(!subscribes(&it, &who(&name), filter));
        }
        prop_assert!(TopicFilter::new("dev/x").is_ok());
    }
}
