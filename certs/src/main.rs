//! `tidegate-certs`: makes, lists, renews and revokes the identities of a development fleet.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use certs::{Authority, Identity, IssueError, Issued, Role, development_set};
use clap::{Args, Parser, Subcommand};

/// Development and test identities of a Tidegate fleet.
#[derive(Debug, Parser)]
#[command(name = "tidegate-certs", version, after_help = EXIT_CODES)]
struct Cli {
    /// Folder of the authority
    #[arg(long, global = true, default_value = "tidegate-data/certs", value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make what is missing: authority, revocation list, gateways, device-1, operator
    Init {
        /// Names of the gateways
        #[arg(long, value_delimiter = ',', default_value = "gw-1,gw-2,gw-3", value_name = "NAMES")]
        gateways: Vec<String>,
    },
    /// Issue a gateway's certificate (localhost is always among its names)
    Gateway {
        #[command(flatten)]
        whom: Whom,
        /// A further DNS name or IP address; may be repeated
        #[arg(long = "san", value_name = "NAME")]
        sans: Vec<String>,
    },
    /// Issue a device's certificate
    Device(Whom),
    /// Issue an operator's certificate
    Operator(Whom),
    /// Replace a certificate and its key; the old certificate stays good until it ends or is revoked
    Renew(Whom),
    /// Revoke a certificate and sign a new crl.pem
    Revoke {
        /// Serial number in hex, as `list` shows it
        serial: String,
    },
    /// Show everything that was issued
    List,
}

#[derive(Debug, Args)]
struct Whom {
    /// Name of the holder; also the name of the files
    name: String,
    /// How long the certificate is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { USAGE } else { 0 };
            // Nobody is left to tell if even this cannot be printed.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    match run(&cli, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "tidegate-certs: {e:#}");
            ExitCode::from(if is_usage(&e) { USAGE } else { 1 })
        }
    }
}

fn run(cli: &Cli, out: &mut impl Write) -> anyhow::Result<()> {
    let load = || Authority::load(&cli.dir).context("cannot load the authority (try `init`)");
    let changed = match &cli.command {
        Command::Init { gateways } => {
            let names: Vec<&str> = gateways.iter().map(String::as_str).collect();
            development_set(&cli.dir, &names)?.list()?
        }
        Command::Gateway { whom, sans } => {
            vec![load()?.issue(Role::Gateway, &whom.name, sans, whom.days)?.issued]
        }
        Command::Device(whom) => vec![issue(&load()?, Role::Device, whom)?.issued],
        Command::Operator(whom) => vec![issue(&load()?, Role::Operator, whom)?.issued],
        Command::Renew(whom) => vec![load()?.renew(&whom.name, whom.days)?.issued],
        Command::Revoke { serial } => vec![load()?.revoke(serial)?],
        Command::List => load()?.list()?,
    };
    print(&changed, cli.json, out).context("cannot print")
}

fn issue(authority: &Authority, role: Role, whom: &Whom) -> Result<Identity, IssueError> {
    authority.issue(role, &whom.name, &[], whom.days)
}

fn print(issued: &[Issued], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, issued)?;
        writeln!(out)?;
        return Ok(());
    }
    for entry in issued {
        let state = if entry.revoked_ms.is_some() { "revoked" } else { "issued" };
        writeln!(out, "{state:8} {:8} {:24} {}", entry.role.as_str(), entry.name, entry.serial)?;
    }
    Ok(())
}

/// Whether the caller asked for something that cannot be, rather than something that failed.
fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(|cause| match cause {
        IssueError::Name(_) | IssueError::AlternativeName(_) | IssueError::Days(_) => true,
        IssueError::Unknown(_)
        | IssueError::File(_)
        | IssueError::Index(_)
        | IssueError::Sign(_) => false,
    })
}

const USAGE: u8 = 64;
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 64 wrong usage (bad argument or name)";

#[cfg(test)]
mod tests {
    use super::*;

    fn run_words(dir: &std::path::Path, words: &[&str]) -> anyhow::Result<String> {
        let dir = dir.to_str().unwrap();
        let cli =
            Cli::try_parse_from(["tidegate-certs", "--dir", dir].iter().chain(words).copied())?;
        let mut out = Vec::new();
        run(&cli, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn init_then_list_shows_the_set_as_json() {
        let dir = tempfile::tempdir().unwrap();
        run_words(dir.path(), &["init", "--gateways", "gw-1,gw-2"]).unwrap();
        let listed: Vec<Issued> =
            serde_json::from_str(&run_words(dir.path(), &["list", "--json"]).unwrap()).unwrap();
        let names: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["gw-1", "gw-2", "device-1", "operator"]);
    }

    #[test]
    fn a_bad_name_is_wrong_usage_and_a_missing_authority_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_usage(&run_words(dir.path(), &["device", "pump-7"]).unwrap_err()));
        run_words(dir.path(), &["init"]).unwrap();
        assert!(is_usage(&run_words(dir.path(), &["device", "../pump"]).unwrap_err()));
        assert!(!is_usage(&run_words(dir.path(), &["renew", "nobody"]).unwrap_err()));
        let line = run_words(dir.path(), &["device", "pump-7"]).unwrap();
        let serial = line.split_whitespace().last().unwrap();
        assert!(run_words(dir.path(), &["revoke", serial]).unwrap().starts_with("revoked"));
    }
}
