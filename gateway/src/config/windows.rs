//! Maintenance windows: what is written must be one kind or the other, and its times must exist.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::calendar::Zone;

use super::fault::Fault;
use super::written::{Maintenance, Operation, Weekday, Window};

/// What is done in a window of time.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceWindow {
    /// When.
    pub window: maintenance::Window,
    /// What.
    pub operation: Operation,
}

/// The windows as meant; notes every one that cannot open.
pub(super) fn resolve(windows: &[Window], faults: &mut Vec<Fault>) -> Vec<MaintenanceWindow> {
    let mut resolved = Vec::new();
    for (index, window) in windows.iter().enumerate() {
        match resolve_one(window) {
            Ok(window) => resolved.push(window),
            Err(what) => faults.push(Fault::new(format!("maintenance.window[{index}]"), what)),
        }
    }
    resolved
}

/// The labels and the zone of this gateway; notes every one that says nothing.
pub(super) fn labels(written: &Maintenance, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    if let Err(error) = Zone::named(&written.tz) {
        faults.push(Fault::new("maintenance.tz", error.to_string()));
    }
    let mut labels = BTreeMap::new();
    for (index, text) in written.labels.iter().enumerate() {
        let what = match text.split_once('=') {
            Some((kind, value)) if is_word(kind) && is_word(value) => {
                match labels.insert(kind.to_owned(), value.to_owned()) {
                    None => continue,
                    Some(_) => format!("{kind} is there twice"),
                }
            }
            _ => {
                "needs a kind and a value of letters, digits, '-', '_' and '.': \"rack=r7\"".into()
            }
        };
        faults.push(Fault::new(format!("maintenance.labels[{index}]"), what));
    }
    labels
}

fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

fn resolve_one(written: &Window) -> Result<MaintenanceWindow, String> {
    let window = match (&written.start, &written.from, &written.to) {
        (Some(start), None, None) => {
            let days: Vec<_> = written.days.iter().copied().map(Weekday::as_str).collect();
            let duration = Duration::from_secs(u64::from(written.duration_min) * 60);
            maintenance::Window::recurring(&days, start, duration, &written.tz)
        }
        (None, Some(from), Some(to)) => maintenance::Window::once(from, to),
        _ => return Err("needs either start (with days, duration_min, tz) or from and to".into()),
    };
    let window = window.map_err(|error| error.to_string())?;
    Ok(MaintenanceWindow { window, operation: written.operation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let window = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        resolve(&[window], &mut faults);
        faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn both_kinds_of_window_are_understood() {
        assert!(faults("days = [\"sun\"]\nstart = \"03:00\"\ntz = \"Europe/Berlin\"\n").is_empty());
        let once = "from = \"2030-01-05T03:00:00Z\"\nto = \"2030-01-05T04:00:00+00:30\"\n";
        assert!(faults(once).is_empty());
    }

    #[test]
    fn labels_are_pairs_of_words_and_each_kind_comes_once() {
        let check = |text: &str| {
            let mut faults = Vec::new();
            let labels = labels(&toml::from_str(text).unwrap(), &mut faults);
            (labels, faults.len())
        };
        let (good, faults) =
            check("labels = [\"zone=eu-1\", \"rack=r.7\"]\ntz = \"Europe/Berlin\"\n");
        assert_eq!(
            (good.get("zone").map(String::as_str), good.len(), faults),
            (Some("eu-1"), 2, 0)
        );
        for text in [
            "labels = [\"zone\"]\n",
            "labels = [\"zone=\"]\n",
            "labels = [\"zone=a b\"]\n",
            "labels = [\"zone=a\", \"zone=b\"]\n",
            "tz = \"Europe/Nowhere\"\n",
        ] {
            assert_eq!(check(text).1, 1, "{text}");
        }
    }

    #[test]
    fn a_window_that_cannot_open_is_a_fault() {
        for text in [
            "",
            "start = \"25:00\"\n",
            "start = \"03:00\"\ntz = \"Europe/Nowhere\"\n",
            "from = \"2030-01-05T03:00:00Z\"\n",
            "from = \"2030-01-05T03:00:00Z\"\nto = \"2030-01-05T03:00:00Z\"\n",
            "start = \"03:00\"\nfrom = \"2030-01-05T03:00:00Z\"\nto = \"2030-01-06T03:00:00Z\"\n",
        ] {
            assert_eq!(faults(text).len(), 1, "{text}");
        }
    }
}
