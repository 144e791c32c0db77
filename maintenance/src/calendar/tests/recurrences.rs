//! Recurrence rules against the examples of RFC 5545 (3.8.5.3), and what is refused. The comparison with another
//! implementation is `tests/oracles/tests/recurrences.rs`.

use jiff::civil::Date;
use proptest::prelude::*;

use crate::calendar::Recurrence;

fn days(rule: &str, first: &str, to: &str) -> String {
    let rule: Recurrence = rule.parse().unwrap();
    let first: Date = first.parse().unwrap();
    let days = rule.days(first, first, to.parse().unwrap());
    let mut text = String::new();
    let mut month = (0, 0);
    for day in days.into_iter().take(rule.count.unwrap_or(u32::MAX) as usize) {
        if month != (day.year(), day.month()) {
            month = (day.year(), day.month());
            text += &format!(" {:04}-{:02}:", day.year(), day.month());
        }
        text += &format!(" {}", day.day());
    }
    text.trim().to_owned()
}

/// Rule, last day that is looked at, days; all begin on 2 September 1997.
const EXAMPLES: [(&str, &str, &str); 22] = [
    ("FREQ=DAILY;COUNT=10", "1998-01-01", "1997-09: 2 3 4 5 6 7 8 9 10 11"),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", "1998-01-01", "1997-09: 2 12 22 1997-10: 2 12"),
    ("FREQ=WEEKLY;COUNT=5", "1998-01-01", "1997-09: 2 9 16 23 30"),
    (
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        "1997-11-30",
        "1997-09: 2 16 30 1997-10: 14 28 1997-11: 11 25",
    ),
    (
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "1998-01-01",
        "1997-09: 2 4 9 11 16 18 23 25 30 1997-10: 2 7",
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        "1998-01-01",
        "1997-09: 2 4 16 18 30 1997-10: 2 14 16",
    ),
    ("FREQ=MONTHLY;COUNT=3;BYMONTHDAY=2,15", "1998-01-01", "1997-09: 2 15 1997-10: 2"),
    ("FREQ=MONTHLY;COUNT=4;BYMONTHDAY=1,-1", "1998-01-01", "1997-09: 30 1997-10: 1 31 1997-11: 1"),
    (
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "1999-12-31",
        "1998-02: 13 1998-03: 13 1998-11: 13 1999-08: 13",
    ),
    (
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        "1997-12-31",
        "1997-09: 13 1997-10: 11 1997-11: 8 1997-12: 13",
    ),
    (
        "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
        "1998-01-01",
        "1997-09: 4 1997-10: 7 1997-11: 6",
    ),
    (
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        "1998-02-01",
        "1997-09: 29 1997-10: 30 1997-11: 27 1997-12: 30 1998-01: 29",
    ),
    ("FREQ=MONTHLY;BYDAY=1FR", "1997-12-31", "1997-09: 5 1997-10: 3 1997-11: 7 1997-12: 5"),
    ("FREQ=MONTHLY;BYDAY=-2MO", "1997-12-31", "1997-09: 22 1997-10: 20 1997-11: 17 1997-12: 22"),
    (
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=1SU,-1SU",
        "1998-01-31",
        "1997-09: 7 28 1997-11: 2 30 1998-01: 4 25",
    ),
    (
        "FREQ=MONTHLY;BYMONTHDAY=-3",
        "1998-02-28",
        "1997-09: 28 1997-10: 29 1997-11: 28 1997-12: 29 1998-01: 29 1998-02: 26",
    ),
    ("FREQ=YEARLY;BYMONTH=6,7", "1999-12-31", "1998-06: 2 1998-07: 2 1999-06: 2 1999-07: 2"),
    ("FREQ=YEARLY;INTERVAL=2;BYMONTH=1,2,3", "2000-12-31", "1999-01: 2 1999-02: 2 1999-03: 2"),
    ("FREQ=YEARLY;BYDAY=20MO", "1999-12-31", "1998-05: 18 1999-05: 17"),
    ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "1998-12-31", "1998-03: 5 12 19 26"),
    (
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "2006-12-31",
        "1997-11: 4 2001-11: 6 2005-11: 8",
    ),
    ("FREQ=DAILY;BYMONTH=1;UNTIL=19980103", "2000-01-01", "1998-01: 1 2 3"),
];

#[test]
fn the_examples_of_the_standard_recur_as_it_says() {
    for (rule, to, expected) in EXAMPLES {
        assert_eq!(days(rule, "1997-09-02", to), expected, "{rule}");
    }
}

#[test]
fn the_week_begins_where_the_rule_says() {
    let rule = |start| {
        days(
            &format!("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST={start}"),
            "1997-08-05",
            "1998-01-01",
        )
    };
    assert_eq!(rule("MO"), "1997-08: 5 10 19 24");
    assert_eq!(rule("SU"), "1997-08: 5 17 19 31");
}

#[test]
fn a_day_that_a_month_does_not_have_is_left_out() {
    assert_eq!(
        days("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=3", "2007-01-01", "2008-01-01"),
        "2007-01: 31 2007-03: 31 2007-05: 31"
    );
    assert_eq!(
        days("FREQ=YEARLY", "2024-02-29", "2033-01-01"),
        "2024-02: 29 2028-02: 29 2032-02: 29"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_by_name_and_position() {
    for (rule, expected) in [
        ("", " at position 1: is not of the form NAME=VALUE"),
        (
            "FREQ=HOURLY",
            "FREQ at position 1: HOURLY is more often than once a day, which is not taken",
        ),
        ("INTERVAL=2", "FREQ at position 1: is missing"),
        (
            "FREQ=DAILY;BYHOUR=3",
            "BYHOUR at position 12: is not taken: the time of day is the start's",
        ),
        (
            "FREQ=YEARLY;BYWEEKNO=3",
            "BYWEEKNO at position 13: is not taken: weeks of the year are not supported",
        ),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ at position 12: stands twice"),
        ("FREQ=DAILY;", " at position 12: is not of the form NAME=VALUE"),
        ("FREQ=DAILY;COUNT=0", "COUNT at position 12: \"0\" is no number from 1 to 10000"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20260101", "UNTIL at position 1: does not go with COUNT"),
        (
            "FREQ=DAILY;UNTIL=20260230",
            "UNTIL at position 12: \"20260230\" is no day or moment (such as 20261231 or 20261231T220000Z)",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=0",
            "BYMONTHDAY at position 14: \"0\" is no number from 1 to 31 or -31 to -1",
        ),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY at position 1: does not go with FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY at position 1: numbers need FREQ=MONTHLY or YEARLY"),
        (
            "FREQ=WEEKLY;BYDAY=XX",
            "BYDAY at position 13: \"XX\" is none of MO, TU, WE, TH, FR, SA, SU",
        ),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS at position 1: needs another BY part to choose from"),
    ] {
        assert_eq!(rule.parse::<Recurrence>().unwrap_err().to_string(), expected, "{rule}");
    }
}

#[test]
fn a_rule_that_counts_from_its_first_day_says_so() {
    let needs = |rule: &str| rule.parse::<Recurrence>().unwrap().counts_from_its_first_day();
    assert_eq!(needs("FREQ=WEEKLY;BYDAY=TU"), None);
    assert_eq!(needs("FREQ=DAILY;BYMONTH=1"), None);
    assert_eq!(needs("FREQ=WEEKLY"), Some("WEEKLY"));
    assert_eq!(needs("FREQ=YEARLY;BYMONTH=1"), Some("YEARLY"));
    assert_eq!(needs("FREQ=WEEKLY;BYDAY=TU;INTERVAL=2"), Some("INTERVAL"));
    assert_eq!(needs("FREQ=WEEKLY;BYDAY=TU;COUNT=2"), Some("COUNT"));
}

/// A part of a rule, or something like one.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("FREQ=MONTHLY".to_owned()),
        Just("FREQ=YEARLY".to_owned()),
        Just("FREQ=WEEKLY".to_owned()),
        "(INTERVAL|COUNT)=[0-9]{1,4}",
        "BYDAY=[+-]?[0-9]{0,2}(MO|TU|SU)(,(WE|-1FR))?",
        "(BYMONTHDAY|BYMONTH|BYSETPOS)=-?[0-9]{1,2}",
        "UNTIL=2026[01][0-9][0-3][0-9](T[0-2][0-9]0000Z?)?",
        "WKST=(MO|SU|TH)",
        ".{0,12}",
    ]
}

proptest! {
    #[test]
    fn what_is_read_is_written_again_and_nothing_panics(
        parts in prop::collection::vec(part(), 0..6),
    ) {
        let text = parts.join(";");
        if let Ok(rule) = text.parse::<Recurrence>() {
            let again = rule.to_string();
            prop_assert_eq!(again.parse::<Recurrence>().unwrap(), rule.clone(), "{}", again);
            let day = |text: &str| text.parse::<Date>().unwrap();
            let some = rule.days(day("2026-01-31"), day("2026-03-01"), day("2027-03-01"));
            prop_assert!(some.is_sorted() && some.iter().all(|it| *it >= day("2026-03-01")));
            // From wherever one looks, the days are the same.
            let all = rule.days(day("2026-01-31"), day("2020-01-01"), day("2027-03-01"));
            let later: Vec<_> = all.into_iter().filter(|it| *it >= day("2026-03-01")).collect();
            prop_assert_eq!(some, later);
            let _ = rule.days(Date::MIN, Date::MIN, Date::MIN);
            let _ = rule.days(Date::MAX, Date::MIN, Date::MAX);
        }
    }
}
