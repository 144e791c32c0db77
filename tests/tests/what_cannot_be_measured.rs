//! The commands that measure say at once what makes no sense, in a line and with code 64, and build and start nothing for it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::path::Path;
use std::process::Command;

/// What a command of `bench/` says on standard error, and its exit code; nothing if there is no Python here.
fn refusal(command: &str, arguments: &str) -> Option<(String, Option<i32>)> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 is not installed");
        return None;
    }
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench").join(command);
    let output = Command::new(bench).args(arguments.split_whitespace()).output().unwrap();
    Some((String::from_utf8(output.stderr).unwrap(), output.status.code()))
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    // Any program that is there and ends.
    let programs = "--tidegate /bin/true --sim /bin/true --certs /bin/true";
    for wrong in [
        "--rounds 0",
        "--rounds -1",
        "--seconds 0",
        "--seconds -3",
        "--seconds nan",
        "--port 80",
        "--port 65535",
        "--json /nowhere/at/all.json",
    ] {
        for command in ["table", "curves"] {
            let arguments = format!("{programs} {wrong}");
            let Some((told, code)) = refusal(command, &arguments) else { return };
            assert_eq!(code, Some(64), "{command} {wrong}: {told}");
            assert_eq!(told.lines().count(), 1, "{command} {wrong}: {told}");
            let option = wrong.split(' ').next().unwrap_or_default();
            assert!(told.contains(option), "{command} {wrong}: {told}");
        }
    }
    for wrong in
        ["--without nobody", "--without tidegate", "--scenario nothing", "--peer x=/nowhere"]
    {
        let Some((told, code)) = refusal("table", &format!("{programs} {wrong}")) else { return };
        assert_eq!((code, told.lines().count()), (Some(64), 1), "{wrong}: {told}");
    }
}

#[test]
fn who_is_started_without_its_programs_says_who_starts_it() {
    for command in ["table", "curves"] {
        let Some((told, code)) = refusal(command, "--quick") else { return };
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains("./bench/run") && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn a_figure_that_there_is_not_is_refused_before_anything_is_built() {
    let Some((told, code)) = refusal("figures", "nothing") else { return };
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("./bench/figures throughput"), "{told}");
}
