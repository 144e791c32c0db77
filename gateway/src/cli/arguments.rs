//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use maintenance::{OnTimeout, Profile};

use super::acl::AclCommand;
use super::bans::BansCommand;
use super::clients::ClientsCommand;
use super::maintenance::MaintenanceCommand;
use super::shadow::ShadowCommand;
use super::store::StoreCommand;
use super::things::ThingsCommand;
use crate::scheduler::AttendArguments;

/// Data folder when none is given.
pub const DEFAULT_DATA: &str = "./tidegate-data";

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0   done; with `--wait`: all that was waited for
  1   could not: it cannot be started, reached or found
  3   not all of it was done: what `--wait` and `operation wait` wait for, `restart`, orders to a campaign, `simulate`
  4   refused by the gateway; `store`: it is in use, or something would be written over
  5   `acl explain`: denied
  6   `store`: what is there is damaged; `maintenance audit --verify`: it is not as it was written
  7   a change may have been done: nobody said what came of it
  64  wrong arguments or configuration
  75  `run`: ended to be started again";

/// A fleet of MQTT device gateways.
///
/// Without a subcommand: starts a fleet on this machine, with development certificates, all on loopback. Gateway 1
/// has MQTT on 1883, MQTT with TLS on 8883, WebSocket on 8083, HTTP on 18083; the next gateway 10 more on each.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do; without it, a fleet is started.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Gateways of the fleet.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub gateways: u16,
    /// Address for MQTT with TLS; everything else stays on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Added to every port.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub base_port_offset: u16,
    /// Data folder of the fleet: store, certificates, logs, and where its gateways are.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// URL of a gateway's API, instead of looking it up in the data folder.
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Log every decision.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// A subcommand.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run one gateway from a configuration file.
    Run(RunArguments),
    /// Check a configuration file; exit code 64 when something is wrong with it.
    Check {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Ask the access files who may say what.
    #[command(subcommand, after_help = EXIT_CODES)]
    Acl(AclCommand),
    /// Keep clients, users or addresses out of the fleet.
    #[command(subcommand, after_help = EXIT_CODES)]
    Bans(BansCommand),
    /// Write, change or delete a line of a password file.
    ///
    /// The password is the first line of standard input; at a terminal it is asked for. The gateway reads the file again
    /// with its next reload.
    Passwd(PasswdArguments),
    /// Show what can be configured.
    Config(ConfigArguments),
    /// Empty a gateway without losing a session.
    #[command(subcommand, after_help = EXIT_CODES)]
    Drain(DrainCommand),
    /// When gateways may be visited, what is to be done to them, and what is planned.
    #[command(subcommand, after_help = EXIT_CODES)]
    Maintenance(MaintenanceCommand),
    /// Show the peer links of every gateway, or of one.
    Peers {
        /// Gateway id.
        gateway: Option<String>,
    },
    /// What is desired of things, and what they reported.
    #[command(subcommand, after_help = EXIT_CODES)]
    Shadow(ShadowCommand),
    /// Copy the store, put a copy back, or look whether it is whole.
    #[command(subcommand, after_help = EXIT_CODES)]
    Store(StoreCommand),
    /// Show what every gateway does, or one.
    Status {
        /// Gateway id.
        gateway: Option<String>,
    },
    /// Read the configuration, certificates, revoked certificates, credentials and access files again: in every gateway, or in one.
    Reload {
        /// Gateway id.
        gateway: Option<String>,
    },
    /// Let a new process take over on the same host: no port is closed, and every client finds its session at the same address.
    ///
    /// It waits until the old process has ended. If the new one does not get ready, the old one serves on.
    #[command(after_help = EXIT_CODES)]
    Restart {
        /// Gateway id.
        gateway: String,
        /// The only way so far; a restart that moves clients to other gateways is a drain, a stop and a start.
        #[arg(long, required = true)]
        in_place: bool,
        /// Start this program, one of those that `restart.programs` lists, instead of the one that runs.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Show a client's session, wherever in the fleet it is served.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// List the clients of every gateway, or of one; show who is there in the whole fleet, or end a connection.
    #[command(args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
    Clients {
        /// What to do with the clients of the fleet.
        #[command(subcommand)]
        command: Option<ClientsCommand>,
        /// Gateway id.
        gateway: Option<String>,
    },
    /// Write down what devices are, and find them by that, by whether they are there, and by their shadows.
    #[command(subcommand, after_help = EXIT_CODES)]
    Things(ThingsCommand),
    /// Attend to a program of a host; gateways type it.
    #[command(hide = true)]
    Attend(AttendArguments),
}

/// What to do with sessions.
#[derive(Debug, Clone, Subcommand)]
pub enum SessionsCommand {
    /// Show one: its queue with limits, what it did not get and why, its owner, and when it ends.
    Show {
        /// Client id.
        client_id: String,
    },
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// End when standard input closes, as it does when the parent process ends.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
    /// Follow the process that started this one, which hands its listeners over through standard input.
    #[arg(long, hide = true)]
    pub successor: bool,
}

/// Arguments of `passwd`; letters follow `mosquitto_passwd`.
#[derive(Clone, Args)]
pub struct PasswdArguments {
    /// Password file; made if it is not there.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// User name.
    #[arg(value_name = "USER")]
    pub user: String,
    /// Password, with `-b` only: others on this machine can read arguments.
    #[arg(value_name = "PASSWORD", requires = "batch")]
    pub password: Option<String>,
    /// Take the password from the arguments.
    #[arg(short, long, requires = "password")]
    pub batch: bool,
    /// Keep it for SCRAM-SHA-256, so that it need not travel; otherwise as argon2id.
    #[arg(long)]
    pub scram: bool,
    /// Begin a new file; what was in it is lost.
    #[arg(short, long)]
    pub create: bool,
    /// Delete the user's line.
    #[arg(short = 'D', long, conflicts_with_all = ["password", "scram", "create"])]
    pub delete: bool,
}

/// A password is not for logs.
impl std::fmt::Debug for PasswdArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswdArguments").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Arguments of `config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArguments {
    /// Print a commented file with every setting, its unit, its default and the reason for it.
    #[arg(long, required = true)]
    pub example: bool,
}

/// What to do about a drain.
#[derive(Debug, Clone, Subcommand)]
pub enum DrainCommand {
    /// Begin: announce, refuse new clients, move the others.
    Start {
        /// Gateway id.
        gateway: String,
        /// Clients moved per second.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        per_s: Option<u32>,
        /// Milliseconds between "not ready" and the first refused client.
        #[arg(long, value_name = "MS")]
        announce_ms: Option<u64>,
        /// Milliseconds after which the drain gives up and serves again.
        #[arg(long, value_name = "MS")]
        timeout_ms: Option<u64>,
        /// Milliseconds that a client may take to finish what is under way once it is to move.
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=5_000))]
        flush_ms: Option<u64>,
        /// How much of a hurry there is: planned, urgent or host-dying.
        #[arg(long, value_name = "WORD", value_parser = word::<Profile>)]
        profile: Option<Profile>,
        /// What happens when it takes too long: undrain, extend, force-rest or ask.
        #[arg(long, value_name = "WORD", value_parser = word::<OnTimeout>)]
        on_timeout: Option<OnTimeout>,
        /// Why, for the log, the ledger and the audit.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Also while a freeze is in force.
        #[arg(long)]
        despite_freeze: bool,
        /// Also if policies speak against it; the audit keeps what they say.
        #[arg(long)]
        despite_policies: bool,
        /// Wait for the verdict, with a line of progress each second on standard error.
        #[arg(long)]
        wait: bool,
    },
    /// Show the drain that runs, or the last one.
    Status {
        /// Gateway id.
        gateway: String,
    },
    /// Stop the running drain; the gateway serves again.
    Abort {
        /// Gateway id.
        gateway: String,
    },
    /// Serve again after a drain.
    Undrain {
        /// Gateway id.
        gateway: String,
    },
}

/// A word as the API has it; with `-` instead of `_` too.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(text.replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("tidegate").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_arguments_it_is_two_gateways_on_loopback() {
        let arguments = parsed("").unwrap();
        assert!(arguments.command.is_none());
        assert_eq!(arguments.gateways, 2);
        assert!(arguments.bind.is_loopback());
        assert_eq!(arguments.data, PathBuf::from(DEFAULT_DATA));
    }

    #[test]
    fn a_drain_takes_its_pace_and_waits() {
        let line = "drain start gw-1 --per-s 50 --wait --json --data d";
        let arguments = parsed(line).unwrap();
        assert!(arguments.json);
        assert_eq!(arguments.data, PathBuf::from("d"));
        let Some(Command::Drain(DrainCommand::Start { gateway, per_s, wait, .. })) =
            arguments.command
        else {
            panic!("{line}")
        };
        assert_eq!((gateway.as_str(), per_s, wait), ("gw-1", Some(50), true));
    }

    #[test]
    fn letters_follow_mosquitto() {
        let Some(Command::Run(run)) = parsed("run -c gw.toml -v").unwrap().command else {
            panic!("not run")
        };
        assert_eq!(run.config, PathBuf::from("gw.toml"));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "drain",
            "drain start g --profile x",
            "run",
            "config",
            "--gateways x",
            "drain start g --per-s 0",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_tells_the_exit_codes() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("64  wrong arguments or configuration"), "{help}");
    }
}
