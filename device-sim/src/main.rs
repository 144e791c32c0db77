//! `device-sim`: see `device-sim run --help`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use device_sim::{Args, Plan, run};

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            // Nothing is left to do if stderr is gone too.
            let _ = writeln!(std::io::stderr(), "device-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the run kept within the thresholds.
fn start() -> anyhow::Result<bool> {
    // Exit code 2 means thresholds here, so wrong arguments are 1 as everything that could not run.
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            error.print()?;
            anyhow::bail!("no run");
        }
        Err(help) => {
            help.print()?;
            return Ok(true);
        }
    };
    let Args::Run(args) = args;
    let json = args.json;
    let plan = Plan::try_from(*args)?;
    let report = run(&plan).context("run")?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(report.exceeded.is_empty())
}
