//! What AWS's manuals and SDKs say of documents, case by case.

use protocol::Wall;

use super::*;
use crate::topic::{ShadowKey, ShadowName, ThingName};

const LIMITS: fn() -> ShadowLimits = ShadowLimits::default;

/// A shadow and its clock, which begins at second 1,000.
#[derive(Default)]
struct Shadow {
    record: Option<Record>,
    passed_s: u64,
}

impl Shadow {
    fn now(&self) -> Wall {
        Wall((1_000 + self.passed_s) * 1_000 + 789)
    }

    fn key(&self) -> ShadowKey<'static> {
        ShadowKey { thing: ThingName::new("pump").unwrap(), shadow: None }
    }

    /// Accepted, delta and documents, or rejected.
    fn update(&mut self, request: &str) -> Result<(String, Option<String>, String), String> {
        let rejected = |rejection: Rejection| rejection.message(Wall(1_000_000));
        let request = UpdateRequest::parse(request.as_bytes(), &LIMITS()).map_err(rejected)?;
        let stored = self.record.take();
        let updated = update(stored.as_ref(), &request, self.now(), &LIMITS());
        match updated {
            Ok(updated) => {
                self.record = Some(Record::decode(&updated.record().encode()).unwrap());
                assert_eq!(self.record, Some(updated.record()));
                Ok((updated.accepted(), updated.delta(), updated.documents()))
            }
            Err(rejection) => {
                self.record = stored;
                Err(rejected(rejection))
            }
        }
    }

    fn get(&self) -> Result<String, String> {
        get(self.record.as_ref(), self.key(), None, self.now())
            .map_err(|rejection| rejection.message(self.now()))
    }

    fn delete(&mut self) -> Result<String, String> {
        let deleted = delete(self.record.as_ref(), self.key(), None, self.now())
            .map_err(|rejection| rejection.message(self.now()))?;
        self.record = Some(Record::decode(&deleted.record().encode()).unwrap());
        Ok(deleted.accepted())
    }

    /// What `get` gives of a shadow after these requests, without metadata and what follows.
    fn state_after(requests: &[&str]) -> String {
        let mut shadow = Self::default();
        for request in requests {
            shadow.update(request).unwrap();
        }
        let got = shadow.get().unwrap();
        let state = got.strip_prefix("{\"state\":").unwrap();
        state.split_once(",\"metadata\":").unwrap().0.to_owned()
    }
}

fn reason(request: &str) -> (u16, String) {
    let rejection = match UpdateRequest::parse(request.as_bytes(), &LIMITS()) {
        Err(rejection) => rejection,
        Ok(request) => update(None, &request, Wall(0), &LIMITS()).unwrap_err(),
    };
    (rejection.refusal.code(), rejection.refusal.to_string())
}

#[test]
fn an_update_is_answered_with_what_it_changed_the_delta_and_both_documents() {
    let mut shadow = Shadow::default();
    let (accepted, delta, documents) = shadow
        .update(r#"{"state":{"desired":{"led":"on","rgb":[1,{"x":2}]}},"clientToken":"t-1"}"#)
        .unwrap();
    assert_eq!(
        accepted,
        r#"{"state":{"desired":{"led":"on","rgb":[1,{"x":2}]}},"metadata":{"desired":{"led":{"timestamp":1000},"rgb":[{"timestamp":1000},{"x":{"timestamp":1000}}]}},"version":1,"timestamp":1000,"clientToken":"t-1"}"#
    );
    assert_eq!(
        delta.unwrap(),
        r#"{"version":1,"timestamp":1000,"state":{"led":"on","rgb":[1,{"x":2}]},"metadata":{"led":{"timestamp":1000},"rgb":[{"timestamp":1000},{"x":{"timestamp":1000}}]},"clientToken":"t-1"}"#
    );
    assert_eq!(
        documents,
        r#"{"previous":{},"current":{"state":{"desired":{"led":"on","rgb":[1,{"x":2}]}},"metadata":{"desired":{"led":{"timestamp":1000},"rgb":[{"timestamp":1000},{"x":{"timestamp":1000}}]}},"version":1},"timestamp":1000,"clientToken":"t-1"}"#
    );

    shadow.passed_s = 5;
    let (accepted, delta, documents) =
        shadow.update(r#"{"state":{"reported":{"led":"on","fan":null}},"version":1}"#).unwrap();
    assert_eq!(
        accepted,
        r#"{"state":{"reported":{"fan":null,"led":"on"}},"metadata":{"reported":{"fan":{"timestamp":1005},"led":{"timestamp":1005}}},"version":2,"timestamp":1005}"#
    );
    assert_eq!(
        delta.unwrap(),
        r#"{"version":2,"timestamp":1005,"state":{"rgb":[1,{"x":2}]},"metadata":{"rgb":[{"timestamp":1000},{"x":{"timestamp":1000}}]}}"#
    );
    assert!(documents.starts_with(r#"{"previous":{"state":{"desired":{"led":"on","rgb""#));
    assert!(documents.contains(r#""version":1},"current":{"state":{"desired""#));
    assert!(documents.ends_with(r#""version":2},"timestamp":1005}"#));

    shadow.passed_s = 9;
    let (_, delta, _) = shadow.update(r#"{"state":{"desired":{"rgb":null}}}"#).unwrap();
    assert_eq!(delta, None);
    assert_eq!(
        shadow.get().unwrap(),
        r#"{"state":{"desired":{"led":"on"},"reported":{"led":"on"}},"metadata":{"desired":{"led":{"timestamp":1000}},"reported":{"led":{"timestamp":1005}}},"version":3,"timestamp":1009}"#
    );
}

#[test]
fn a_get_shows_the_delta_while_there_is_one_and_gives_the_token_back() {
    let mut shadow = Shadow::default();
    shadow.update(r#"{"state":{"desired":{"a":1,"b":{"c":2}},"reported":{"a":1}}}"#).unwrap();
    let limits = LIMITS();
    let token = read_get(br#"{"clientToken":"x","more":[1]}"#, &limits).unwrap();
    let got = get(shadow.record.as_ref(), shadow.key(), token.as_ref(), shadow.now()).unwrap();
    assert_eq!(
        got,
        r#"{"state":{"desired":{"a":1,"b":{"c":2}},"reported":{"a":1},"delta":{"b":{"c":2}}},"metadata":{"desired":{"a":{"timestamp":1000},"b":{"c":{"timestamp":1000}}},"reported":{"a":{"timestamp":1000}},"delta":{"b":{"c":{"timestamp":1000}}}},"version":1,"timestamp":1000,"clientToken":"x"}"#
    );
    assert_eq!(read_get(b"", &limits), Ok(None));
    assert_eq!(read_get(b"nonsense", &limits).unwrap_err().refusal, Refusal::InvalidJson);
    assert_eq!(
        read_get(b"{\"clientToken\":7}", &limits).unwrap_err().refusal,
        Refusal::InvalidToken
    );
    assert_eq!(read_delete(b"nonsense", &limits), Ok(None));
    assert_eq!(read_delete(br#"{"clientToken":"x"}"#, &limits).unwrap().unwrap().as_str(), "x");
}

#[test]
fn null_removes_what_it_names_and_nothing_else() {
    let begin = r#"{"state":{"desired":{"a":1,"b":{"c":2,"d":3}},"reported":{"a":1}}}"#;
    for (request, state) in [
        (
            r#"{"state":{}}"#,
            r#"{"desired":{"a":1,"b":{"c":2,"d":3}},"reported":{"a":1},"delta":{"b":{"c":2,"d":3}}}"#,
        ),
        (
            r#"{"state":{"desired":{"b":{"c":null}}}}"#,
            r#"{"desired":{"a":1,"b":{"d":3}},"reported":{"a":1},"delta":{"b":{"d":3}}}"#,
        ),
        (
            r#"{"state":{"desired":{"b":null,"z":null}}}"#,
            r#"{"desired":{"a":1},"reported":{"a":1}}"#,
        ),
        (r#"{"state":{"desired":null}}"#, r#"{"reported":{"a":1}}"#),
        (
            r#"{"state":{"desired":{"b":{"c":null,"d":null}}}}"#,
            r#"{"desired":{"a":1,"b":{}},"reported":{"a":1}}"#,
        ),
        (r#"{"state":{"desired":{"a":null,"b":null},"reported":null}}"#, "{}"),
        (r#"{"state":null}"#, "{}"),
        // What was a value becomes an object, and the other way round.
        (
            r#"{"state":{"desired":{"a":{"x":1},"b":5}}}"#,
            r#"{"desired":{"a":{"x":1},"b":5},"reported":{"a":1},"delta":{"a":{"x":1},"b":5}}"#,
        ),
        // Nothing but null makes no object.
        (
            r#"{"state":{"reported":{"n":{"m":{"o":null}},"e":{}}}}"#,
            r#"{"desired":{"a":1,"b":{"c":2,"d":3}},"reported":{"a":1,"e":{}},"delta":{"b":{"c":2,"d":3}}}"#,
        ),
    ] {
        assert_eq!(Shadow::state_after(&[begin, request]), state, "{request}");
    }
}

#[test]
fn clearing_the_state_keeps_the_shadow_and_its_version() {
    let mut shadow = Shadow::default();
    shadow.update(r#"{"state":{"desired":{"a":1}}}"#).unwrap();
    let (accepted, delta, documents) = shadow.update(r#"{"state":null}"#).unwrap();
    assert_eq!(accepted, r#"{"state":null,"metadata":{},"version":2,"timestamp":1000}"#);
    assert_eq!(delta, None);
    assert!(documents.contains(r#""current":{"state":{},"metadata":{},"version":2}"#));
    let got = shadow.get().unwrap();
    assert_eq!(got, r#"{"state":{},"metadata":{},"version":2,"timestamp":1000}"#);
    let (accepted, ..) = shadow.update(r#"{"state":{"desired":null}}"#).unwrap();
    assert_eq!(
        accepted,
        r#"{"state":{"desired":null},"metadata":{"desired":{"timestamp":1000}},"version":3,"timestamp":1000}"#
    );
}

#[test]
fn values_come_back_as_they_were_sent() {
    let reported = r#"{"big":123456789012345678901234567890,"e":1.50E+3,"empty":"","esc":"\"\\\n\u0001/","no":false,"one":1.0,"small":-0.0000000000000000000001,"text":"grün 😀"}"#;
    let request = format!(r#"{{"state":{{"reported":{reported}}}}}"#);
    assert_eq!(Shadow::state_after(&[&request]), format!(r#"{{"reported":{reported}}}"#));
}

#[test]
fn arrays_are_one_value_and_numbers_are_compared_by_value() {
    let delta = |desired: &str, reported: &str| {
        let request =
            format!(r#"{{"state":{{"desired":{{"a":{desired}}},"reported":{{"a":{reported}}}}}}}"#);
        Shadow::default().update(&request).unwrap().1.is_some()
    };
    for (desired, reported) in [
        ("[1,2]", "[1.0,20e-1]"),
        ("1", "1.0"),
        (r#"[{"x":1,"y":2}]"#, r#"[{"y":2,"x":1.0}]"#),
        (r#""\u0041""#, r#""A""#),
        ("{}", "{}"),
        ("{}", r#"{"b":1}"#),
    ] {
        assert!(!delta(desired, reported), "{desired} {reported}");
    }
    for (desired, reported) in [
        ("[1,2]", "[2,1]"),
        ("[1]", "[1,2]"),
        ("1", "\"1\""),
        ("true", "1"),
        ("[]", "{}"),
        ("{}", "1"),
        ("12345678901234567890", "12345678901234567891"),
        (r#"{"b":1}"#, "{}"),
    ] {
        assert!(delta(desired, reported), "{desired} {reported}");
    }
}

#[test]
fn a_version_in_a_request_must_be_that_of_the_document() {
    let mut shadow = Shadow::default();
    let with = |version: &str| format!(r#"{{"state":{{}},"version":{version},"clientToken":"c"}}"#);
    let rejected = |code: u16, words: &str| {
        format!(r#"{{"code":{code},"message":"{words}","timestamp":1000,"clientToken":"c"}}"#)
    };
    assert_eq!(shadow.update(&with("2")).unwrap_err(), rejected(400, "Invalid version"));
    for new in ["0", "1", "null"] {
        Shadow::default().update(&with(new)).unwrap();
    }
    shadow.update(&with("0")).unwrap();
    for wrong in ["0", "2"] {
        assert_eq!(shadow.update(&with(wrong)).unwrap_err(), rejected(409, "Version conflict"));
    }
    for nonsense in ["\"1\"", "1.0", "-1", "1e0", "[1]", "{}", "true", "99999999999999999999"] {
        assert_eq!(shadow.update(&with(nonsense)).unwrap_err(), rejected(400, "Invalid version"));
    }
    assert!(shadow.update(&with("1")).unwrap().0.contains(r#""version":2"#));
}

#[test]
fn a_shadow_created_again_goes_on_from_its_version_for_two_days() {
    let mut shadow = Shadow::default();
    let missing = r#"{"code":404,"message":"No shadow exists with name: pump","timestamp":1000}"#;
    assert_eq!(shadow.get().unwrap_err(), missing);
    assert_eq!(shadow.delete().unwrap_err(), missing);
    shadow.update(r#"{"state":{"reported":{"a":1}}}"#).unwrap();
    shadow.update(r#"{"state":{"reported":{"a":2}}}"#).unwrap();
    assert_eq!(shadow.delete().unwrap(), r#"{"version":2,"timestamp":1000}"#);
    assert_eq!(shadow.get().unwrap_err(), missing);
    assert_eq!(shadow.delete().unwrap_err(), missing);
    assert!(shadow.update(r#"{"state":{},"version":2}"#).unwrap_err().contains("409"));

    let deleted = shadow.record.clone();
    shadow.passed_s = 48 * 3_600 - 1;
    let (accepted, _, documents) =
        shadow.update(r#"{"state":{"reported":{"b":1}},"version":0}"#).unwrap();
    assert!(accepted.contains(r#""version":3"#), "{accepted}");
    assert!(documents.starts_with(r#"{"previous":{},"current":{"state":{"reported":{"b":1}}"#));

    (shadow.record, shadow.passed_s) = (deleted, 48 * 3_600);
    assert!(shadow.record.as_ref().unwrap().is_over(shadow.now(), &LIMITS()));
    let (accepted, ..) = shadow.update(r#"{"state":{},"version":1}"#).unwrap();
    assert!(accepted.contains(r#""version":1"#), "{accepted}");
}

#[test]
fn a_named_shadow_is_missed_by_its_name() {
    let key = ShadowKey {
        thing: ThingName::new("pump").unwrap(),
        shadow: Some(ShadowName::new("conf").unwrap()),
    };
    let rejection = get(None, key, None, Wall(0)).unwrap_err();
    assert_eq!(rejection.refusal.to_string(), "No shadow exists with name: conf");
    assert_eq!(rejection.refusal.error_type(), "ResourceNotFoundException");
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_the_words_of_aws() {
    for (request, code, words) in [
        ("", 400, "Invalid JSON"),
        ("[]", 400, "Invalid JSON"),
        ("{\"state\":{}", 400, "Invalid JSON"),
        ("{}", 400, "Missing required node: state"),
        (r#"{"state":[]}"#, 400, "State node must be an object"),
        (r#"{"state":"x"}"#, 400, "State node must be an object"),
        (r#"{"state":{"desired":1}}"#, 400, "Desired node must be an object"),
        (r#"{"state":{"reported":[]}}"#, 400, "Reported node must be an object"),
        (r#"{"state":{"delta":{}}}"#, 400, "State contains an invalid node: 'delta'"),
        (
            r#"{"state":{"desired":{"a":[1,[null]]}}}"#,
            400,
            "Invalid JSON: null is not allowed in an array",
        ),
        (
            r#"{"state":{"desired":{"a":[{"b":null}]}}}"#,
            400,
            "Invalid JSON: null is not allowed in an array",
        ),
        (r#"{"state":{},"clientToken":1}"#, 400, "Invalid clientToken"),
        (r#"{"state":{},"version":"1"}"#, 400, "Invalid version"),
    ] {
        assert_eq!(reason(request), (code, words.to_owned()), "{request}");
    }
    let latin_1 = UpdateRequest::parse(b"{\"state\":\"\xe4\"}", &LIMITS()).unwrap_err();
    assert_eq!((latin_1.refusal.code(), latin_1.token), (415, None));
    let long = format!(r#"{{"state":{{"{}":1}}}}"#, "ä".repeat(1_000));
    assert_eq!(reason(&long).1.chars().filter(|c| *c == 'ä').count(), 64);
}

#[test]
fn what_is_sent_besides_does_not_matter() {
    let request = r#"{"state":{},"metadata":{"x":[null]},"timestamp":"?","clientToken":null}"#;
    assert!(Shadow::default().update(request).is_ok());
}

#[test]
fn limits_hold_to_the_byte_and_to_the_level() {
    let limits = LIMITS();
    let token = |len: usize| format!(r#"{{"state":{{}},"clientToken":"{}"}}"#, "x".repeat(len));
    assert!(Shadow::default().update(&token(limits.token_bytes)).is_ok());
    assert_eq!(reason(&token(limits.token_bytes + 1)).1, "Invalid clientToken");

    let nested = |levels: usize, open: &str, close: &str| {
        let (open, close) = (open.repeat(levels), close.repeat(levels));
        format!(r#"{{"state":{{"desired":{{"a":{open}{close}}}}}}}"#)
    };
    let deep = (400, "JSON contains too many levels of nesting; maximum is 8".to_owned());
    assert!(Shadow::default().update(&nested(8, "[", "]")).is_ok());
    assert_eq!(reason(&nested(9, "[", "]")), deep);
    assert_eq!(reason(&nested(90_000, "[", "]")), (413, Refusal::TooLarge.to_string()));
    assert_eq!(reason(&nested(60_000, "[", "]")), deep);
    let objects = |levels| nested(levels, r#"{"a":"#, "}").replace(":}", ":{}}");
    assert!(Shadow::default().update(&objects(7)).is_ok(), "{}", objects(7));
    assert_eq!(reason(&objects(8)), deep);

    // What counts is desired and reported as compact JSON, not how they are sent, nor what is sent besides.
    let sized = |len: usize| {
        let text = "x".repeat(len - r#"{"a":""}"#.len());
        format!(r#"{{ "state" : {{ "desired" : {{ "a" : "{text}" }} }}, "more": "{text}" }}"#)
    };
    let mut shadow = Shadow::default();
    shadow.update(&sized(limits.document_bytes)).unwrap();
    assert_eq!(shadow.record.as_ref().unwrap().document().unwrap().state_bytes(), 8_192);
    let too_large = "The payload exceeds the maximum size allowed";
    assert_eq!(reason(&sized(limits.document_bytes + 1)), (413, too_large.to_owned()));
    let grown = shadow.update(r#"{"state":{"reported":{"b":1}},"clientToken":"c"}"#).unwrap_err();
    assert_eq!(
        grown,
        format!(r#"{{"code":413,"message":"{too_large}","timestamp":1000,"clientToken":"c"}}"#)
    );
    assert!(shadow.update(r#"{"state":{"desired":{"a":null},"reported":{"b":1}}}"#).is_ok());
}

#[test]
fn a_damaged_record_is_no_record() {
    let mut shadow = Shadow::default();
    let state = r#"{"desired":{"a":{"b":[1,{"c":"d"}]},"e":true},"reported":{"f":"g"}}"#;
    shadow.update(&format!(r#"{{"state":{state}}}"#)).unwrap();
    let bytes = shadow.record.unwrap().encode();
    assert!(bytes.len() < state.len() + 9, "{} bytes", bytes.len());
    for len in 0..bytes.len() {
        assert_eq!(Record::decode(&bytes[..len]), None, "{len}");
    }
    assert_eq!(Record::decode(&[&bytes[..], &[0]].concat()), None);
    let mut other_form = bytes;
    other_form[8] += 1;
    assert_eq!(Record::decode(&other_form), None);
}
