//! One gateway process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, prlimit};

use super::{eventually, tidegate};

/// What a process can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: it may say goodbye.
    Terminate,
    /// SIGKILL: it is gone.
    Kill,
    /// SIGHUP: it reads its files again.
    HangUp,
    /// SIGSTOP: it stands still.
    Stop,
    /// SIGCONT: it goes on.
    Continue,
}

/// A gateway process that this test started. It is killed when dropped, and ends by itself when the test is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    _lifeline: Option<ChildStdin>,
}

/// Lines of a log that are shown when a test fails.
const SHOWN_LINES: usize = 60;

impl Process {
    /// Starts `tidegate run` with this configuration; the log file is appended to. `prelude` are lines for the shell that
    /// becomes the gateway: it has `"$0" "$@"` to run.
    pub fn start(configuration: &Path, log: &Path, prelude: &str) -> Self {
        let configuration = configuration.to_str().expect("a path in UTF-8");
        let file: File =
            OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        // A file that may not grow is an error of the disk then, and not the end of the process.
        let lines = format!("trap '' XFSZ\n{prelude}\nexec \"$0\" \"$@\"");
        let program = tidegate([]).get_program().to_owned();
        let mut child = Command::new("sh")
            .args(["-c", &lines])
            .arg(program)
            .args(["run", "-c", configuration, "--exit-with-parent"])
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("tidegate can be started");
        let lifeline = child.stdin.take();
        Self { child, log: log.to_owned(), _lifeline: lifeline }
    }

    /// Sends a signal.
    pub fn send(&self, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::HangUp => rustix::process::Signal::HUP,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// SIGSTOP: returns when it stands still.
    pub fn stop(&self) {
        self.send(Signal::Stop);
        eventually("a process stands still", || self.stands_still().then_some(()));
    }

    /// Whether each of its threads is stopped: the signal reaches them one by one.
    fn stands_still(&self) -> bool {
        let stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.expect("the threads of a child").all(|task| task.is_ok_and(stopped))
    }

    /// Allows it so many descriptors beyond those it has open now, or as many as it had at first. The limit is on the number
    /// of a descriptor, and the one that is kept for the last moment must be of use then: it may open some more.
    pub fn allow_descriptors(&self, more: Option<u64>) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let now = getrlimit(Resource::Nofile);
        let open: Vec<(u64, PathBuf)> = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("the descriptors of a child")
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some((number, std::fs::read_link(entry.path()).ok()?))
            })
            .collect();
        let kept = open.iter().filter(|(_, of)| of == Path::new("/dev/null"));
        let beyond_kept = kept.map(|(number, _)| number + 1).max().unwrap_or_default();
        let free = |more: u64| {
            let mut free = (0..).filter(|at| !open.iter().any(|(number, _)| number == at));
            free.nth(usize::try_from(more).ok()?).map(|limit| limit.max(beyond_kept))
        };
        let current = more.map_or(now.maximum, free);
        prlimit(pid, Resource::Nofile, Rlimit { current, maximum: now.maximum })
            .expect("a child's limits are ours to set");
    }

    /// Lets no file of it grow beyond so many bytes, or lifts that; for a disk that is full or fails.
    pub fn allow_file_bytes(&self, most: Option<u64>) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(pid, Resource::Fsize, Rlimit { current: most.or(maximum), maximum })
            .expect("a child's limits are ours to set");
    }

    /// Its number, by which the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The time that it has spent on a processor, to about a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("a process that runs");
        // The name before it may hold anything.
        let fields = stat.rsplit(')').next().expect("something behind the name");
        let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse().ok());
        let mut next = || -> u64 { ticks.next().expect("user and system time") };
        // Linux tells times in hundredths of a second, whatever its clock does.
        Duration::from_millis((next() + next()) * 10)
    }

    /// Bytes of memory it has now.
    pub fn resident_bytes(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The most bytes of memory it had since [`Self::forget_peak`].
    pub fn peak_bytes(&self) -> u64 {
        self.status("VmHWM")
    }

    /// From here on only what comes counts for [`Self::peak_bytes`].
    pub fn forget_peak(&self) {
        // 5 is the kernel's word for it.
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .expect("a process of ours");
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process that runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a number of KiB") * 1024
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the gateway ends", || child.try_wait().expect("a child of ours"))
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            show(&format!("--- {}\n{}\n", self.log.display(), self.log()));
        }
    }
}

/// To standard error, which the test runner shows with a failure.
#[expect(
    clippy::print_stderr,
    reason = "the test runner catches what is printed, not what is written"
)]
pub(super) fn show(text: &str) {
    eprint!("{text}");
}
