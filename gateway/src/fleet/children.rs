//! The gateway processes: started, watched, started again, stopped.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::notices::Notices;
use crate::cli::Exit;

/// Rest before the first new start of a gateway that ended; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such rest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A gateway that has lived this long begins with the first rest again.
const SETTLED: Duration = Duration::from_secs(60);
/// Time a gateway has to end after SIGTERM; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How one gateway process is started.
#[derive(Debug, Clone)]
pub(super) struct ChildSpec {
    pub(super) id: String,
    pub(super) program: PathBuf,
    pub(super) configuration: PathBuf,
    pub(super) log: PathBuf,
    pub(super) notices: PathBuf,
}

/// What happened to a gateway process without our doing.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) how: Result<ExitStatus, std::io::Error>,
    pub(super) pause: Duration,
}

/// All gateway processes of the fleet; killed when dropped.
#[derive(Debug)]
pub(super) struct Children {
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<Ended>,
    tasks: Vec<JoinHandle<()>>,
}

impl Children {
    /// Starts them all.
    pub(super) fn start(specs: Vec<ChildSpec>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (report, ended) = mpsc::channel(specs.len().max(1));
        let tasks = specs
            .into_iter()
            .map(|spec| tokio::spawn(supervise(spec, report.clone(), stopped.clone())))
            .collect();
        Self { stop, ended, tasks }
    }

    /// Waits until one has ended by itself; it will be started again.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        self.ended.recv().await
    }

    /// Stops them all: politely, then by force.
    pub(super) async fn stop(self) {
        // An error means that nobody is left to be stopped.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

async fn supervise(
    spec: ChildSpec,
    report: mpsc::Sender<Ended>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    let mut first = true;
    // Without them, as where the name of the folder is too long for a socket, one that was restarted in place is taken for ended.
    let mut notices = Notices::new(&spec.notices).ok();
    loop {
        let started = Instant::now();
        let how = match spec.spawn(first, notices.as_ref()) {
            Ok(child) => match watch_child(child, &mut notices, &mut stopped).await {
                Some(how) => how,
                None => return,
            },
            Err(error) => Err(error),
        };
        first = false;
        // One that asks for a new start is not one that cannot live.
        let asked =
            matches!(&how, Ok(status) if status.code() == Some(i32::from(Exit::Again as u8)));
        if asked || started.elapsed() >= SETTLED {
            pause = FIRST_PAUSE;
        }
        if report.send(spec.ended(how, pause)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for the process, and for those that follow it in place; none when it was we who ended it.
async fn watch_child(
    mut child: Child,
    notices: &mut Option<Notices>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<Result<ExitStatus, std::io::Error>> {
    // Waiting would close the process's standard input, and it ends when that closes, as those do that follow it.
    let lifeline = child.stdin.take();
    let mut pid = child.id().unwrap_or_default();
    let mut how = tokio::select! {
        how = child.wait() => Some(how),
        _ = stopped.wait_for(|stop| *stop) => None,
    };
    if how.is_none() {
        end(&mut child).await;
    }
    while let Some(next) = notices.as_mut().and_then(|notices| notices.after(pid)) {
        pid = next.pid;
        if how.is_some() {
            how = tokio::select! {
                () = next.ended() => Some(Err(std::io::Error::other("restarted in place before"))),
                _ = stopped.wait_for(|stop| *stop) => None,
            };
        }
        if how.is_none() {
            next.end(STOP_TIMEOUT).await;
        }
    }
    drop(lifeline);
    how
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that it has ended already.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

impl ChildSpec {
    fn ended(&self, how: Result<ExitStatus, std::io::Error>, pause: Duration) -> Ended {
        Ended { id: self.id.clone(), how, pause }
    }

    fn spawn(&self, first: bool, notices: Option<&Notices>) -> Result<Child, std::io::Error> {
        let log = if first {
            File::create(&self.log)?
        } else {
            File::options().create(true).append(true).open(&self.log)?
        };
        let mut command = Command::new(&self.program);
        if let Some(notices) = notices {
            command.env("NOTIFY_SOCKET", notices.path());
        }
        command
            .arg("run")
            .arg("--exit-with-parent")
            .arg("-c")
            .arg(&self.configuration)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal reaches the launcher alone, which then stops its gateways in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &std::path::Path, body: &str) -> ChildSpec {
        use std::os::unix::fs::PermissionsExt as _;
        let program = dir.join("gateway.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        ChildSpec {
            id: "gw-1".into(),
            program,
            configuration: dir.join("gw-1.toml"),
            log: dir.join("gw-1.log"),
            notices: dir.join("gw-1.notify"),
        }
    }

    fn run(future: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future);
    }

    #[test]
    fn a_gateway_that_ends_is_reported_with_the_rest_before_its_next_start() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let mut children = Children::start(vec![script(dir.path(), "echo $1; exit 3")]);
            let ended = children.ended().await.unwrap();
            assert_eq!(ended.how.unwrap().code(), Some(3));
            assert_eq!(ended.pause, FIRST_PAUSE);
            children.stop().await;
        });
        assert_eq!(std::fs::read_to_string(dir.path().join("gw-1.log")).unwrap(), "run\n");
    }

    #[test]
    fn a_gateway_is_asked_to_end_and_its_input_stays_open_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let body = format!(
            "trap 'echo asked >> {0}/seen; exit 0' TERM\n: > {0}/up\nread line\necho closed >> {0}/seen",
            dir.path().display()
        );
        run(async {
            let children = Children::start(vec![script(dir.path(), &body)]);
            while !dir.path().join("up").exists() {
                tokio::task::yield_now().await;
            }
            children.stop().await;
        });
        assert_eq!(std::fs::read_to_string(dir.path().join("seen")).unwrap(), "asked\n");
    }
}
