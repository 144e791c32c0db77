//! Maintenance windows: what is written must be one kind or the other, and civil times must exist.

use super::fault::Fault;
use super::written::Window;

/// Notes every window that cannot open.
pub(super) fn check(windows: &[Window], faults: &mut Vec<Fault>) {
    for (index, window) in windows.iter().enumerate() {
        if let Err(what) = check_one(window) {
            faults.push(Fault::new(format!("maintenance.window[{index}]"), what));
        }
    }
}

fn check_one(window: &Window) -> Result<(), String> {
    match (&window.start, &window.from, &window.to) {
        (Some(start), None, None) => {
            jiff::civil::Time::strptime("%H:%M", start)
                .map_err(|_| format!("start: {start:?} is not a time such as \"03:00\""))?;
            jiff::tz::TimeZone::get(&window.tz)
                .map_err(|_| format!("tz: {:?} is not a known time zone", window.tz))?;
            Ok(())
        }
        (None, Some(from), Some(to)) => {
            let instant = |key: &str, text: &str| {
                text.parse::<jiff::Timestamp>().map_err(|_| {
                    format!("{key}: {text:?} is not an instant such as \"2030-01-05T03:00:00Z\"")
                })
            };
            if instant("from", from)? < instant("to", to)? {
                Ok(())
            } else {
                Err("from is not before to".to_owned())
            }
        }
        _ => Err("needs either start (with days, duration_min, tz) or from and to".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let window = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        check(&[window], &mut faults);
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
