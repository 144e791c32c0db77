//! `tests/simulate`: plays fleets from seeds, for as long as one likes, and one seed again with all that happened in it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use tests::simulation::{Campaign, Mistake, Report, Scenario, Tally, Telling, shrink};

/// Plays simulated fleets from seeds and checks every promise. Exit codes: 0 all kept, 2 one broken, 1 could not run.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Threads that play them.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Gateways of every fleet; by default each seed says.
    #[arg(long)]
    gateways: Option<usize>,
    /// Let every kind of fault strike: frozen gateways, clocks that are set, slow stores, lost answers, takeover storms.
    #[arg(long)]
    all_faults: bool,
    /// Count the holes that README names under "What does not hold yet" as breaches too.
    #[arg(long)]
    strict: bool,
    /// Stop after so many broken seeds; 0 goes on.
    #[arg(long, default_value_t = 1)]
    enough: usize,
    /// Play one seed and tell all that happened: virtual seconds, then who did what.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: tell only what concerns these words, such as `d3`, `m120`, `gw-2` or `fault`.
    #[arg(long, num_args = 1..)]
    about: Vec<String>,
    /// Let gateways make a mistake on purpose, such as `ForgetsFence`; another name lists them.
    #[arg(long)]
    plant: Option<String>,
    /// Do not look for a smaller fleet and fewer faults that break the same promise.
    #[arg(long)]
    whole: bool,
    /// Results as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing is left to do if nobody reads.
            let _ = error.print();
            return if usage { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let kept = campaign(&args).and_then(|campaign| match args.seed {
        Some(seed) => play_one(&args, campaign, seed),
        None => play_many(&args, campaign),
    });
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            let _ = writeln!(io::stderr(), "simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The mistake that is to be planted.
fn mistake(args: &Args) -> io::Result<Option<Mistake>> {
    let Some(name) = &args.plant else { return Ok(None) };
    match Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == *name) {
        Some(mistake) => Ok(Some(mistake)),
        None => Err(io::Error::other(format!("no such mistake; there are {:?}", Mistake::ALL))),
    }
}

/// Whether every promise was kept.
fn play_one(args: &Args, campaign: Campaign, seed: u64) -> io::Result<bool> {
    let whole = campaign.scenario(seed).play();
    let (faults, devices) = (whole.faults, whole.scenario.devices);
    let report = if args.whole { whole } else { shrink(whole) };
    let telling =
        if args.about.is_empty() { Telling::All } else { Telling::About(args.about.clone()) };
    let report = report.scenario.play_and_tell(&telling);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "result": told(&report), "log": report.log }))?;
        return Ok(report.breach.is_none());
    }
    for line in &report.log {
        writeln!(out, "{line}")?;
    }
    let left = (faults - report.scenario.spared.len(), devices - report.scenario.silent.len());
    writeln!(out, "{}", summary(&report))?;
    if report.breach.is_some() && !args.whole {
        let (faults_left, devices_left) = left;
        writeln!(
            out,
            "{faults_left} of {faults} faults and {devices_left} of {devices} devices do"
        )?;
    }
    Ok(report.breach.is_none())
}

/// Whether every promise was kept.
fn play_many(args: &Args, campaign: Campaign) -> io::Result<bool> {
    let (tally, began) = (Tally::default(), Instant::now());
    campaign.play(&tally, || progress(&campaign, &tally, began));
    let seconds = began.elapsed().as_secs_f64();
    let played = tally.played.load(std::sync::atomic::Ordering::Relaxed);
    let broken = tally.take_broken();
    let per_minute = if seconds > 0.0 { 60.0 * to_f64(played) / seconds } else { 0.0 };
    let mut out = io::stdout().lock();
    if args.json {
        let value = json!({
            "from": args.from,
            "played": played,
            "seconds": seconds,
            "seeds_per_minute": per_minute,
            "acknowledged": tally.acknowledged.into_inner(),
            "received": tally.received.into_inner(),
            "resumes": tally.resumes.into_inner(),
            "shadow_updates": tally.updates.into_inner(),
            "broken": broken.iter().map(told).collect::<Vec<_>>(),
        });
        writeln!(out, "{value}")?;
        return Ok(broken.is_empty());
    }
    for report in &broken {
        writeln!(out, "{}", summary(report))?;
    }
    writeln!(
        out,
        "{played} seeds from {}, {} broken, {seconds:.0} s, {per_minute:.0} seeds per minute, {} messages \
         acknowledged, {} received, {} exact resumes, {} updates of shadows",
        args.from,
        broken.len(),
        tally.acknowledged.into_inner(),
        tally.received.into_inner(),
        tally.resumes.into_inner(),
        tally.updates.into_inner()
    )?;
    if let Some(report) = broken.first() {
        let gateways = args.gateways.map(|n| format!(" --gateways {n}")).unwrap_or_default();
        let plant = args.plant.iter().map(|name| format!(" --plant {name}")).collect::<String>();
        let all = if args.all_faults { " --all-faults" } else { "" };
        let strict = if args.strict { " --strict" } else { "" };
        let seed = report.scenario.seed;
        writeln!(out, "replay: tests/simulate --seed {seed}{gateways}{all}{strict}{plant}")?;
    }
    Ok(broken.is_empty())
}

fn campaign(args: &Args) -> io::Result<Campaign> {
    let Args { from, seeds, threads, gateways, all_faults, strict, enough, .. } = *args;
    let mistake = mistake(args)?;
    Ok(Campaign { from, seeds, threads, gateways, all_faults, strict, mistake, enough })
}

/// Says how far it is: every second to a terminal, every minute to a file.
fn progress(campaign: &Campaign, tally: &Tally, began: Instant) {
    let mut err = io::stderr();
    let terminal = err.is_terminal();
    let pause = Duration::from_secs(if terminal { 1 } else { 60 });
    let mut due = Instant::now() + pause;
    while !tally.is_over() {
        std::thread::sleep(Duration::from_millis(50));
        if Instant::now() < due {
            continue;
        }
        due += pause;
        let played = tally.played.load(std::sync::atomic::Ordering::Relaxed);
        let (seeds, broken) = (campaign.seeds, tally.broken());
        let per_minute = 60.0 * to_f64(played) / began.elapsed().as_secs_f64();
        let end = if terminal { '\r' } else { '\n' };
        let _ = write!(
            err,
            "{played} of {seeds} seeds, {broken} broken, {per_minute:.0} per minute{end}"
        );
        let _ = err.flush();
    }
}

fn summary(report: &Report) -> String {
    let Scenario { seed, gateways, devices, .. } = &report.scenario;
    let fleet = format!("seed {seed}, {gateways} gateways, {devices} devices");
    match &report.breach {
        None => format!("{fleet}: every promise kept"),
        Some(breach) => format!("{fleet}: broke {}: {}", breach.promise, breach.what),
    }
}

fn told(report: &Report) -> serde_json::Value {
    let breach = report.breach.as_ref();
    json!({
        "seed": report.scenario.seed,
        "gateways": report.scenario.gateways,
        "devices": report.scenario.devices,
        "faults": report.faults,
        "spared_faults": report.scenario.spared,
        "silent_devices": report.scenario.silent,
        "promise": breach.map(|breach| breach.promise),
        "what": breach.map(|breach| &breach.what),
        "acknowledged": report.acknowledged,
        "received": report.received,
    })
}

fn to_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
