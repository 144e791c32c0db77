//! Windows without exclusions, and who made them.

use std::sync::Arc;

use proptest::prelude::*;

use super::{HOUR, at, civil, exclusion, shown, span, window};
use crate::calendar::rule::{Edge, Instead, InvalidRule, OneOff, TimeRule, When};
use crate::calendar::{Calendar, Closed, Interval, Openings, Preview, Zone, ZoneChoice};

fn named(name: &str, rule: TimeRule) -> TimeRule {
    TimeRule { name: Arc::from(name), ..rule }
}

fn compile(calendar: &Calendar, horizon: Interval) -> Openings {
    calendar.compile(&Zone::utc(), horizon, &[])
}

fn texts(openings: &Openings) -> Vec<String> {
    let one = |from, to, rules: &[Arc<str>]| {
        let rules = rules.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("+");
        format!("{} {} {rules}", shown(from), shown(to))
    };
    openings.openings().iter().map(|it| one(it.interval.from, it.interval.to, &it.rules)).collect()
}

#[test]
fn exclusions_win_and_overlaps_merge_and_each_says_why() {
    let calendar = Calendar {
        windows: vec![
            named("a", window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", "PT4H", "UTC")),
            named("b", window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T04:00", "PT2H", "UTC")),
        ],
        exclusions: vec![TimeRule {
            reason: Arc::from("billing"),
            allow: vec!["security".into()],
            ..named("x", exclusion("FREQ=DAILY", "2026-01-01T02:00", "PT1H", "UTC"))
        }],
    };
    let week = span("2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    let found = compile(&calendar, week);
    assert_eq!(
        texts(&found),
        [
            "2026-11-24T01:00:00Z 2026-11-24T02:00:00Z a+b",
            "2026-11-24T03:00:00Z 2026-11-24T06:00:00Z a+b",
        ]
    );
    let ids: Vec<_> = found.openings().iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["a/20261124T010000", "a/20261124T010000.2"]);
    assert_eq!(
        found.why_closed(at("2026-11-24T02:30:00Z")),
        Some(Closed::Excluded {
            rule: "x".into(),
            reason: "billing".into(),
            until: at("2026-11-24T03:00:00Z"),
        })
    );
    let closed = Closed::NoWindow { next: Some(at("2026-11-24T01:00:00Z")) };
    assert_eq!(found.why_closed(at("2026-11-23T12:00:00Z")), Some(closed));
    assert_eq!(found.why_closed(at("2026-11-24T01:00:00Z")), None);
    assert_eq!(found.windows().total(), 5 * HOUR);
    assert_eq!(found.as_intervals().total(), 4 * HOUR);
    assert_eq!(found.windows().minus(&found.excluded()), found.as_intervals());
    // What is allowed is not excluded.
    let security = calendar.compile(&Zone::utc(), week, &["security"]);
    assert_eq!(security.as_intervals(), found.windows());
}

#[test]
fn without_a_window_it_is_never() {
    let week = span("2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    let found = compile(&Calendar::default(), week);
    assert!(found.as_intervals().is_empty());
    assert_eq!(found.why_closed(week.from), Some(Closed::NoWindow { next: None }));
}

#[test]
fn an_opening_that_reaches_over_the_horizon_is_cut_off() {
    let calendar = Calendar {
        windows: vec![window("FREQ=DAILY", "2026-01-01T00:00", "P1D", "UTC")],
        exclusions: vec![],
    };
    let week = span("2026-11-22T12:00:00Z", "2026-11-29T12:00:00Z");
    let found = compile(&calendar, week);
    assert_eq!(found.as_intervals().as_slice(), [week]);
}

#[test]
fn both_of_two_calendars_are_heeded_and_named() {
    let only = |windows, exclusions| {
        compile(
            &Calendar { windows, exclusions },
            span("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
        )
    };
    let left =
        only(vec![named("a", window("FREQ=DAILY", "2026-01-01T01:00", "PT4H", "UTC"))], vec![]);
    let right = only(
        vec![named("b", window("FREQ=DAILY", "2026-01-01T03:00", "PT4H", "UTC"))],
        vec![exclusion("FREQ=DAILY", "2026-01-01T03:30", "PT30M", "UTC")],
    );
    let both = left.and(&right);
    assert_eq!(
        texts(&both),
        [
            "2026-11-24T03:00:00Z 2026-11-24T03:30:00Z a+b",
            "2026-11-24T04:00:00Z 2026-11-24T05:00:00Z a+b",
        ]
    );
    assert_eq!(both.as_intervals(), right.and(&left).as_intervals());
}

fn different(at: &str, instead: Option<(&str, Option<&str>)>) -> OneOff {
    let instead = instead.map(|(start, length)| Instead {
        start: civil(start),
        length: length.map(|length| length.parse().unwrap()),
    });
    OneOff { at: civil(at), instead }
}

#[test]
fn one_occurrence_may_be_called_off_moved_or_shortened() {
    let mut rule = window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", "PT4H", "Europe/Berlin");
    rule.one_offs = vec![
        different("2026-11-03T01:00", None),
        different("2026-11-10T01:00", Some(("2026-12-24T02:00", None))),
        different("2026-11-17T01:00", Some(("2026-11-17T01:00", Some("PT1H")))),
    ];
    assert_eq!(rule.check(), Ok(()));
    let calendar = Calendar { windows: vec![rule.clone()], exclusions: vec![] };
    let november = compile(&calendar, span("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"));
    assert_eq!(
        texts(&november),
        [
            "2026-11-17T00:00:00Z 2026-11-17T01:00:00Z w",
            "2026-11-24T00:00:00Z 2026-11-24T04:00:00Z w",
        ]
    );
    // It goes by the name that it had.
    let christmas = compile(&calendar, span("2026-12-23T00:00:00Z", "2026-12-25T00:00:00Z"));
    assert_eq!(texts(&christmas), ["2026-12-24T01:00:00Z 2026-12-24T05:00:00Z w"]);
    assert_eq!(christmas.openings()[0].id, "w/20261110T010000");

    rule.one_offs = vec![different("2026-11-04T01:00", None)];
    assert_eq!(rule.check(), Err(InvalidRule::NoOccurrence(civil("2026-11-04T01:00"))));
    rule.one_offs = vec![different("2026-11-03T01:00", Some(("2026-11-03T01:00", Some("PT5H"))))];
    assert_eq!(rule.check(), Err(InvalidRule::Longer(civil("2026-11-03T01:00"))));
    rule.one_offs = vec![different("2026-11-03T01:00", None); 2];
    assert_eq!(rule.check(), Err(InvalidRule::ChangedTwice(civil("2026-11-03T01:00"))));
}

#[test]
fn a_span_that_happens_once_may_be_by_the_clocks_of_the_host() {
    let once = |zone: &str| TimeRule {
        when: When::Once {
            from: Edge::Civil(civil("2026-11-20T00:00")),
            to: Edge::Civil(civil("2026-12-03T00:00")),
        },
        zone: ZoneChoice::named(zone).unwrap(),
        ..exclusion("FREQ=DAILY", "2026-01-01T00:00", "P1D", "UTC")
    };
    let year = span("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let on = |zone: &str, host| once(zone).occurrences(&Zone::named(host).unwrap(), year);
    let berlin = span("2026-11-20T00:00:00+01:00", "2026-12-03T00:00:00+01:00");
    assert_eq!(on("host", "Europe/Berlin")[0].interval, Some(berlin));
    assert_eq!(on("Europe/Berlin", "Asia/Tokyo")[0].interval, Some(berlin));
}

#[test]
fn the_preview_shows_every_zone_and_the_nights_that_are_odd() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let calendar = Calendar {
        windows: vec![window("FREQ=WEEKLY;BYDAY=SU", "2026-01-01T02:30", "PT2H", "host")],
        exclusions: vec![],
    };
    let tokyo = Zone::named("Asia/Tokyo").unwrap();
    let next = |wanted, now: &str| {
        Preview::next(wanted, at(now), (&berlin, &tokyo), |span| {
            calendar.compile(&berlin, span, &[])
        })
    };
    let spring = next(2, "2026-03-24T00:00:00Z");
    let odd: Vec<String> =
        spring.rows.iter().map(|row| row.odd.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(odd, ["skipped: the clocks leave its start out", "", ""]);
    assert_eq!(spring.rows[1].host.as_ref().unwrap()[0], "Sun 2026-04-05 02:30:00 +02:00");
    assert_eq!(spring.rows[1].viewer.as_ref().unwrap()[1], "Sun 2026-04-05 11:30:00 +09:00");
    assert_eq!(spring.rows[1].utc.as_ref().unwrap()[0], "Sun 2026-04-05 00:30:00 +00:00");
    assert!(spring.zone_database.starts_with("20"));
    let autumn = next(1, "2026-10-24T00:00:00Z");
    let odd: Vec<String> = autumn.rows[0].odd.iter().map(ToString::to_string).collect();
    assert_eq!(
        odd,
        [
            "its start comes twice: the first time counts",
            "the clocks change inside, from UTC+02 to UTC+01"
        ]
    );
    // Rare openings are found, too.
    let leap = Calendar {
        windows: vec![window(
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
            "2026-01-01T02:30",
            "PT2H",
            "host",
        )],
        exclusions: vec![],
    };
    let rare = Preview::next(2, at("2026-03-24T00:00:00Z"), (&berlin, &tokyo), |span| {
        leap.compile(&berlin, span, &[])
    });
    assert_eq!(rare.rows.len(), 2);
}

proptest! {
    /// What is compiled over a part of a horizon is that part of what is compiled over all of it.
    #[test]
    fn openings_do_not_depend_on_where_one_looks_from(
        rule in prop::sample::select(vec!["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,SA", "FREQ=MONTHLY;BYDAY=-1SU", "FREQ=DAILY;INTERVAL=3", "FREQ=DAILY;COUNT=40"]),
        hour in 0..24, length in prop::sample::select(vec!["PT1H", "PT30H", "P1D", "P3D", "PT23H"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
        (from, to) in (0_u64..2000, 1_u64..2000),
    ) {
        let calendar = Calendar {
            windows: vec![window(rule, &format!("2026-02-20T{hour:02}:00"), length, zone)],
            exclusions: vec![exclusion("FREQ=WEEKLY;BYDAY=SU", "2026-01-01T12:00", "PT3H", zone)],
        };
        let all = span("2026-03-01T00:00:00Z", "2026-05-30T00:00:00Z");
        let begin = all.from.after(HOUR * u32::try_from(from).unwrap());
        if let Some(part) = Interval::new(begin, begin.after(HOUR * u32::try_from(to).unwrap())).and_then(|it| it.common(all)) {
            prop_assert_eq!(compile(&calendar, part).as_intervals(), compile(&calendar, all).as_intervals().within(part));
        }
    }
}
