//! The example file: every setting with its unit, default and reason, printed from the tables.

use std::fmt::Write as _;

use super::classes::ClassSection;
use super::doors::{Listen, TlsCertificate};
use super::programs::MaintenanceHook;
use super::settings::Setting;
use super::written::{Window, Written};

/// A commented configuration file with every setting; it means the same as one that only names the gateway.
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of one Tidegate gateway.\n\
         #\n\
         # Each setting: what it is; its unit or choices; its default and why.\n\
         # Unknown keys are errors. Relative paths start at the folder of this file.\n\
         # Every value below is the default; lines that begin with \"# key =\" show what could be written.\n",
    );
    let mut section = "";
    for setting in &Written::settings() {
        if setting.section != section {
            if section == "gateway" {
                write_list(&mut text, "listen", &Listen::settings(), "");
            }
            section = setting.section;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n[{section}]");
        }
        write_setting(&mut text, setting, "");
    }
    // A list of tables must follow its table in TOML, and [log] may stand between them.
    write_list(&mut text, "maintenance.window", &Window::settings(), "# ");
    write_table(&mut text, "maintenance.hooks.NAME", &MaintenanceHook::settings());
    write_list(&mut text, "class", &ClassSection::settings(), "# ");
    write_list(&mut text, "tls.certificate", &TlsCertificate::settings(), "# ");
    text
}

/// One entry of a list of tables; `mark` comments it out.
fn write_list(text: &mut String, name: &str, settings: &[Setting], mark: &str) {
    let _ = writeln!(text, "\n# May be repeated.\n{mark}[[{name}]]");
    for setting in settings {
        write_setting(text, setting, mark);
    }
}

/// A table of which there may be any number, each with a name; commented out.
fn write_table(text: &mut String, name: &str, settings: &[Setting]) {
    let _ = writeln!(text, "\n# May be repeated, with other names.\n# [{name}]");
    for setting in settings {
        write_setting(text, setting, "# ");
    }
}

fn write_setting(text: &mut String, setting: &Setting, mark: &str) {
    for line in setting.what {
        let _ = writeln!(text, "# {line}");
    }
    let unit = match setting.range {
        Some((least, greatest)) => format!("{}, {least} to {greatest}", setting.unit),
        None => setting.unit.to_owned(),
    };
    let default = match &setting.default {
        Some(default) => default.as_str(),
        None if setting.needed => "none, must be written",
        None => "absent",
    };
    let _ = writeln!(text, "# Unit: {unit}. Default: {default} ({}).", setting.reason);
    let value = setting.default.as_deref().or(setting.shown).unwrap_or_default();
    let mark = if setting.default.is_none() && !setting.needed { "# " } else { mark };
    let _ = writeln!(text, "{mark}{} = {value}", setting.key);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{parse, resolve};
    use super::*;

    fn all() -> Vec<Setting> {
        let repeated = Written::repeated().map(|(_, settings)| settings);
        [Written::settings(), repeated.concat()].concat()
    }

    #[test]
    fn the_example_means_the_defaults() {
        let written = parse(&example()).unwrap();
        let mut default = Written::default();
        default.gateway.id = Some("gw-1".to_owned());
        default.listen = vec![Listen::default()];
        assert_eq!(written, default);
        resolve(&written, Path::new("")).unwrap();
    }

    #[test]
    fn every_line_that_is_commented_out_can_be_written() {
        let settings = all();
        let keys: Vec<_> = settings.iter().map(|setting| format!("# {} = ", setting.key)).collect();
        let text: String = example()
            .lines()
            .map(|line| {
                let code = keys.iter().any(|key| line.starts_with(key)) || line.starts_with("# [");
                format!("{}\n", if code { line.trim_start_matches("# ") } else { line })
            })
            .collect();
        let written = parse(&text).unwrap();
        assert_eq!(written.maintenance.window.len(), 1);
        assert!(written.tls.crl.is_some() && written.peer.advertise.is_some());
    }

    #[test]
    fn every_setting_stands_in_the_example_with_its_reason() {
        let text = example();
        for setting in all() {
            assert!(text.contains(&format!("{} = ", setting.key)), "{}", setting.key);
            assert!(text.contains(setting.reason), "{}", setting.reason);
        }
    }
}
