//! When gateways may be visited next, as policies and freezes say.

use std::collections::BTreeMap;

use maintenance::calendar::{Preview, UnknownZone, Zone};
use maintenance::policy::{CalendarKey, Effective, Freeze, PolicySet};
use maintenance::{Host, HostState};
use protocol::Wall;
use serde::Serialize;

/// What is asked of a calendar.
#[derive(Debug, Clone)]
pub struct OpeningsAsked {
    /// How many openings.
    pub next: usize,
    /// From when on.
    pub from: Wall,
    /// By whose clocks, besides those of the gateways.
    pub viewer: Zone,
    /// Kinds of work: exclusions that allow one of them do not count.
    pub work: Vec<String>,
}

/// The next openings of gateways that have the same ones.
#[derive(Debug, Clone, Serialize)]
pub struct Openings {
    /// Which gateways, by name.
    pub hosts: Vec<String>,
    /// The policies that are about them.
    pub policies: Vec<String>,
    /// When.
    #[serde(flatten)]
    pub preview: Preview,
}

/// Why there is no calendar.
#[derive(Debug, thiserror::Error)]
pub enum OpeningsError {
    /// Gateways have a zone that is not in the database; the operator's to mend.
    #[error("{hosts}: {unknown}")]
    Zone {
        /// Which gateways.
        hosts: String,
        /// What is wrong.
        unknown: UnknownZone,
    },
    /// It would be too long; whoever asks asks for less.
    #[error("that is up to {rows} openings, of {most} at most: ask for fewer, or for one gateway")]
    TooMany {
        /// How many there could be.
        rows: usize,
        /// How many there may be.
        most: usize,
    },
}

/// Openings that are worked out at once, at most.
pub const MOST_OPENINGS: usize = 10_000;

/// Gateways that have the same openings.
struct Group {
    hosts: Vec<String>,
    zone: String,
    holds: Effective,
}

/// The next openings of hosts; those whose openings are the same stand together.
///
/// # Errors
/// [`OpeningsError`].
pub fn openings(
    (policies, freezes): (&PolicySet, &[Freeze]),
    hosts: Vec<Host>,
    asked: &OpeningsAsked,
) -> Result<Vec<Openings>, OpeningsError> {
    let groups = groups((policies, freezes), hosts);
    let rows = groups.len().saturating_mul(asked.next);
    if rows > MOST_OPENINGS {
        return Err(OpeningsError::TooMany { rows, most: MOST_OPENINGS });
    }
    groups.into_iter().map(|group| group.openings(asked)).collect()
}

fn groups((policies, freezes): (&PolicySet, &[Freeze]), hosts: Vec<Host>) -> Vec<Group> {
    let mut groups: BTreeMap<CalendarKey, Group> = BTreeMap::new();
    for host in hosts.into_iter().filter(|host| host.state != HostState::Retired) {
        let holds = policies.effective(&host, freezes);
        let Host { id, zone, .. } = &host;
        let new = || Group { hosts: Vec::new(), zone: zone.clone(), holds: holds.clone() };
        let group = groups.entry(holds.calendar_key(&host)).or_insert_with(new);
        group.hosts.push(id.as_str().to_owned());
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| a.hosts.cmp(&b.hosts));
    groups
}

impl Group {
    fn openings(self, asked: &OpeningsAsked) -> Result<Openings, OpeningsError> {
        let Self { hosts, zone, holds } = self;
        let unknown = |unknown| OpeningsError::Zone { hosts: hosts.join(", "), unknown };
        let zone = Zone::named(&zone).map_err(unknown)?;
        let work: Vec<&str> = asked.work.iter().map(String::as_str).collect();
        let compile = |horizon| holds.openings(&zone, horizon, &work);
        let preview = Preview::next(asked.next, asked.from, (&zone, &asked.viewer), compile);
        let policies = holds.policies.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(Openings { hosts, policies, preview })
    }
}

#[cfg(test)]
mod tests {
    use maintenance::Interval;
    use protocol::{GatewayId, Incarnation};

    use super::*;

    const POLICY: &str = r#"
        [policy.all]
        windows = [{ rrule = "FREQ=DAILY", start = "01:00", duration = "PT4H", tz = "UTC" }]
    "#;
    /// 2026-01-05 00:00 UTC.
    const DAY: Wall = Wall(1_767_571_200_000);
    const HOUR: u64 = 3_600_000;

    #[test]
    fn hosts_stand_together_a_freeze_is_no_opening_and_too_many_are_refused() {
        let policies = PolicySet::read(POLICY, &BTreeMap::new()).unwrap();
        let host = |n: usize, region: &str| {
            let id = GatewayId::new(&format!("gw-{n}")).unwrap();
            let labels = BTreeMap::from([("region".to_owned(), region.to_owned())]);
            Host { labels, ..Host::new(id, Incarnation(1), HostState::Serving) }
        };
        let hosts = vec![host(1, "eu"), host(2, "eu"), host(3, "us")];
        let freeze = Freeze {
            id: "f".to_owned(),
            selector: "region=us".parse().unwrap(),
            interval: Interval { from: DAY, to: Wall(DAY.0 + 24 * HOUR) },
            reason: "launch".to_owned(),
            by: "ada".to_owned(),
            allow: Vec::new(),
        };
        let asked = |next| OpeningsAsked { next, from: DAY, viewer: Zone::utc(), work: Vec::new() };
        let found = openings((&policies, &[freeze]), hosts.clone(), &asked(1)).unwrap();
        let opens = |at: usize| found[at].preview.rows[0].interval.unwrap().from.0 - DAY.0;
        assert_eq!(
            (found[0].hosts.as_slice(), opens(0)),
            (&["gw-1", "gw-2"].map(String::from)[..], HOUR)
        );
        assert_eq!((found[1].hosts.as_slice(), opens(1)), (&["gw-3".to_owned()][..], 25 * HOUR));
        let many = openings((&policies, &[]), hosts.clone(), &asked(MOST_OPENINGS + 1));
        assert!(matches!(many, Err(OpeningsError::TooMany { .. })));
        let mut nowhere = hosts;
        nowhere[0].zone = "Mars/Base".to_owned();
        let wrong = openings((&policies, &[]), nowhere, &asked(1)).unwrap_err();
        assert!(wrong.to_string().starts_with("gw-1: "), "{wrong}");
    }
}
