//! From nothing to a running fleet, and back.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::children::{ChildSpec, Children, Ended};
use super::folder::{Folder, FolderError, Record};
use super::greeting::greeting;
use super::plan::{Plan, PlanError, PlannedGateway};
use crate::cli::{Api, ApiError};
use crate::config::LogLevel;

/// Longest time for all gateways to get ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at a gateway that is not ready.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// Lines of a log shown when its gateway did not start.
const LOG_LINES: usize = 8;

/// What fleet to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many gateways.
    pub gateways: u16,
    /// Data folder; made when absent.
    pub data: PathBuf,
    /// Address for what has TLS.
    pub bind: IpAddr,
    /// Added to every port.
    pub offset: u16,
    /// Tell where the gateways are as JSON.
    pub json: bool,
    /// Level of the gateways' logs.
    pub level: LogLevel,
}

/// Why the fleet did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The ports.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The client of the gateways' API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Threads, signals, or the terminal.
    #[error("cannot run a fleet here")]
    Io(#[from] std::io::Error),
    /// A gateway ended before it was ready.
    #[error("{id} did not start ({how}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which gateway.
        id: String,
        /// How it ended.
        how: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The gateways run, but do not get ready.
    #[error("the gateways are not ready after {} s; see the logs in {}", READY_TIMEOUT.as_secs(), .0.display())]
    NotReady(PathBuf),
}

/// Starts the fleet, tells `out` where it is, and returns when a signal has stopped it.
///
/// # Errors
/// [`LaunchError`]; then nothing runs.
pub fn launch(options: &Options, out: &mut dyn Write) -> Result<(), LaunchError> {
    let plan = Plan::new(options.gateways, options.bind, options.offset)?;
    plan.check_free()?;
    let folder = Folder::open(&options.data)?;
    let record = folder.prepare(&plan, options.level)?;
    let program = std::env::current_exe()?;
    let fleet = Fleet { options, plan: &plan, folder: &folder, record: &record, program };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(fleet.run(out))
}

struct Fleet<'a> {
    options: &'a Options,
    plan: &'a Plan,
    folder: &'a Folder,
    record: &'a Record,
    program: PathBuf,
}

impl Fleet<'_> {
    async fn run(self, out: &mut dyn Write) -> Result<(), LaunchError> {
        let mut signals = Signals::new()?;
        let specs = self.plan.gateways.iter().map(|gateway| self.spec(gateway)).collect();
        let mut children = Children::start(specs);
        let started = tokio::select! {
            () = signals.stop() => Ok(false),
            started = self.ready(&mut children) => started.map(|()| true),
        };
        let told = match &started {
            Ok(true) => self.tell(out).map_err(LaunchError::from),
            _ => Ok(()),
        };
        if told.is_ok() && matches!(started, Ok(true)) {
            watch(&mut children, &mut signals).await;
        }
        children.stop().await;
        started.and(told)
    }

    fn spec(&self, gateway: &PlannedGateway) -> ChildSpec {
        ChildSpec {
            id: gateway.id.clone(),
            program: self.program.clone(),
            configuration: self.folder.configuration(&gateway.id),
            log: self.folder.log(&gateway.id),
            notices: self.folder.notices(&gateway.id),
        }
    }

    /// Returns when every gateway says that it is ready; fails when one ends before.
    async fn ready(&self, children: &mut Children) -> Result<(), LaunchError> {
        let all = async {
            for gateway in &self.plan.gateways {
                wait_ready(gateway).await?;
            }
            Ok::<_, ApiError>(())
        };
        tokio::select! {
            Some(ended) = children.ended() => Err(self.did_not_start(&ended)),
            ready = tokio::time::timeout(READY_TIMEOUT, all) => match ready {
                Ok(ready) => Ok(ready?),
                Err(_) => Err(LaunchError::NotReady(self.folder.path().to_owned())),
            },
        }
    }

    fn did_not_start(&self, ended: &Ended) -> LaunchError {
        let log = self.folder.log(&ended.id);
        let tail = last_lines(&log);
        LaunchError::Ended { id: ended.id.clone(), how: how(ended), log, tail }
    }

    fn tell(&self, out: &mut dyn Write) -> Result<(), std::io::Error> {
        if self.options.json {
            serde_json::to_writer(&mut *out, self.record)?;
            writeln!(out)?;
        } else {
            let command = command(&self.program, &self.options.data);
            out.write_all(greeting(self.record, &self.options.data, &command).as_bytes())?;
        }
        out.flush()
    }
}

/// Tells of every gateway that ends, until a signal comes.
async fn watch(children: &mut Children, signals: &mut Signals) {
    loop {
        tokio::select! {
            () = signals.stop() => return,
            ended = children.ended() => match ended {
                Some(ended) => say(&format!(
                    "{} ended ({}); starting it again in {:.1} s",
                    ended.id,
                    how(&ended),
                    ended.pause.as_secs_f32()
                )),
                None => return,
            },
        }
    }
}

async fn wait_ready(gateway: &PlannedGateway) -> Result<(), ApiError> {
    let api = Api::new(&format!("http://{}", gateway.http), Path::new(""))?;
    // While it starts nobody listens there: an error only means "not yet".
    while !matches!(api.raw(Method::GET, "/readyz", Vec::new()).await, Ok((200, _))) {
        tokio::time::sleep(READY_PAUSE).await;
    }
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn how(ended: &Ended) -> String {
    match &ended.how {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// How this program is called again: through cargo if it was, and with the folder unless that is the usual one.
fn command(program: &Path, data: &Path) -> String {
    let program = if std::env::var_os("CARGO").is_some() {
        "cargo run --release --".to_owned()
    } else {
        program.display().to_string()
    };
    if data == Path::new(crate::cli::DEFAULT_DATA) {
        program
    } else {
        format!("{program} --data {}", data.display())
    }
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

/// A line for the person at the terminal; when nobody reads it, nothing is lost.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "tidegate: {line}");
}
