//! `device-sim`: see `device-sim run --help`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use device_sim::{
    Args, INTERRUPTED, Interrupt, Plan, RunArgs, ShadowArgs, ask_about_shadows,
    connect_all_the_time, run_until, sum_moves, take_over, travel_with_shadows,
};

fn main() -> ExitCode {
    match start() {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Exceeded) => ExitCode::from(2),
        Ok(Outcome::CannotBeMeant) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Whoever reads no more wants no word, and nothing is left to do if stderr is gone too.
            if !is_broken_pipe(&error) {
                let _ = writeln!(std::io::stderr(), "device-sim: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether nobody reads our report any more.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    kind.or(json) == Some(std::io::ErrorKind::BrokenPipe)
}

/// How a load ended that has told what it has seen.
enum Outcome {
    Fine,
    /// Beyond a threshold.
    Exceeded,
    /// Nothing was done: the arguments make no sense.
    CannotBeMeant,
    /// Within all thresholds until somebody ended it.
    Interrupted,
}

fn start() -> anyhow::Result<Outcome> {
    // Exit code 2 means thresholds here, so wrong arguments are 1 as everything that could not run.
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(told) => {
            told.print()?;
            return Ok(if told.use_stderr() { Outcome::CannotBeMeant } else { Outcome::Fine });
        }
    };
    let interrupt = Interrupt::by_signals().context("listen for signals")?;
    let good = match args {
        Args::Run(args) => run_devices(*args, &interrupt)?,
        Args::Takeover(args) => {
            show(&take_over(&args, &interrupt).context("take over")?, args.json)?;
            true
        }
        Args::Connects(args) => {
            show(&connect_all_the_time(&args, &interrupt).context("connect")?, args.json)?;
            true
        }
        Args::Shadow(args) if args.reconnect => travel(&args, &interrupt)?,
        Args::Shadow(args) => {
            let report = ask_about_shadows(&args, &interrupt)
                .context("ask about shadows; with --reconnect things go on elsewhere")?;
            show(&report, args.json)?;
            true
        }
        Args::Moves(args) => {
            let report = sum_moves(&args)?;
            show(&report, args.json)?;
            report.is_heeded()
        }
    };
    Ok(match (good, interrupt.is_asked()) {
        (false, _) => Outcome::Exceeded,
        (true, true) => Outcome::Interrupted,
        (true, false) => Outcome::Fine,
    })
}

/// Whether the run kept within the thresholds.
fn run_devices(args: RunArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let (json, moves) = (args.json, args.moves.clone());
    let report = run_until(&Plan::try_from(args)?, interrupt).context("run")?;
    if let Some(path) = moves {
        report.moves.write(&path).context("write --moves")?;
    }
    show(&report, json)?;
    Ok(report.exceeded.is_empty())
}

/// Whether no shadow lost anything.
fn travel(args: &ShadowArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let report = travel_with_shadows(args, interrupt).context("travel with shadows")?;
    if let Some(path) = &args.moves {
        report.moves.write(path).context("write --moves")?;
    }
    show(&report, args.json)?;
    Ok(report.is_good())
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
