//! `store`: copy it, put a copy back, look whether it is whole. Works on the files, without asking a gateway.

use std::io::Write;
use std::path::{Path, PathBuf};

use ::store::{BackupError, Checked, CopyProgress, SqliteOptions, SqliteStore};
use clap::{Args, Subcommand};
use serde_json::json;

use super::backup_pause::BackupPause;
use super::exit::{Exit, Failure};
use crate::config;

/// What to do with the store.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Copy the store to a file, while gateways go on using it.
    Backup {
        /// The file to write; there must be none of that name.
        #[arg(value_name = "DEST")]
        dest: PathBuf,
        /// Which store.
        #[command(flatten)]
        which: WhichStore,
    },
    /// Put a backup in the place of the store, while no gateway uses it.
    Restore {
        /// The backup.
        #[arg(value_name = "SRC")]
        source: PathBuf,
        /// Replace the store that is there; it stays beside the new one as `tidegate.db.old`.
        #[arg(long)]
        force: bool,
        /// Which store.
        #[command(flatten)]
        which: WhichStore,
    },
    /// Look whether the store is whole; exit code 6 when it is not. Gateways may go on using it.
    Check {
        /// A backup to look at, instead of the store.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Which store.
        #[command(flatten)]
        which: WhichStore,
    },
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub struct WhichStore {
    /// Configuration file of a gateway that uses the store; the one in the data folder when absent.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl WhichStore {
    fn folder(&self, data: &Path) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(config::read(path)?.data),
            None => Ok(data.join("store")),
        }
    }
}

/// Does it, with the folder of the launcher's fleet and whether to print JSON.
pub(super) fn run(
    command: &StoreCommand,
    (data, json): (&Path, bool),
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut said = Said { tenths: 0, silent: json };
    match command {
        StoreCommand::Backup { dest, which } => {
            let store = existing(&which.folder(data)?)?;
            let mut pause = BackupPause::begin(&store, &mut said);
            let copied = ::store::backup(&store, dest, &mut |progress| {
                pause.go_on();
                said.copied(progress);
            });
            pause.end();
            let copied = copied?;
            tell(&copied, (dest, json), out)?;
        }
        StoreCommand::Restore { source, force, which } => {
            let folder = which.folder(data)?;
            let copied = ::store::restore(source, &folder, *force, &mut |it| said.copied(it))?;
            tell(&copied, (&folder, json), out)?;
        }
        StoreCommand::Check { file, which } => {
            let mut step = |what: &'static str| said.say(what);
            let (checked, place) = match file {
                Some(file) => (::store::check_file(file, &mut step), file.clone()),
                None => {
                    let folder = which.folder(data)?;
                    (existing(&folder)?.check(&mut step), folder)
                }
            };
            let checked = checked.map_err(BackupError::from)?;
            tell(&checked, (&place, json), out)?;
            if !checked.faults.is_empty() {
                return Ok(Exit::Damaged);
            }
        }
    }
    Ok(Exit::Done)
}

fn existing(folder: &Path) -> Result<SqliteStore, Failure> {
    SqliteStore::existing(folder, SqliteOptions::default())
        .map_err(|it| BackupError::from(it).into())
}

fn tell(
    checked: &Checked,
    (place, json): (&Path, bool),
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let Checked { faults, layout, fleet, commits, publications, documents, bytes } = checked;
    if json {
        let told = json!({
            "ok": faults.is_empty(), "faults": faults, "path": place.display().to_string(),
            "layout": layout, "fleet": fleet, "commits": commits, "publications": publications,
            "documents": documents, "bytes": bytes,
        });
        return writeln!(out, "{told}");
    }
    for fault in faults {
        writeln!(out, "{}: {fault}", place.display())?;
    }
    let whole = if faults.is_empty() { "whole" } else { "damaged" };
    let of = fleet.as_deref().map(|fleet| format!(" of the fleet {fleet}")).unwrap_or_default();
    writeln!(
        out,
        "{}: {whole}; {publications} publications, {documents} documents and {commits} commits{of} in {bytes} bytes",
        place.display()
    )
}

/// Progress on standard error, unless JSON is wanted.
pub(super) struct Said {
    tenths: u64,
    silent: bool,
}

impl Said {
    fn copied(&mut self, progress: CopyProgress) {
        let tenths = progress.done.saturating_mul(10) / progress.pages.max(1);
        if tenths > self.tenths {
            self.tenths = tenths;
            self.say(&format!("copied {} %", tenths * 10));
        }
    }

    pub(super) fn say(&self, what: &str) {
        if !self.silent {
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        use ::store::StoreError;
        let exit = match &error {
            BackupError::Exists(_) | BackupError::InUse(_) => Exit::Refused,
            BackupError::Damaged { .. } | BackupError::Store(StoreError::Damaged { .. }) => {
                Exit::Damaged
            }
            BackupError::Write { .. } | BackupError::Store(_) => Exit::Failed,
        };
        Self::new(exit, &error)
    }
}
