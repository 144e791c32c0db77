//! `maintenance slots` and `write-off`: who may disturb a gateway, and who never comes back.

use std::io::{BufRead, Write};

use clap::Args;
use maintenance::audit::AuditEntry;
use maintenance::ledger::{Asked, Ledger, Slot, SlotClass};
use maintenance::pauses::Pause;
use serde::Serialize;
use serde_json::Value;

use super::fleet::{Fleet, path, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::scheduler::WriteOffRequest;

/// Arguments of `maintenance write-off`.
#[derive(Debug, Clone, Args)]
pub struct WriteOffArguments {
    /// Gateway id.
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The gateway's name once more, instead of typing it when asked.
    #[arg(long, value_name = "HOST")]
    pub yes: Option<String>,
}

/// Prints what is held: slots of the ledger, and micro slots.
pub(super) fn slots(fleet: &Fleet, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let told = visits(fleet)?;
    let ledger = ledger_in(&told)?;
    // A gateway of an older version knows of no micro slots.
    let pauses = match told.get("pauses") {
        Some(pauses) => serde_json::from_value(pauses.clone()).map_err(|it| strange(&it))?,
        None => Vec::new(),
    };
    let held = Held { slots: ledger.slots(), pauses };
    print(&held, &held.rows(), json, out)
}

/// What is held, for programs.
#[derive(Serialize)]
struct Held<'a> {
    slots: &'a [Slot],
    pauses: Vec<Pause>,
}

impl Held<'_> {
    fn rows(&self) -> Vec<Vec<String>> {
        let titles = ["gateway", "for", "class", "state", "granted", "term"];
        let titles = [titles.map(str::to_owned).to_vec()];
        let slots = self.slots.iter().map(row_of_slot);
        titles.into_iter().chain(slots).chain(self.pauses.iter().map(row_of_pause)).collect()
    }
}

/// The ledger as one of the fleet has read it.
pub(super) fn ledger(fleet: &Fleet) -> Result<Ledger, Failure> {
    ledger_in(&visits(fleet)?)
}

fn visits(fleet: &Fleet) -> Result<Value, Failure> {
    fleet.ask(async |api| api.get(&path(&["visits"])).await)
}

fn ledger_in(told: &Value) -> Result<Ledger, Failure> {
    match told.get("ledger").filter(|ledger| !ledger.is_null()) {
        Some(ledger) => Ledger::decode(ledger.to_string().as_bytes()).map_err(|it| strange(&it)),
        None => Ok(Ledger::default()),
    }
}

fn strange(what: &dyn std::fmt::Display) -> Failure {
    let message = format!("the ledger cannot be understood: {what}");
    Failure { exit: Exit::Failed, message }
}

/// What a slot is for.
pub(super) fn purpose(slot: &Slot) -> String {
    match (&slot.visit, &slot.asked) {
        (Some(visit), _) => visit.to_string(),
        (None, Some(Asked { by, reason })) => format!("{by}: {reason}"),
        (None, None) => "a command or a window".to_owned(),
    }
}

/// Gives a gateway up for lost, once its name was typed.
pub(super) fn write_off(
    fleet: &Fleet,
    it: &WriteOffArguments,
    (json, typed): (bool, &mut dyn BufRead),
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let again = match &it.yes {
        Some(yes) => yes.clone(),
        None => ask(&it.host, typed)?,
    };
    if again != it.host {
        let message = format!("{again:?} is not {:?}; nothing was done", it.host);
        return Err(Failure { exit: Exit::Usage, message });
    }
    let request = WriteOffRequest { host: it.host.clone(), reason: it.reason.clone() };
    let entry: AuditEntry =
        fleet.ask(async |api| api.post(&path(&["write-offs"]), &request).await)?;
    let titles = ["gateway", "written off", "by", "reason"].map(str::to_owned).to_vec();
    let record = &entry.record;
    let row = vec![it.host.clone(), utc(record.at.0), record.actor.clone(), record.reason.clone()];
    print(&entry, &[titles, row], json, out)
}

fn ask(host: &str, typed: &mut dyn BufRead) -> Result<String, Failure> {
    let mut err = std::io::stderr();
    write!(
        err,
        "{host} is given up for lost: its slot is gone, and nobody waits for it any more.\nType its name: "
    )?;
    err.flush()?;
    let mut line = String::new();
    typed.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn row_of_pause(pause: &Pause) -> Vec<String> {
    let what = pause.what.as_str();
    let since = utc(pause.since.0);
    [pause.by.name(), what, "micro", "begun", &since, "-"].map(str::to_owned).to_vec()
}

fn row_of_slot(slot: &Slot) -> Vec<String> {
    let class = match slot.class {
        SlotClass::InPlace => "in-place",
        SlotClass::Drain => "drain",
    };
    let state = match (slot.started, slot.crossed) {
        (_, Some(_)) => "past the point of no return",
        (Some(_), None) => "begun",
        (None, None) => "granted",
    };
    vec![
        slot.host.as_str().to_owned(),
        purpose(slot),
        class.to_owned(),
        state.to_owned(),
        utc(slot.granted.0),
        slot.term.0.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_as_it_was_typed() {
        assert_eq!(ask("gw-1", &mut "gw-1\r\nx".as_bytes()).unwrap(), "gw-1");
        assert_eq!(ask("gw-1", &mut "".as_bytes()).unwrap(), "");
    }
}
