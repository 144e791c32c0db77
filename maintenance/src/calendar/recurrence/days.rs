//! The days of a rule, in civil time: no zone has a say here.

use jiff::Span;
use jiff::civil::{Date, Weekday};

use super::rule::{Frequency, OnWeekday, Recurrence, Until};

impl Recurrence {
    /// A rule for some days of every week.
    pub fn weekly(days: impl IntoIterator<Item = Weekday>) -> Self {
        Self {
            frequency: Frequency::Weekly,
            interval: 1,
            by_day: days.into_iter().map(|day| OnWeekday { nth: 0, day }).collect(),
            by_month_day: Vec::new(),
            by_month: Vec::new(),
            by_set_pos: Vec::new(),
            week_start: Weekday::Monday,
            count: None,
            until: None,
        }
    }

    /// The days from `from` to `to`, both included, on which a rule recurs that began on the day `first`.
    ///
    /// `COUNT` is left to who knows which of them really happen; `UNTIL` is heeded as far as days go.
    pub fn days(&self, first: Date, from: Date, to: Date) -> Vec<Date> {
        let from = from.max(first);
        let to = match self.until {
            Some(Until::Day(last)) => to.min(last),
            Some(Until::Civil(last)) => to.min(last.date()),
            // In the easternmost zone it is tomorrow already.
            Some(Until::Moment(last)) => {
                let last = jiff::tz::Offset::UTC.to_datetime(last).date();
                to.min(last.tomorrow().unwrap_or(last))
            }
            None => to,
        };
        let mut found = Vec::new();
        let mut period = self.period_before(first, from);
        while let Some(days) = self.period(first, period) {
            if days.first > to {
                break;
            }
            let chosen = self.chosen(first, days);
            found.extend(chosen.into_iter().filter(|day| (from..=to).contains(day)));
            let Some(next) = period.checked_add(1) else {
                break;
            };
            period = next;
        }
        found
    }

    /// The number of a period that begins at or before a day, the first being 0; not many before it.
    fn period_before(&self, first: Date, day: Date) -> i64 {
        let interval = i64::from(self.interval);
        let distance = match self.frequency {
            Frequency::Daily => days_between(first, day),
            Frequency::Weekly => days_between(self.week_of(first), day) / 7,
            Frequency::Monthly => months(day) - months(first),
            Frequency::Yearly => i64::from(day.year()) - i64::from(first.year()),
        };
        (distance / interval).max(0)
    }

    /// The days of a period; none at the end of the calendar.
    fn period(&self, first: Date, number: i64) -> Option<Days> {
        let steps = number.checked_mul(i64::from(self.interval))?;
        match self.frequency {
            Frequency::Daily => {
                let day = first.checked_add(Span::new().try_days(steps).ok()?).ok()?;
                Some(Days { first: day, last: day })
            }
            Frequency::Weekly => {
                let begin =
                    self.week_of(first).checked_add(Span::new().try_weeks(steps).ok()?).ok()?;
                let last = begin.checked_add(Span::new().days(6)).unwrap_or(Date::MAX);
                Some(Days { first: begin, last })
            }
            Frequency::Monthly => {
                let span = Span::new().try_months(steps).ok()?;
                let begin = first.first_of_month().checked_add(span).ok()?;
                Some(Days { first: begin, last: begin.last_of_month() })
            }
            Frequency::Yearly => {
                let span = Span::new().try_years(steps).ok()?;
                let begin = first.first_of_year().checked_add(span).ok()?;
                Some(Days { first: begin, last: begin.last_of_year() })
            }
        }
    }

    /// The day that the week of a day begins with.
    fn week_of(&self, day: Date) -> Date {
        let back = i64::from(day.weekday().since(self.week_start));
        day.checked_sub(Span::new().days(back)).unwrap_or(day)
    }

    /// Those days of a period that the rule chooses, in order.
    fn chosen(&self, first: Date, days: Days) -> Vec<Date> {
        let mut found = Vec::new();
        let mut next = Some(days.first);
        while let Some(day) = next.filter(|day| *day <= days.last) {
            if self.fits(first, day) {
                found.push(day);
            }
            next = day.tomorrow().ok();
        }
        if self.by_set_pos.is_empty() {
            return found;
        }
        let many = i16::try_from(found.len()).unwrap_or(i16::MAX);
        let at = (1..=many).zip(found);
        let wanted = |nth: i16| {
            self.by_set_pos.contains(&nth) || self.by_set_pos.contains(&(nth - many - 1))
        };
        at.filter(|(nth, _)| wanted(*nth)).map(|(_, day)| day).collect()
    }

    /// Whether a day is one of the rule's, but for its position among the others of its period.
    fn fits(&self, first: Date, day: Date) -> bool {
        if !self.by_month.is_empty() && !self.by_month.contains(&day.month()) {
            return false;
        }
        let from_end = day.day() - day.days_in_month() - 1;
        let of_month = |list: &[i8]| list.contains(&day.day()) || list.contains(&from_end);
        if !self.by_month_day.is_empty() && !of_month(&self.by_month_day) {
            return false;
        }
        if !self.by_day.is_empty() {
            return self.by_day.iter().any(|on| self.is_on(*on, day));
        }
        if !self.by_month_day.is_empty() {
            return true;
        }
        // What the rule does not name is as on its first day.
        match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly => day.weekday() == first.weekday(),
            Frequency::Monthly => day.day() == first.day(),
            Frequency::Yearly => {
                let month = !self.by_month.is_empty() || day.month() == first.month();
                month && day.day() == first.day()
            }
        }
    }

    /// Whether a day is the so-manieth of its kind in the month or the year.
    fn is_on(&self, on: OnWeekday, day: Date) -> bool {
        if day.weekday() != on.day {
            return false;
        }
        let of_year = self.frequency == Frequency::Yearly && self.by_month.is_empty();
        let (number, many) = if of_year {
            (day.day_of_year(), day.days_in_year())
        } else {
            (i16::from(day.day()), i16::from(day.days_in_month()))
        };
        match on.nth {
            0 => true,
            nth @ 1.. => (number - 1) / 7 + 1 == nth,
            nth => -((many - number) / 7 + 1) == nth,
        }
    }
}

/// Days one after the other, both ends included.
#[derive(Clone, Copy)]
struct Days {
    first: Date,
    last: Date,
}

fn days_between(from: Date, to: Date) -> i64 {
    from.duration_until(to).as_hours() / 24
}

fn months(day: Date) -> i64 {
    i64::from(day.year()) * 12 + i64::from(day.month())
}
