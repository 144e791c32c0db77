//! Maintenance windows: what is written must be one kind or the other, and its times must exist.

use std::time::Duration;

use super::fault::Fault;
use super::written::{Operation, Weekday, Window};

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
