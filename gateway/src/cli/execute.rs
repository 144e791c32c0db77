//! From what was typed to what is done.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use access::Policy;
use clap::Parser as _;
use serde_json::json;

use super::arguments::{Arguments, Command, DrainCommand, RunArguments, SessionsCommand};
use super::drain::Print;
use super::exit::{Exit, Failure};
use super::printed::Printed;
use super::{acl, bans, clients, drain, lifeline, passwd, reach, reload, restart, show, things};
use crate::config::{self, ConfigError, LogLevel, Resolved};
use crate::control::DrainRequest;
use crate::fleet;
use crate::process::Start;
use crate::rights;
use crate::scheduler::attend;
use crate::succession::Inheritance;

/// Runs one gateway until it is told to end.
pub type RunGateway = fn(Resolved, Start) -> anyhow::Result<ExitCode>;

/// Does what the arguments say, prints to standard output and standard error, and gives the exit code.
pub fn execute(typed: impl IntoIterator<Item = OsString>, run: RunGateway) -> ExitCode {
    let mut err = std::io::stderr();
    let arguments = match Arguments::try_parse_from(typed) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let mut out = Printed::to(std::io::stdout());
    match dispatch(&arguments, run, &mut out) {
        Ok(code) => code,
        Err(failure) => {
            let _ = out.flush();
            if !out.is_cut_off {
                // Nobody may be reading; the exit code tells it all the same.
                let _ = writeln!(err, "tidegate: {}", failure.message);
            }
            failure.exit.into()
        }
    }
}

fn dispatch(
    arguments: &Arguments,
    run: RunGateway,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let exit = match &arguments.command {
        None => launch(arguments, out)?,
        Some(Command::Run(it)) => return run_gateway(it, arguments.verbose, run),
        Some(Command::Attend(it)) => return Ok(attend(it)),
        Some(Command::Check { config }) => check(config, arguments.json, out)?,
        Some(Command::Acl(command)) => acl::run(command, (&arguments.data, arguments.json), out)?,
        Some(Command::Bans(command)) => {
            let gateways = reach::some(arguments, None)?;
            wait(bans::run(gateways, command, arguments.json, out))??
        }
        Some(Command::Shadow(command)) => {
            let gateways = reach::some(arguments, None)?;
            wait(super::shadow::run(gateways, command, arguments.json, out))??
        }
        Some(Command::Store(command)) => {
            super::store::run(command, (&arguments.data, arguments.json), out)?
        }
        Some(Command::Maintenance(command)) => super::maintenance::run(command, arguments, out)?,
        Some(Command::Passwd(it)) => passwd::passwd(it)?,
        Some(Command::Config(_)) => {
            out.write_all(config::example().as_bytes())?;
            Exit::Done
        }
        Some(Command::Drain(command)) => wait(drain(arguments, command, out))??,
        Some(Command::Status { gateway }) => {
            let gateways = reach::some(arguments, gateway.as_deref())?;
            wait(show::status(gateways, arguments.json, out))??;
            Exit::Done
        }
        Some(Command::Peers { gateway }) => {
            let gateways = reach::some(arguments, gateway.as_deref())?;
            wait(show::peers(gateways, arguments.json, out))??;
            Exit::Done
        }
        Some(Command::Reload { gateway }) => {
            let gateways = reach::some(arguments, gateway.as_deref())?;
            wait(reload::reload(gateways, arguments.json, out))??
        }
        Some(Command::Restart { gateway, in_place: _, binary }) => {
            let (_, api) = reach::one(arguments, gateway)?;
            let binary = binary.as_deref();
            wait(restart::restart((gateway, &api), binary, arguments.json, out))??
        }
        Some(Command::Sessions(SessionsCommand::Show { client_id })) => {
            let gateways = reach::some(arguments, None)?;
            wait(show::session(gateways, client_id, arguments.json, out))??;
            Exit::Done
        }
        Some(Command::Things(command)) => {
            let gateways = reach::some(arguments, None)?;
            wait(things::run(gateways, command, arguments.json, out))??
        }
        Some(Command::Clients { command: Some(command), .. }) => {
            let gateways = reach::some(arguments, None)?;
            wait(clients::run(gateways, command, arguments.json, out))??
        }
        Some(Command::Clients { command: None, gateway }) => {
            let gateways = reach::some(arguments, gateway.as_deref())?;
            wait(show::clients(gateways, arguments.json, out))??;
            Exit::Done
        }
    };
    out.flush()?;
    Ok(exit.into())
}

fn launch(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let options = fleet::Options {
        gateways: arguments.gateways,
        data: arguments.data.clone(),
        bind: arguments.bind,
        offset: arguments.base_port_offset,
        json: arguments.json,
        level: if arguments.verbose { LogLevel::Debug } else { LogLevel::Info },
    };
    fleet::launch(&options, out)?;
    Ok(Exit::Done)
}

fn run_gateway(
    arguments: &RunArguments,
    verbose: bool,
    run: RunGateway,
) -> Result<ExitCode, Failure> {
    // By the name that it has now: another program may stand there when this one is to be followed.
    let program = std::env::current_exe()?;
    let inherited = arguments.successor.then(Inheritance::receive).transpose();
    let mut inheritance = inherited.map_err(|error| Failure::new(Exit::Failed, &error))?;
    let read = config::read(&arguments.config);
    if let (Err(error), Some(before)) = (&read, &mut inheritance) {
        before.fail(&error.to_string());
    }
    let mut resolved = read?;
    if verbose {
        resolved.log.level = LogLevel::Debug;
    }
    let _log =
        crate::logging::start(&resolved.log).map_err(|error| Failure::new(Exit::Usage, &error))?;
    let lifeline = arguments.exit_with_parent;
    if lifeline {
        lifeline::hold()?;
    }
    let start = Start { inheritance, lifeline, verbose, program };
    run(resolved, start)
        .map_err(|error| Failure { exit: Exit::Failed, message: format!("{error:#}") })
}

fn check(path: &Path, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let checked = config::read(path);
    let rights = checked.as_ref().map_or(Ok(None), |it| rights::load(&it.rights).map(Some));
    if json {
        let faults = match &checked {
            Ok(_) => {
                let faults = rights.as_ref().err().map(ToString::to_string);
                faults.iter().map(|what| json!({"setting": "access", "what": what})).collect()
            }
            Err(ConfigError::Faults(faults)) => {
                faults.iter().map(|it| json!({"setting": it.setting, "what": it.what})).collect()
            }
            Err(error) => vec![json!({"setting": null, "what": error.to_string()})],
        };
        let sound = checked.as_ref().ok().zip(rights.as_ref().ok());
        let warnings = sound.map(|(it, policy)| warnings(it, policy.as_ref())).unwrap_or_default();
        let told = |(setting, what): &(_, _)| json!({"setting": setting, "what": what});
        let warnings: Vec<_> = warnings.iter().map(told).collect();
        let ok = sound.is_some();
        writeln!(out, "{}", json!({"ok": ok, "faults": faults, "warnings": warnings}))?;
        return Ok(if ok { Exit::Done } else { Exit::Usage });
    }
    let resolved = checked?;
    let policy = rights?;
    writeln!(out, "{}: a sound configuration of gateway {}", path.display(), resolved.id)?;
    let by_rules = policy.as_ref().filter(|it| !it.is_allow_all() && !resolved.rights.denies_all());
    if let Some(rules) = by_rules.map(Policy::rules_len) {
        writeln!(out, "{}: {rules} rules say who may say what", path.display())?;
    }
    for (_, what) in warnings(&resolved, policy.as_ref()) {
        writeln!(out, "{}: warning: {what}", path.display())?;
    }
    Ok(Exit::Done)
}

/// What is sound and yet hardly meant, each with the setting to look at.
fn warnings(resolved: &Resolved, policy: Option<&Policy>) -> Vec<(&'static str, &'static str)> {
    let mut warnings = Vec::new();
    if resolved.rights.denies_all() {
        let what = "nobody may publish or subscribe: access.acl names no file, and access.allow_all is false";
        warnings.push(("access.acl", what));
    }
    if policy.is_some_and(Policy::is_allow_all) {
        let what = "everybody may publish and subscribe to everything: access.allow_all is true";
        warnings.push(("access.allow_all", what));
    }
    let names_client = policy.is_some_and(Policy::names_client);
    if names_client && resolved.authentication.leaves_client_ids_free() {
        let what = "rules go by the client id (%c), and somebody may have any: see access.client_id and access.anonymous";
        warnings.push(("access.client_id", what));
    }
    warnings
}

async fn drain(
    arguments: &Arguments,
    command: &DrainCommand,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (DrainCommand::Start { gateway, .. }
    | DrainCommand::Status { gateway }
    | DrainCommand::Abort { gateway }
    | DrainCommand::Undrain { gateway }) = command;
    let (_, api) = reach::one(arguments, gateway)?;
    let mut progress = std::io::stderr();
    let mut print = Print { out, progress: &mut progress, json: arguments.json };
    match command {
        DrainCommand::Start {
            per_s,
            announce_ms,
            timeout_ms,
            flush_ms,
            profile,
            on_timeout,
            reason,
            despite_freeze,
            despite_policies,
            wait,
            gateway: _,
        } => {
            let request = DrainRequest {
                per_s: *per_s,
                announce_ms: *announce_ms,
                timeout_ms: *timeout_ms,
                profile: *profile,
                on_timeout: *on_timeout,
                flush_ms: *flush_ms,
                per_device: None,
                takeover_wait_ms: None,
                reason: reason.clone(),
                despite_freeze: *despite_freeze,
                despite_policies: *despite_policies,
            };
            drain::start(&api, &request, *wait, &mut print).await
        }
        DrainCommand::Status { .. } => drain::status(&api, &mut print).await,
        DrainCommand::Abort { .. } => drain::abort(&api, &mut print).await,
        DrainCommand::Undrain { .. } => drain::undrain(&api, &mut print).await,
    }
}

/// Runs a question to its answer on this thread.
pub(super) fn wait<T>(question: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(question))
}
