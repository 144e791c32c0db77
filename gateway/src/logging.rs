//! Where log lines go: to standard error, as text or JSON, filtered by configuration or `TIDEGATE_LOG`.
//!
//! Every thread of a process works in the span of its gateway; peer links and drains have spans of their own in it, and
//! so has each connection from level debug on.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tracing_subscriber::fmt::{FormatEvent, FormatFields, MakeWriter, SubscriberBuilder};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{Log, LogLevel};
use crate::log_lines::LogLines;
use crate::log_text::{Moment, OnOneLine, PlainLine};

pub use crate::log_lines::LogGuard;

/// Environment variable whose filters win over the configuration, as in `tidegate=debug,protocol=trace`.
pub const ENVIRONMENT: &str = "TIDEGATE_LOG";

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The variable does not hold filters: the operator's fault.
    #[error("{ENVIRONMENT} is not a list of filters such as tidegate=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was started before in this process: ours.
    #[error("logging has started already")]
    Started,
    /// The system has no more threads: the operator's.
    #[error("the log has no thread that writes it")]
    Thread(#[from] std::io::Error),
}

/// Starts logging for the whole process; once. What waits is written when the guard is dropped.
///
/// # Errors
/// [`LoggingError`], by whose fault it is.
pub fn start(log: &Log) -> Result<LogGuard, LoggingError> {
    let environment = std::env::var(ENVIRONMENT).ok().filter(|filters| !filters.is_empty());
    let wins = environment.is_some();
    let filter = EnvFilter::try_new(environment.unwrap_or_else(|| filters(log.level)))?;
    let (writer, guard) = LogLines::start(std::io::stderr())?;
    let _ = LINES.set(writer.clone());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if log.json {
        begin(builder.json().flatten_event(true), wins)
    } else if std::io::stderr().is_terminal() {
        begin(builder.fmt_fields(OnOneLine).with_timer(Moment).with_ansi(true), wins)
    } else {
        begin(builder.fmt_fields(OnOneLine).with_ansi(false).event_format(PlainLine), wins)
    }?;
    Ok(guard)
}

/// Logs in this format from now on, by a filter that can be replaced unless the environment `wins`.
fn begin<N, E, W>(
    builder: SubscriberBuilder<N, E, EnvFilter, W>,
    wins: bool,
) -> Result<(), LoggingError>
where
    N: for<'a> FormatFields<'a> + Send + Sync + 'static,
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = builder.with_filter_reloading();
    let handle = builder.reload_handle();
    if !wins {
        let _ = REFILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
    builder.finish().try_init().map_err(|_| LoggingError::Started)
}

/// Puts another filter in force.
type Refilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Set once logging has started, unless the environment says what is logged.
static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// The least level that is logged from now on, unless the environment says what is.
pub fn set_level(level: LogLevel) {
    if let (Some(refilter), Ok(filter)) = (REFILTER.get(), EnvFilter::try_new(filters(level))) {
        refilter(filter);
    }
}

/// Lines of this process that were dropped.
pub fn dropped_lines() -> u64 {
    LINES.get().map_or(0, LogLines::dropped)
}

static LINES: OnceLock<LogLines> = OnceLock::new();

/// Starts a thread that works in the span of whoever starts it.
///
/// # Errors
/// The system has no more threads.
pub fn thread<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    let span = tracing::Span::current();
    Builder::new().name(name.into()).spawn(move || span.in_scope(work))
}

/// The same for a thread whose work can wait: while the processor is short, workers go first, so that who is connected
/// does not feel who knocks or asks. Not for what holds the store's turn or a lock that workers wait for.
///
/// # Errors
/// The system has no more threads.
pub fn patient_thread<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    thread(name, move || {
        // On Linux a process id that is a thread's means that thread alone.
        if let Err(error) = setpriority_process(Some(gettid()), PATIENT) {
            tracing::debug!("this thread's priority is as any other's: {error}");
        }
        work()
    })
}

/// A third of a worker's share where both have work; a thread of less waits for long behind busy workers.
const PATIENT: i32 = 5;

/// Our own rooms at the asked level; what others write in between only from warnings on.
fn filters(level: LogLevel) -> String {
    const ROOMS: [&str; 9] = [
        "tidegate",
        "protocol",
        "fanout",
        "shadow",
        "maintenance",
        "sockets",
        "access",
        "store",
        "certs",
    ];
    let others = match level {
        LogLevel::Error => LogLevel::Error,
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => LogLevel::Warn,
    };
    // Who was let in or turned away is written whatever else is not.
    ROOMS.iter().fold(format!("{},audit=info", others.as_str()), |filters, room| {
        format!("{filters},{room}={}", level.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_makes_a_filter() {
        for level in
            [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
        {
            EnvFilter::try_new(filters(level)).unwrap();
        }
        assert!(filters(LogLevel::Debug).starts_with("warn,audit=info,tidegate=debug,"));
    }
}
