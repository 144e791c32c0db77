//! `maintenance calendar`: the next openings.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use maintenance::calendar::{Opening, Preview, PreviewRow, ics};
use maintenance::fleet::Host;
use protocol::Wall;
use serde_json::json;

use super::command::{CalendarArguments, Whose, from};
use super::fleet::{Fleet, no_gateway};
use super::{file, policies};
use crate::cli::exit::{Exit, Failure};
use crate::cli::show::table;
use crate::openings::{Openings, OpeningsAsked, openings};

/// How often a calendar of openings is worth to be read again.
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(
    it: &CalendarArguments,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    if it.ics && json {
        let message = "--ics and --json do not go together".to_owned();
        return Err(Failure { exit: Exit::Usage, message });
    }
    let policies = policies::from(it.policy.as_deref(), fleet)?;
    let now = from(it.from);
    let freezes = policies::freezes(it.policy.as_deref(), fleet)?;
    let (next, viewer, work) = (usize::from(it.next), it.tz.clone(), it.work.clone());
    let asked = OpeningsAsked { next, from: now, viewer, work };
    let shown = openings((&policies, &freezes), whose(it, fleet)?, &asked);
    let shown = shown.map_err(|why| Failure::new(Exit::Usage, &why))?;
    if it.ics {
        let text: String = shown.into_iter().map(|shown| feed(shown, now)).collect();
        out.write_all(text.as_bytes())?;
    } else if json {
        writeln!(out, "{}", json!({"calendars": shown}))?;
    } else if shown.is_empty() {
        writeln!(out, "no gateways")?;
    } else {
        let texts: Vec<String> = shown.iter().map(text).collect();
        out.write_all(texts.join("\n").as_bytes())?;
    }
    Ok(Exit::Done)
}

/// The gateways that are asked about.
fn whose(
    it: &CalendarArguments,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
) -> Result<Vec<Host>, Failure> {
    let Whose { fleet: path, host, label, host_zone } = &it.whose;
    let described =
        host.is_some() && (it.policy.is_some() || !label.is_empty() || host_zone.is_some());
    if path.is_some() || described {
        return Ok(file::whose(&it.whose)?);
    }
    let mut hosts = fleet()?.hosts()?;
    if let Some(id) = host {
        hosts.retain(|it| it.id == *id);
        if hosts.is_empty() {
            return Err(no_gateway(id));
        }
    }
    Ok(hosts)
}

fn text(shown: &Openings) -> String {
    const NAMED: usize = 5;
    let Openings { hosts, policies, preview } = shown;
    let named = hosts.get(..NAMED).unwrap_or(hosts).join(", ");
    let more = match hosts.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let said = if policies.is_empty() { "no policy".to_owned() } else { policies.join(", ") };
    let mut text = format!("{named}{more}: by {said}\n");
    if preview.rows.is_empty() {
        text.push_str("  never open\n");
        return text;
    }
    let Preview { host_zone, viewer_zone, rows, .. } = preview;
    let both = host_zone != viewer_zone;
    let mut lines = vec![titles(host_zone, both.then_some(viewer_zone))];
    lines.extend(rows.iter().map(|it| row(it, both)));
    text.push_str(&table(&lines));
    text
}

fn titles(host: &str, viewer: Option<&String>) -> Vec<String> {
    let mut titles = vec![" ".to_owned(), format!("opens ({host})"), "closes".to_owned()];
    if let Some(viewer) = viewer {
        titles.extend([format!("opens ({viewer})"), "closes".to_owned()]);
    }
    titles.extend(["length", "opening", "odd"].map(str::to_owned));
    titles
}

fn row(it: &PreviewRow, both: bool) -> Vec<String> {
    let ends = |ends: &Option<[String; 2]>| {
        ends.clone().unwrap_or_else(|| ["does not happen", "-"].map(str::to_owned))
    };
    let mark = if it.odd.is_empty() { " " } else { "!" };
    let mut row = vec![mark.to_owned()];
    row.extend(ends(&it.host));
    if both {
        row.extend(ends(&it.viewer));
    }
    let minutes = it.length.as_secs() / 60;
    let odd: Vec<String> = it.odd.iter().map(ToString::to_string).collect();
    row.extend([format!("{}:{:02}", minutes / 60, minutes % 60), it.id.clone(), odd.join("; ")]);
    row
}

/// A calendar to subscribe to. Two gateways may have the same openings in two zones, so events are known by the gateway, too.
fn feed(shown: Openings, now: Wall) -> String {
    let host = shown.hosts.first().map_or("", String::as_str);
    let events = shown.preview.rows.into_iter().filter_map(|row| {
        let rules = row.rules.into_iter().map(Arc::from).collect();
        let opening = Opening { interval: row.interval?, id: row.id, rules, odd: row.odd };
        // That maintenance may happen does not say that it will.
        Some(opening.event(host, now, ics::Status::Tentative))
    });
    let events: Vec<ics::Event> = events.collect();
    let name = format!("{host}: maintenance windows");
    ics::write(&ics::Feed { name: &name, refresh: REFRESH, events: &events })
}
