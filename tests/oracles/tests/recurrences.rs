//! P25: the days of our recurrence rules against those of the crate `rrule`, in UTC, where neither of us has clock
//! changes to reckon with.

use jiff::civil::{Date, Weekday};
use maintenance::calendar::Recurrence;
use rrule::{RRuleSet, Tz};

/// Rules that are compared; none of them may be refused by either side.
const RULES: u64 = 1_000;
/// Most occurrences that are looked at.
const LOOKED_AT: u16 = 60;

/// Splitmix64: the same rules on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.roll(many) == 0
    }

    /// Some different ones of a list.
    fn some<T: Clone>(&mut self, of: &[T], most: u64) -> Vec<T> {
        let wanted = 1 + self.roll(most);
        let mut left = of.to_vec();
        let mut chosen = Vec::new();
        for _ in 0..wanted.min(of.len() as u64) {
            let at = self.roll(left.len() as u64) as usize;
            chosen.push(left.remove(at));
        }
        chosen
    }
}

const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

fn list<T: ToString>(part: &str, values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!(";{part}={}", values.join(","))
}

/// A rule that means the same to everybody.
fn rule(dice: &mut Dice) -> String {
    let frequency = ["DAILY", "WEEKLY", "MONTHLY", "YEARLY"][dice.roll(4) as usize];
    let mut text = format!("FREQ={frequency}");
    if dice.one_in(2) {
        text += &format!(";INTERVAL={}", 1 + dice.roll(4));
    }
    let mut by = false;
    if dice.one_in(3) {
        by = true;
        text += &list("BYMONTH", &dice.some(&(1..=12).collect::<Vec<_>>(), 4));
    }
    if frequency != "WEEKLY" && dice.one_in(3) {
        by = true;
        let days: Vec<i32> = (-31..=31).filter(|day| *day != 0).collect();
        text += &list("BYMONTHDAY", &dice.some(&days, 5));
    }
    if dice.one_in(2) {
        by = true;
        let mut days: Vec<String> = dice.some(&DAYS, 4).iter().map(ToString::to_string).collect();
        let numbered = frequency == "MONTHLY" || frequency == "YEARLY";
        // Numbers beside days of the month are read in several ways; the standard does not say.
        if numbered && !text.contains("BYMONTHDAY") && dice.one_in(2) {
            for day in &mut days {
                let nth = 1 + dice.roll(if frequency == "MONTHLY" || text.contains("BYMONTH") {
                    5
                } else {
                    53
                });
                let sign = if dice.one_in(2) { "-" } else { "" };
                *day = format!("{sign}{nth}{day}");
            }
        }
        text += &list("BYDAY", &days);
    }
    if by && dice.one_in(4) {
        text += &list("BYSETPOS", &dice.some(&[1, 2, 3, -1, -2], 2));
    }
    if dice.one_in(3) {
        text += &format!(";WKST={}", DAYS[dice.roll(7) as usize]);
    }
    text
}

/// What `rrule` says.
fn theirs(rule: &str, first: Date) -> Result<Vec<Date>, String> {
    let start = first.strftime("%Y%m%dT000000Z");
    let set: RRuleSet =
        format!("DTSTART:{start}\nRRULE:{rule}").parse().map_err(|wrong| format!("{wrong}"))?;
    assert_eq!(set.get_dt_start().timezone(), Tz::UTC);
    let found = set.all(LOOKED_AT);
    let day =
        |at: &rrule_day::At| at.format("%Y-%m-%d").to_string().parse::<Date>().expect("a day");
    Ok(found.dates.iter().map(day).collect())
}

/// The type of the dates that `rrule` gives.
mod rrule_day {
    pub type At = chrono::DateTime<rrule::Tz>;
}

fn ours(rule: &str, first: Date, last: Date) -> Vec<Date> {
    let rule: Recurrence = rule.parse().expect("our own rule");
    rule.days(first, first, last).into_iter().take(usize::from(LOOKED_AT)).collect()
}

#[test]
fn p25_days_of_rules_are_those_of_another_implementation() {
    let mut dice = Dice(25);
    let mut compared = 0;
    for number in 0..RULES {
        let rule = rule(&mut dice);
        let first = Date::new(
            2000 + dice.roll(30) as i16,
            1 + dice.roll(12) as i8,
            1 + dice.roll(28) as i8,
        );
        let mut first = first.expect("every month has 28 days");
        // Positions in a week that had begun before the first day: they count from that day, we from the week's.
        if rule.starts_with("FREQ=WEEKLY") && rule.contains("BYSETPOS") {
            let start = rule.split_once("WKST=").map_or("MO", |(_, day)| day);
            let start = DAYS.iter().position(|day| *day == start).expect("a day of the week");
            while first.weekday().to_monday_zero_offset() as usize != start {
                first = first.tomorrow().expect("far from the end of the calendar");
            }
        }
        // They refuse the fifth weekday from the end of a month, which the standard allows.
        let Ok(theirs) = theirs(&rule, first) else {
            assert!(rule.contains("-5"), "{rule} is refused");
            continue;
        };
        // A rule that hardly ever occurs is given up by them before the end of the calendar.
        let Some(last) = theirs.last() else { continue };
        assert_eq!(ours(&rule, first, *last), theirs, "rule {number}: {rule} from {first}");
        compared += theirs.len();
    }
    assert!(compared > 10_000, "only {compared} days were compared");
}

#[test]
fn counts_and_ends_are_those_of_another_implementation() {
    let first = Date::constant(2026, 1, 31);
    for (rule, end) in
        [("FREQ=MONTHLY", ";COUNT=7"), ("FREQ=WEEKLY;BYDAY=SA", ";UNTIL=20260404T000000Z")]
    {
        let theirs = theirs(&format!("{rule}{end}"), first).expect("a rule");
        let last = *theirs.last().expect("days");
        assert_eq!(ours(&format!("{rule}{end}"), first, last), theirs);
    }
    assert_eq!(first.weekday(), Weekday::Saturday);
}
