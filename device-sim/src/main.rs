//! `device-sim`: see `device-sim run --help`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use device_sim::{
    Args, Plan, ask_about_shadows, connect_all_the_time, run, sum_moves, take_over,
    travel_with_shadows,
};

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
    let args = match args {
        Args::Run(args) => args,
        Args::Takeover(args) => {
            let report = take_over(&args).context("take over")?;
            show(&report, args.json)?;
            return Ok(true);
        }
        Args::Connects(args) => {
            let report = connect_all_the_time(&args).context("connect")?;
            show(&report, args.json)?;
            return Ok(true);
        }
        Args::Shadow(args) if args.reconnect => {
            let report = travel_with_shadows(&args).context("travel with shadows")?;
            if let Some(path) = &args.moves {
                report.moves.write(path).context("write --moves")?;
            }
            show(&report, args.json)?;
            return Ok(report.is_good());
        }
        Args::Shadow(args) => {
            let report = ask_about_shadows(&args).context("ask about shadows")?;
            show(&report, args.json)?;
            return Ok(true);
        }
        Args::Moves(args) => {
            let report = sum_moves(&args)?;
            show(&report, args.json)?;
            return Ok(report.is_heeded());
        }
    };
    let (json, moves) = (args.json, args.moves.clone());
    let plan = Plan::try_from(*args)?;
    let report = run(&plan).context("run")?;
    if let Some(path) = moves {
        report.moves.write(&path).context("write --moves")?;
    }
    show(&report, json)?;
    Ok(report.exceeded.is_empty())
}

fn show(report: &(impl serde::Serialize + std::fmt::Display), json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}
