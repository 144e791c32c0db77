//! Writing a calendar that others subscribe to.

use std::time::Duration;

use protocol::Wall;

use crate::calendar::interval::Interval;
use crate::calendar::zone::timestamp;

/// A calendar for others to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed<'a> {
    /// What it is called.
    pub name: &'a str,
    /// How often it is worth to be read again.
    pub refresh: Duration,
    /// What is in it.
    pub events: &'a [Event],
}

/// One opening, visit or campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is known by in the whole world; stays the same when it is moved.
    pub uid: String,
    /// Grows with every change.
    pub sequence: u32,
    /// When it changed last.
    pub changed: Wall,
    /// When.
    pub interval: Interval,
    /// Whether it will happen.
    pub status: Status,
    /// A line about it.
    pub summary: String,
    /// More about it; may be empty.
    pub description: String,
}

/// How certain it is that an event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Planned.
    Tentative,
    /// Granted, or approved.
    Confirmed,
    /// Called off.
    Cancelled,
}

/// The most octets of a line, without its end (RFC 5545, 3.1).
const LINE: usize = 75;

/// The calendar as RFC 5545 has it: one VEVENT for each event, in UTC. What lies beyond the year 9999 is left out.
pub fn write(feed: &Feed<'_>) -> String {
    let mut text = String::new();
    line(&mut text, "BEGIN:VCALENDAR");
    line(&mut text, "VERSION:2.0");
    line(&mut text, "PRODID:-//Tidegate//maintenance//EN");
    line(&mut text, &format!("X-WR-CALNAME:{}", escaped(feed.name)));
    let refresh = feed.refresh.as_secs();
    line(&mut text, &format!("REFRESH-INTERVAL;VALUE=DURATION:PT{refresh}S"));
    line(&mut text, &format!("X-PUBLISHED-TTL:PT{refresh}S"));
    for event in feed.events {
        write_event(&mut text, event);
    }
    line(&mut text, "END:VCALENDAR");
    text
}

fn write_event(text: &mut String, event: &Event) {
    let Event { uid, sequence, changed, interval, status, summary, description } = event;
    let times = [*changed, interval.from, interval.to].map(utc);
    let [Some(changed), Some(from), Some(to)] = times else { return };
    line(text, "BEGIN:VEVENT");
    line(text, &format!("UID:{}", escaped(uid)));
    line(text, &format!("DTSTAMP:{changed}"));
    line(text, &format!("LAST-MODIFIED:{changed}"));
    line(text, &format!("SEQUENCE:{sequence}"));
    line(text, &format!("DTSTART:{from}"));
    line(text, &format!("DTEND:{to}"));
    line(text, &format!("STATUS:{}", status.as_str()));
    // Nobody is busy because a gateway is.
    line(text, "TRANSP:TRANSPARENT");
    line(text, &format!("SUMMARY:{}", escaped(summary)));
    if !description.is_empty() {
        line(text, &format!("DESCRIPTION:{}", escaped(description)));
    }
    line(text, "END:VEVENT");
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tentative => "TENTATIVE",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Whole seconds: iCalendar has no smaller ones.
fn utc(at: Wall) -> Option<String> {
    Some(timestamp(at)?.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Text as RFC 5545 escapes it (3.3.11); control characters have no place in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push(c),
            _ if c.is_control() => {}
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A line, folded where it is too long, never inside a character.
fn line(text: &mut String, content: &str) {
    let mut used = 0;
    for c in content.chars() {
        if used + c.len_utf8() > LINE {
            text.push_str("\r\n ");
            used = 1;
        }
        text.push(c);
        used += c.len_utf8();
    }
    text.push_str("\r\n");
}
