//! Visits as a calendar that others subscribe to: with a certificate, or by a token in the address.

use std::collections::BTreeSet;
use std::time::Duration;

use ::maintenance::calendar::ics::{Event, Feed, Status, write};
use ::maintenance::planner::{Agenda, Appointment, Standing};
use ::maintenance::policy::Selector;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use protocol::{GatewayId, hash64};
use serde::Deserialize;

use super::problem::Problem;
use super::routes::{Shared, ask};
use crate::control::ControlError;

/// How often it is worth to be read again.
const REFRESH: Duration = Duration::from_secs(300);
/// What the addresses of calendars begin with that are read by a token.
const BY_TOKEN: &str = "/feeds/";

/// Every path of it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/calendar.ics", get(calendar)),
        ("/feeds/{secret}/maintenance.ics", get(by_token)),
    ]
}

/// Whether a path may have a secret in it: nobody writes it into a log.
pub(super) fn is_secret(path: &str) -> bool {
    path.starts_with(BY_TOKEN)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarAsked {
    /// Which gateways, by their labels; all when absent.
    #[serde(default)]
    selector: Selector,
}

async fn calendar(
    State(shared): State<Shared>,
    headers: HeaderMap,
    asked: Result<Query<CalendarAsked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    answer(&shared, asked.selector, &headers).await
}

async fn by_token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    secret: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(secret) = secret.map_err(|_| Problem::invalid("the token cannot be understood"))?;
    let Some(subscribers) = &shared.subscribers else {
        return Err(Problem::not_found("this gateway has no calendar feeds"));
    };
    let token = subscribers.admit(&shared, &secret).await?;
    answer(&shared, token.selector, &headers).await
}

/// The calendar, unless whoever asks has seen it as it is.
async fn answer(
    shared: &Shared,
    selector: Selector,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (agenda, hosts) = ask(shared, |control| {
        let agenda = control.maintenance().agenda()?;
        Ok::<_, ControlError>((agenda, control.hosts()?))
    })
    .await??;
    let hosts: BTreeSet<GatewayId> =
        hosts.into_iter().filter(|it| selector.matches(&it.host)).map(|it| it.host.id).collect();
    let text = text(&agenda, &hosts);
    let tag = format!("\"{:016x}\"", hash64(text.as_bytes()));
    let tagged = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".into())];
    if has_seen(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
    Ok((tagged, kind, text).into_response())
}

/// Whether `If-None-Match` names it, in any of its lines; also as it is named where somebody in between has packed it.
fn has_seen(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let mut seen = lines.filter_map(|seen| seen.to_str().ok()).flat_map(|seen| seen.split(','));
    seen.any(|it| {
        let it = it.trim();
        it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag
    })
}

/// One event for each visit that is shown of these gateways.
fn text(agenda: &Agenda, hosts: &BTreeSet<GatewayId>) -> String {
    let appointments = agenda.appointments.iter();
    let events: Vec<_> = appointments.filter(|it| hosts.contains(&it.host)).map(event).collect();
    write(&Feed { name: "Tidegate maintenance", refresh: REFRESH, events: &events })
}

fn event(it: &Appointment) -> Event {
    Event {
        uid: format!("{}@tidegate", it.visit),
        sequence: u32::try_from(it.sequence).unwrap_or(u32::MAX),
        changed: it.changed,
        interval: it.interval,
        status: match it.standing {
            Standing::Planned => Status::Tentative,
            Standing::Begun | Standing::Over => Status::Confirmed,
            Standing::CalledOff => Status::Cancelled,
        },
        summary: it.summary.clone(),
        description: it.description.clone(),
    }
}

#[cfg(test)]
mod tests {
    use ::maintenance::Interval;
    use ::maintenance::fleet::VisitId;
    use protocol::Wall;

    use super::*;

    fn appointment(host: &str, standing: Standing) -> Appointment {
        let host = GatewayId::new(host).unwrap();
        let (from, to) = (Wall(3_600_000), Wall(7_200_000));
        Appointment {
            visit: VisitId::new(&format!("{host}/op-1")).unwrap(),
            summary: format!("{host}: restart"),
            host,
            interval: Interval { from, to },
            standing,
            description: String::new(),
            sequence: 7,
            changed: Wall(0),
        }
    }

    #[test]
    fn each_visit_of_the_gateways_that_are_meant_has_a_status_and_what_was_called_off_stays() {
        use Standing::{Begun, CalledOff, Over, Planned};
        let hosts = [("a", Planned), ("b", Begun), ("c", Over), ("d", CalledOff), ("e", Planned)];
        let appointments = hosts.map(|(host, standing)| appointment(host, standing)).to_vec();
        let agenda = Agenda { sequence: 7, appointments };
        let meant = hosts[..4].iter().map(|(host, _)| GatewayId::new(host).unwrap()).collect();
        let text = text(&agenda, &meant);
        let statuses: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("STATUS:")).collect();
        assert_eq!(statuses, ["TENTATIVE", "CONFIRMED", "CONFIRMED", "CANCELLED"]);
        assert!(text.contains("UID:d/op-1@tidegate"), "{text}");
        assert_eq!(text.matches("SEQUENCE:7").count(), 4);
        assert!(text.contains("REFRESH-INTERVAL;VALUE=DURATION:PT300S"), "{text}");
    }

    #[test]
    fn a_tag_that_was_seen_is_found_in_any_line_and_under_any_strength() {
        let seen = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, line.parse().unwrap());
            }
            has_seen(&headers, "\"ab\"")
        };
        for lines in [vec!["\"ab\""], vec!["\"x\", W/\"ab\""], vec!["\"x\"", "\"ab\""], vec!["*"]] {
            assert!(seen(&lines), "{lines:?}");
        }
        for lines in [vec![], vec!["ab"], vec!["\"abc\""], vec!["W/W/\"ab\""]] {
            assert!(!seen(&lines), "{lines:?}");
        }
    }
}
