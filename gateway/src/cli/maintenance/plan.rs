//! `maintenance plan` and `why`: when gateways are visited, and why not earlier.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use maintenance::ledger::{Ledger, Slot, SlotClass};
use maintenance::operation::Visit;
use maintenance::planner::{Difference, Plan, Published};
use serde_json::json;

use super::fleet::{Fleet, path, print, utc};
use super::{file, slots};
use crate::cli::exit::{Exit, Failure};
use crate::cli::show::percent_encoded;
use crate::scheduler::{BasedOn, HeldUp, HostWhy, PlanAnswer, PlanPreview, WhatIf};
use crate::text::first_of;

/// Arguments of `maintenance plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArguments {
    /// Plan anew by what is known now, and change nothing; without it, the plan is shown that the fleet follows.
    #[arg(long)]
    pub dry_run: bool,
    /// Policies instead of all of the fleet's.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub what_if: Option<PathBuf>,
    /// Show what is different since a plan that was printed with --json, of either kind, instead of the plan.
    #[arg(long, value_name = "FILE")]
    pub diff: Option<PathBuf>,
}

/// So many answers are named below a plan.
const NAMED: usize = 10;

pub(super) fn plan(
    fleet: &Fleet,
    it: &PlanArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let earlier = it.diff.as_deref().map(file::plan).transpose()?;
    if !it.dry_run {
        let answer: PlanAnswer = fleet.ask(async |api| api.get(&path(&["plan"])).await)?;
        if let Some(earlier) = &earlier {
            return different(&answer.published.plan.differences(earlier), json, out);
        }
        let plan = &answer.published;
        let visits: Vec<Visit> = plan.visits.iter().map(|it| it.visit.clone()).collect();
        let mut rows = rows(&plan.plan, &visits);
        if !json {
            rows.extend(beside(&slots::ledger(fleet)?));
        }
        print(&answer, &rows, json, out)?;
        if !json {
            let Published { revision, by, made, .. } = plan;
            writeln!(out, "plan {revision}, made by {by} at {}", utc(made.0))?;
            writeln!(out, "{}", basis(answer.tzdb.as_deref(), &answer.based_on))?;
        }
        return Ok(Exit::Done);
    }
    let mut what_if = WhatIf::default();
    if let Some(file) = &it.what_if {
        let text = file::read(file)?;
        what_if.calendars = file::calendars(file, &text)?;
        what_if.policies = Some(text);
    }
    let path = path(&["plan", "preview"]);
    let preview: PlanPreview = fleet.ask(async |api| api.post(&path, &what_if).await)?;
    if let Some(earlier) = &earlier {
        return different(&preview.plan.differences(earlier), json, out);
    }
    print(&preview, &rows(&preview.plan, &preview.visits), json, out)?;
    if !json {
        let moved = preview.plan.churn;
        writeln!(out, "{}", basis(Some(&preview.tzdb), &preview.based_on))?;
        writeln!(out, "{moved} visits stand elsewhere than in the plan that the fleet follows")?;
        write!(out, "{}", listed(&preview.differences))?;
    }
    Ok(Exit::Done)
}

fn different(found: &[Difference], json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    if json {
        writeln!(out, "{}", json!({ "differences": found }))?;
    } else if found.is_empty() {
        writeln!(out, "nothing is different")?;
    } else {
        write!(out, "{}", listed(found))?;
    }
    Ok(Exit::Done)
}

/// A line for each.
fn listed(differences: &[Difference]) -> String {
    let line = |Difference { visit, was, is, .. }: &Difference| match (was, is) {
        (Some(was), Some(is)) => format!("{visit}: {} instead of {}\n", utc(is.0), utc(was.0)),
        (Some(was), None) => format!("{visit}: no more, it was {}\n", utc(was.0)),
        (None, Some(is)) => format!("{visit}: new, {}\n", utc(is.0)),
        (None, None) => format!("{visit}: it has no place\n"),
    };
    differences.iter().map(line).collect()
}

pub(super) fn why(
    fleet: &Fleet,
    host: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let path = format!("{}?host={}", path(&["why"]), percent_encoded(host));
    let why: HostWhy = fleet.ask(async |api| api.get(&path).await)?;
    if json {
        writeln!(out, "{}", json!(why))?;
    } else if why.visits.is_empty() && why.held_up.is_empty() && why.paused.is_empty() {
        writeln!(out, "{host}: nothing is pending")?;
    } else {
        for visit in &why.visits {
            writeln!(out, "{}", visit.text)?;
        }
        for given_up in &why.given_up {
            writeln!(out, "{}", given_up.text)?;
        }
        for paused in &why.paused {
            writeln!(out, "{host}: {paused}")?;
        }
        for HeldUp { operation, by } in &why.held_up {
            let by = by.as_deref().unwrap_or("something before it");
            writeln!(
                out,
                "{host}: {operation} has no place: {by} was not done. Cancel it, or let it go on"
            )?;
        }
    }
    Ok(Exit::Done)
}

/// What a plan stands on.
fn basis(tzdb: Option<&str>, based_on: &[BasedOn]) -> String {
    let Some(tzdb) = tzdb else { return "it is not known what it stands on".to_owned() };
    let answers = first_of(NAMED, based_on.iter().map(|it| format!("{} ({})", it.host, it.seq)));
    let answers = if answers.is_empty() { "nobody" } else { &answers };
    format!("by zone database {tzdb} and the answers of {answers}")
}

/// The drains that a command or a window has begun beside the plan.
fn beside(ledger: &Ledger) -> Vec<Vec<String>> {
    let drains = ledger.slots().iter();
    let drains = drains.filter(|it| it.visit.is_none() && it.class == SlotClass::Drain);
    let row = |slot: &Slot| {
        let window = slot.opening.to.0.saturating_sub(slot.opening.from.0) > 1;
        let ends = if window { utc(slot.opening.to.0) } else { "when it is called off".to_owned() };
        let drain = ["", "drain", "beside the plan"].map(str::to_owned);
        let mut row = vec![slot.host.as_str().to_owned(), utc(slot.granted.0), ends];
        row.extend(drain);
        row.push(slots::purpose(slot));
        row
    };
    drains.map(row).collect()
}

/// What has a place, by its start, then what has none.
fn rows(plan: &Plan, visits: &[Visit]) -> Vec<Vec<String>> {
    let titles = ["gateway", "starts", "ends", "late", "class", "operations", "because"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let work = |id: &_| {
        let visit = visits.iter().find(|visit| visit.id == *id);
        let names = visit.into_iter().flat_map(|visit| &visit.operations);
        let names: Vec<_> = names.map(|name| name.as_str()).collect();
        let class = visit.map(|visit| json!(visit.class));
        let class = class.as_ref().and_then(|class| class.as_str()).unwrap_or("-").to_owned();
        [class, names.join(", ")]
    };
    rows.extend(plan.entries.iter().map(|it| {
        let late = if it.late { "late" } else { "" }.to_owned();
        let mut row = vec![it.host.as_str().to_owned(), utc(it.start.0), utc(it.end.0), late];
        row.extend(work(&it.visit));
        let overruled = it.suits.filter(|suits| suits.is_overruled());
        let because = it.binding.iter().map(ToString::to_string);
        let because = because.chain(overruled.map(|it| it.to_string()));
        row.push(because.collect::<Vec<_>>().join("; "));
        row
    }));
    rows.extend(plan.unplanned.iter().map(|it| {
        let mut row = vec![it.host.as_str().to_owned(), "no place".to_owned()];
        row.extend(["-".to_owned(), String::new()]);
        row.extend(work(&it.visit));
        row.push(it.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        row
    }));
    rows
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::VisitId;
    use protocol::{GatewayId, Wall};

    use super::*;

    #[test]
    fn what_is_different_is_said_line_by_line() {
        let visit = |was, is| Difference {
            visit: VisitId::new("gw-1/op").unwrap(),
            host: GatewayId::new("gw-1").unwrap(),
            was,
            is,
        };
        let (one, two) = (Some(Wall(0)), Some(Wall(60_000)));
        let said = listed(&[visit(one, two), visit(one, None), visit(None, two)]);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], "gw-1/op: 1970-01-01T00:01:00Z instead of 1970-01-01T00:00:00Z");
        assert_eq!(lines[1], "gw-1/op: no more, it was 1970-01-01T00:00:00Z");
        assert_eq!(lines[2], "gw-1/op: new, 1970-01-01T00:01:00Z");
    }

    #[test]
    fn it_is_said_what_a_plan_stands_on_and_of_many_answers_how_many() {
        assert_eq!(basis(None, &[]), "it is not known what it stands on");
        let answer = |n: u64| BasedOn { host: format!("gw-{n}"), incarnation: 1, seq: 7 * n };
        let said = |many| basis(Some("2026c"), &(1..=many).map(answer).collect::<Vec<_>>());
        assert_eq!(said(0), "by zone database 2026c and the answers of nobody");
        assert_eq!(said(2), "by zone database 2026c and the answers of gw-1 (7), gw-2 (14)");
        assert!(said(12).ends_with("gw-10 (70) and 2 more"));
    }
}
