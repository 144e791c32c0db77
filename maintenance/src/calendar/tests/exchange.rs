//! Calendars written and read again (P26), as others write them, and as nobody should.

use std::time::Duration;

use proptest::prelude::*;
use protocol::Wall;

use super::{at, shown, span, window};
use crate::calendar::ics::{Event, Feed, Status, read, write};
use crate::calendar::{Calendar, Interval, Intervals, Opening, TimeRule, Zone, ZoneChoice};

const HOST: ZoneChoice = ZoneChoice::Host;

fn event(uid: &str, interval: Interval) -> Event {
    let summary = "gw-1, gw-2; upgrade \\ to 2.4\nnight of the long, long, long, long line, it's folded: äöü 🌙🌙🌙🌙".into();
    Event {
        uid: uid.into(),
        sequence: 3,
        changed: at("2026-11-20T00:00:00Z"),
        interval,
        status: Status::Confirmed,
        summary,
        description: String::new(),
    }
}

fn feed(events: &[Event]) -> String {
    write(&Feed { name: "nights", refresh: Duration::from_secs(3600), events })
}

fn excluded(rules: &[TimeRule], host: &str, horizon: Interval) -> Intervals {
    let host = Zone::named(host).unwrap();
    rules
        .iter()
        .flat_map(|rule| rule.occurrences(&host, horizon))
        .filter_map(|it| it.interval)
        .collect()
}

/// One event between the lines that every calendar has.
fn ics(events: &[&str]) -> String {
    let events = events.iter().map(|event| {
        format!("BEGIN:VEVENT\r\nUID:1\r\n{}\r\nEND:VEVENT\r\n", event.replace('\n', "\r\n"))
    });
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}END:VCALENDAR\r\n", events.collect::<String>())
}

const YEAR: &str = "2026-01-01T00:00:00Z";

fn spans(events: &[&str], host: &str) -> Vec<String> {
    let rules = read(&ics(events), "holidays", &HOST).unwrap();
    let found = excluded(&rules, host, span(YEAR, "2027-01-01T00:00:00Z"));
    found.iter().map(|it| format!("{} {}", shown(it.from), shown(it.to))).collect()
}

fn fault(events: &[&str]) -> String {
    let faults = read(&ics(events), "holidays", &HOST).unwrap_err();
    assert_eq!(faults.len(), 1);
    faults[0].to_string()
}

#[test]
fn what_is_written_is_as_the_standard_has_it() {
    let text = feed(&[event("a/1@fleet", span("2026-11-24T01:00:00Z", "2026-11-24T05:00:00Z"))]);
    for line in text.split("\r\n") {
        assert!(line.len() <= 75, "{line}");
        assert!(!line.contains(['\n', '\r']));
    }
    for part in [
        "BEGIN:VEVENT\r\nUID:a/1@fleet\r\nDTSTAMP:20261120T000000Z\r\nLAST-MODIFIED:20261120T000000Z\r\nSEQUENCE:3\r\n",
        "DTSTART:20261124T010000Z\r\nDTEND:20261124T050000Z\r\nSTATUS:CONFIRMED\r\n",
        "SUMMARY:gw-1\\, gw-2\\; upgrade \\\\ to 2.4\\nnight of ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let rules = read(&text, "feed", &HOST).unwrap();
    assert_eq!(&*rules[0].reason, event("", span(YEAR, "2027-01-01T00:00:00Z")).summary);
    // A cancelled one excludes nothing.
    let cancelled =
        Event { status: Status::Cancelled, ..event("a", span(YEAR, "2027-01-01T00:00:00Z")) };
    assert_eq!(read(&feed(&[cancelled]), "feed", &HOST), Ok(vec![]));
}

proptest! {
    /// P26: what is written is read as the same intervals.
    #[test]
    fn p26_openings_come_back_from_their_calendar(
        rule in prop::sample::select(vec!["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=TU,SA", "FREQ=MONTHLY;BYDAY=-1SU"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
        length in prop::sample::select(vec!["PT4H", "PT26H", "P1D", "PT1M"]),
        hour in 0..24, from_day in 0_u64..300, days in 1_u64..70,
    ) {
        const DAY: u64 = 24 * 3600 * 1000;
        let calendar = Calendar {
            windows: vec![window(rule, &format!("2025-12-01T{hour:02}:00"), length, zone)],
            exclusions: vec![],
        };
        let from = Wall(at(YEAR).0 + from_day * DAY);
        let horizon = Interval::new(from, Wall(from.0 + days * DAY)).unwrap();
        let openings = calendar.compile(&Zone::utc(), horizon, &[]);
        let event = |it: &Opening| it.event("fleet", from, Status::Tentative);
        let mut events: Vec<_> = openings.openings().iter().map(event).collect();
        // What was called off stays in it, and excludes nothing.
        events.push(Event { status: Status::Cancelled, ..self::event("gone", horizon) });
        let rules = read(&feed(&events), "feed", &HOST).unwrap();
        prop_assert_eq!(excluded(&rules, "Asia/Tokyo", horizon), openings.as_intervals());
    }

    #[test]
    fn no_text_makes_reading_panic(
        lines in prop::collection::vec(prop_oneof![
            Just("BEGIN:VCALENDAR".to_owned()), Just("END:VCALENDAR".to_owned()),
            Just("BEGIN:VEVENT".to_owned()), Just("END:VEVENT".to_owned()),
            "(DTSTART|DTEND|EXDATE|RDATE|RECURRENCE-ID)(;VALUE=DATE|;TZID=Europe/Berlin|;TZID=\"x)?:[0-9]{8}(T[0-2][0-9][0-5][0-9]00Z?)?",
            "RRULE:FREQ=(DAILY|MONTHLY|YEARLY);(COUNT|BYMONTHDAY|INTERVAL)=[0-9-]{1,3}",
            "DURATION:-?P(T)?[0-9]{1,4}[DHMW]", "UID:[a-b]", "[ \t]?.{0,30}",
        ], 0..24),
        whole in any::<bool>(),
    ) {
        let mut text = lines.join("\r\n");
        if whole {
            text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{text}\nEND:VEVENT\nEND:VCALENDAR");
        }
        if let Ok(rules) = read(&text, "any", &HOST) {
            excluded(&rules, "Europe/Berlin", span(YEAR, "2026-03-01T00:00:00Z"));
        }
    }
}

#[test]
fn whole_days_are_days_of_the_host() {
    let two = "DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227";
    assert_eq!(spans(&[two], "Europe/Berlin"), ["2026-12-24T23:00:00Z 2026-12-26T23:00:00Z"]);
    assert_eq!(spans(&[two], "Asia/Tokyo"), ["2026-12-24T15:00:00Z 2026-12-26T15:00:00Z"]);
    assert_eq!(
        spans(&["DTSTART;VALUE=DATE:20261225"], "UTC"),
        ["2026-12-25T00:00:00Z 2026-12-26T00:00:00Z"]
    );
    // A birthday, as address books write it.
    let birthday = "DTSTART;VALUE=DATE:16041102\nRRULE:FREQ=YEARLY";
    assert_eq!(spans(&[birthday], "UTC"), ["2026-11-02T00:00:00Z 2026-11-03T00:00:00Z"]);
}

#[test]
fn events_of_the_standard_are_understood() {
    let meeting = "DTSTART;TZID=America/New_York:20260105T090000\nDTEND;TZID=America/New_York:20260105T100000\n\
                   RRULE:FREQ=MONTHLY;BYDAY=1MO;COUNT=4\nEXDATE;TZID=America/New_York:20260202T090000";
    assert_eq!(
        spans(&[meeting], "UTC"),
        [
            "2026-01-05T14:00:00Z 2026-01-05T15:00:00Z",
            "2026-03-02T14:00:00Z 2026-03-02T15:00:00Z",
            "2026-04-06T13:00:00Z 2026-04-06T14:00:00Z",
        ]
    );
    let duration = "DTSTART:20260105T090000Z\nDURATION:PT1H30M\nRDATE:20260106T090000Z,20260107T090000Z\nEXDATE:20260106T090000Z";
    assert_eq!(
        spans(&[duration], "UTC"),
        ["2026-01-05T09:00:00Z 2026-01-05T10:30:00Z", "2026-01-07T09:00:00Z 2026-01-07T10:30:00Z"]
    );
    // No zone: by the clocks of the host.
    let floating = "DTSTART:20260705T090000\nDTEND:20260705T100000";
    assert_eq!(spans(&[floating], "Europe/Berlin"), ["2026-07-05T07:00:00Z 2026-07-05T08:00:00Z"]);
    // One that takes no time excludes nothing.
    assert!(spans(&["DTSTART:20260705T090000Z"], "UTC").is_empty());
    // Names of zones as some programs qualify them.
    let qualified =
        "DTSTART;TZID=\"/example.org/2020/Europe/Berlin\":20260705T090000\nDURATION:PT1H";
    assert_eq!(spans(&[qualified], "UTC"), ["2026-07-05T07:00:00Z 2026-07-05T08:00:00Z"]);
}

#[test]
fn an_event_instead_of_an_occurrence_takes_its_place() {
    let weekly = "DTSTART:20261102T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3";
    let moved = "RECURRENCE-ID:20261109T090000Z\nDTSTART:20261110T120000Z\nDURATION:PT1H";
    assert_eq!(
        spans(&[weekly, moved], "UTC"),
        [
            "2026-11-02T09:00:00Z 2026-11-02T10:00:00Z",
            "2026-11-10T12:00:00Z 2026-11-10T13:00:00Z",
            "2026-11-16T09:00:00Z 2026-11-16T10:00:00Z",
        ]
    );
    let called_off =
        "RECURRENCE-ID:20261109T090000Z\nDTSTART:20261109T090000Z\nDURATION:PT1H\nSTATUS:CANCELLED";
    assert_eq!(spans(&[weekly, called_off], "UTC").len(), 2);
}

#[test]
fn what_is_no_part_of_an_event_does_not_matter() {
    let text = ics(&["DTSTART:20260105T090000Z\nDURATION:PT1H\nBEGIN:VALARM\nTRIGGER:-PT15M\nDURATION:PT5M\nDTSTART:now\nEND:VALARM"])
        .replace("VERSION:2.0\r\n", "VERSION:2.0\r\nBEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:16010101T000000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VTODO\r\nDUE:soon\r\nEND:VTODO\r\n");
    let rules = read(&text, "holidays", &HOST).unwrap();
    assert_eq!(rules.len(), 1);
}

#[test]
fn what_cannot_be_heeded_is_refused_with_its_line() {
    assert_eq!(fault(&["DTEND:20260105T090000Z"]), "line 3: the event has no DTSTART");
    assert_eq!(
        fault(&["DTSTART:20260105T090000Z\nDURATION:PT1H\nRRULE:FREQ=HOURLY"]),
        "line 7: RRULE: FREQ at position 1: HOURLY is more often than once a day, which is not taken"
    );
    assert_eq!(
        fault(&["DTSTART;TZID=W. Europe Standard Time:20260105T090000\nDURATION:PT1H"]),
        "line 5: DTSTART: \"W. Europe Standard Time\" is no time zone of the database"
    );
    assert_eq!(fault(&["DTSTART:soon"]), "line 5: DTSTART: \"soon\" is no date or time");
    assert_eq!(
        fault(&["DTSTART:20260105T090000Z\nDTEND:20260104T090000Z"]),
        "line 6: DTEND: it is before DTSTART"
    );
    assert_eq!(
        fault(&["DTSTART:20260105T090000Z\nDURATION:-PT1H"]),
        "line 6: DURATION: \"-PT1H\" is no length"
    );
    assert_eq!(fault(&["DTSTART:20260105\nDTSTART:20260106"]), "line 6: DTSTART: it stands twice");
    assert_eq!(fault(&["no property"]), "line 5: \"no property\" is no property");
    let text = |text: &str| read(text, "holidays", &HOST).unwrap_err()[0].to_string();
    assert_eq!(text(""), "line 1: there is no VCALENDAR");
    assert_eq!(text("BEGIN:VCALENDAR\nBEGIN:VEVENT\n"), "line 2: VEVENT does not end");
    assert_eq!(text("BEGIN:VEVENT\n"), "line 1: BEGIN: VEVENT does not belong here");
    assert_eq!(text("BEGIN:VCALENDAR\nEND:VEVENT\n"), "line 2: END: VEVENT was not begun");
}
