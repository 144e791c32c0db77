//! The side of the process that is followed: it starts its successor, and serves on if that comes to nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use protocol::GatewayId;
use tokio::sync::Notify;

use super::board::{Board, RestartRequest, RestartStage, RestartStatus};
use super::inheritance::LIFELINE;
use super::letters::{FromSuccessor, Heard, Line, ToSuccessor};
use super::notify;
use crate::accepts::AcceptSwitch;
use crate::config;
use crate::control::{ControlError, GatewayState};
use crate::front::FileOwner;
use crate::links::Command;
use crate::reply::{Reply, Silence, reply};
use crate::service::{ServiceAsk, SharedState};
use crate::worker::Shared;

/// How long a successor may take to read what it needs: a large store takes its time, and nobody waits for it.
const PREPARES: Duration = Duration::from_mins(10);
/// How long it may take to join the fleet and serve.
const JOINS: Duration = Duration::from_mins(2);
/// How long it may take until we know that it serves.
const SEEN: Duration = Duration::from_secs(30);
/// How long it may take from its start until we know that it serves, or does not.
pub(crate) const FOLLOWS_WITHIN: Duration =
    Duration::from_secs(PREPARES.as_secs() + JOINS.as_secs() + SEEN.as_secs());
/// Time between two looks how many clients are left.
const LOOK: Duration = Duration::from_millis(50);

/// What a process hands over, and what it must know for that.
#[derive(Debug)]
pub struct Holdings {
    /// Name of each listener, with a copy of it.
    pub listeners: Vec<(String, OwnedFd)>,
    /// Where peers dial; none where there is no peer link.
    pub peers: Option<(SocketAddr, String)>,
    /// Whether clients and operators are accepted here.
    pub clients: Arc<AcceptSwitch>,
    /// Whether peers are, at their usual port.
    pub peer_port: AcceptSwitch,
    /// The files of Unix sockets.
    pub files: Vec<FileOwner>,
    /// This life's name in the fleet.
    pub member: GatewayId,
    /// The program that runs.
    pub program: PathBuf,
    /// Its configuration file.
    pub configuration: Option<PathBuf>,
    /// Whether it ends when standard input closes.
    pub lifeline: bool,
    /// Whether it was told to say more than its configuration does.
    pub verbose: bool,
}

/// Asks for a successor.
#[derive(Debug, Clone)]
pub struct SuccessionSender(Sender<Ask>);

#[derive(Debug)]
enum Ask {
    Restart(RestartRequest, Reply<Result<RestartStatus, ControlError>>),
    End,
}

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(10);

impl SuccessionSender {
    /// A way to nobody.
    #[cfg(test)]
    pub fn unheard() -> Self {
        Self(channel().0)
    }

    /// Begins a restart in place; how it goes stands on the board.
    ///
    /// # Errors
    /// Refused, if there can be no successor now.
    pub fn restart(&self, request: RestartRequest) -> Result<RestartStatus, ControlError> {
        let (answer, waiting) = reply();
        let busy = || ControlError::WrongState("a restart goes on already".into());
        self.0.send(Ask::Restart(request, answer)).map_err(|_| busy())?;
        waiting.within(ANSWER).map_err(|silence| match silence {
            Silence::NotBegun => busy(),
            Silence::Begun => silence.of("gateway"),
        })?
    }

    /// The process ends: its listeners close.
    pub fn end(&self) {
        // An error means that they have.
        let _ = self.0.send(Ask::End);
    }
}

/// Starts the thread that waits for orders. `over` is told when this process has nothing left to do.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    holdings: Holdings,
    shared: Shared,
    (state, board): (Arc<SharedState>, Arc<Board>),
    over: Arc<Notify>,
) -> io::Result<SuccessionSender> {
    let (sender, asks) = channel();
    let conductor = Conductor { holdings, shared, state, board, over, restarts: 0 };
    crate::logging::thread("succession", move || conductor.run(&asks))?;
    Ok(SuccessionSender(sender))
}

struct Conductor {
    holdings: Holdings,
    shared: Shared,
    state: Arc<SharedState>,
    board: Arc<Board>,
    over: Arc<Notify>,
    restarts: u32,
}

/// A process that may become the successor.
struct Candidate {
    child: Child,
    line: Line,
}

impl Conductor {
    fn run(mut self, asks: &Receiver<Ask>) {
        let mut told = false;
        loop {
            if !told && self.state.get() != GatewayState::Starting {
                notify::ready();
                told = true;
            }
            let (request, answer) = match asks.recv_timeout(if told { Duration::MAX } else { LOOK })
            {
                Ok(Ask::Restart(request, answer)) => (request, answer),
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(Ask::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut begun = None;
            answer.with(|| {
                let candidate = self.check(&request).and_then(|program| self.start(&program));
                let candidate = candidate.inspect_err(|error| {
                    tracing::warn!("no restart in place: {error}");
                })?;
                begun = Some(candidate);
                let lost = || ControlError::Unfinished("nothing says how far it is".into());
                self.board.get().ok_or_else(lost)
            });
            if let Some(candidate) = begun {
                self.conduct(candidate);
            }
        }
    }

    /// Which program is to follow, if one may.
    fn check(&self, request: &RestartRequest) -> Result<PathBuf, ControlError> {
        let refused = |why: &str| Err(ControlError::Refused(why.to_owned()));
        let state = self.state.get();
        if state != GatewayState::Serving {
            let why = format!("the gateway is {}, not serving", state.as_str());
            return Err(ControlError::WrongState(why));
        }
        if self.board.get().is_some_and(|status| !status.stage.is_over()) {
            // The one before us is not empty yet, and has the other berth.
            return Err(ControlError::WrongState("a restart goes on already".to_owned()));
        }
        if self.holdings.peers.is_none() {
            return refused("it has no [peer]: the two processes talk over a peer link");
        }
        if std::process::id() == 1 {
            return refused("it is the first process of its container, which ends with it");
        }
        let Some(path) = &self.holdings.configuration else {
            return refused("its configuration was read from no file");
        };
        // The successor would refuse it too; here it costs nothing, and is told at once.
        let next = config::read(path).map_err(|error| ControlError::Refused(error.to_string()))?;
        if next.id != self.holdings.member.gateway() {
            return refused("the configuration is now that of another gateway");
        }
        match &request.binary {
            Some(named) if *named != self.holdings.program && !next.successors.contains(named) => {
                refused("the configuration does not list that program in restart.programs")
            }
            Some(named) => Ok(named.clone()),
            None => Ok(self.holdings.program.clone()),
        }
    }

    /// Starts a process that hears from us over its standard input.
    fn start(&mut self, program: &Path) -> Result<Candidate, ControlError> {
        self.restarts += 1;
        let started = self.spawn(program).map_err(|error| {
            ControlError::Refused(format!("{} cannot be started: {error}", program.display()))
        });
        let candidate = started?;
        let gateway = self.holdings.member.gateway();
        self.board.set(RestartStatus {
            id: format!("{gateway}-{}-{}", std::process::id(), self.restarts),
            stage: RestartStage::Preparing,
            detail: None,
            pid: Some(candidate.child.id()),
            left: 0,
        });
        tracing::info!(pid = candidate.child.id(), "a successor is started: {}", program.display());
        Ok(candidate)
    }

    fn spawn(&self, program: &Path) -> io::Result<Candidate> {
        let (near, far) = UnixStream::pair()?;
        let mut command = Program::new(program);
        command.arg("run").arg("--successor");
        if self.holdings.lifeline {
            command.arg("--exit-with-parent");
        }
        if self.holdings.verbose {
            command.arg("--verbose");
        }
        if let Some(configuration) = &self.holdings.configuration {
            command.arg("-c").arg(configuration);
        }
        // Ctrl-C in the terminal of the old one is not for the new one.
        let child = command.process_group(0).stdin(Stdio::from(OwnedFd::from(far))).spawn()?;
        near.set_write_timeout(Some(SEEN))?;
        Ok(Candidate { child, line: Line::new(near) })
    }

    /// Returns if it comes to nothing.
    fn conduct(&self, mut candidate: Candidate) {
        let begun = Instant::now();
        let failed = match self.hand_over(&mut candidate) {
            Ok(()) => {
                let pid = candidate.child.id();
                tracing::info!(pid, "the successor serves after {:?}", begun.elapsed());
                notify::main_pid(pid);
                match self.move_clients(&mut candidate) {
                    Ok(()) => {
                        // It has ended its side only if it has died: then its clients are gone as well.
                        let _ = candidate.line.send(&ToSuccessor::Over);
                        self.over.notify_one();
                        // By the end of this process the successor hears that it has ended: the line stays open until then.
                        loop {
                            std::thread::park();
                        }
                    }
                    Err(why) => why,
                }
            }
            Err(why) => why,
        };
        let how = end(&mut candidate.child);
        let why = format!("{failed}{how}");
        self.take_back();
        tracing::error!("restart in place: {why}; this process serves on");
        self.board.note(|status| {
            (status.stage, status.detail) = (RestartStage::Failed, Some(why));
        });
    }

    /// Up to the moment when the successor serves.
    fn hand_over(&self, candidate: &mut Candidate) -> Result<(), String> {
        let inherited = self.inherit(&mut candidate.line);
        inherited.map_err(|error| unheard(&error))?;
        match candidate.line.hear(PREPARES) {
            Heard::Letter(FromSuccessor::Prepared) => {}
            other @ (Heard::Letter(_) | Heard::Silence | Heard::Closed) => {
                return Err(failure(other));
            }
        }
        self.board.note(|status| status.stage = RestartStage::Joining);
        self.leave_peer_port()?;
        let told = candidate.line.send(&ToSuccessor::Go);
        told.map_err(|error| unheard(&error))?;
        match candidate.line.hear(JOINS) {
            Heard::Letter(FromSuccessor::Ready) => {}
            other @ (Heard::Letter(_) | Heard::Silence | Heard::Closed) => {
                return Err(failure(other));
            }
        }
        self.holdings.clients.set(false);
        self.holdings.files.iter().for_each(|file| file.own(false));
        self.board.note(|status| status.stage = RestartStage::Moving);
        Ok(())
    }

    fn inherit(&self, line: &mut Line) -> io::Result<()> {
        let Some(status) = self.board.get() else { return Ok(()) };
        let mut holdings = Vec::new();
        let mut descriptors = Vec::new();
        for (name, listener) in &self.holdings.listeners {
            holdings.push(name.clone());
            descriptors.push(listener.try_clone()?);
        }
        if self.holdings.lifeline {
            holdings.push(LIFELINE.to_owned());
            descriptors.push(io::stdin().as_fd().try_clone_to_owned()?);
        }
        let member = self.holdings.member.other_berth().as_str().to_owned();
        line.send_with(&ToSuccessor::Inherit { restart: status.id, member, holdings }, &descriptors)
    }

    /// Whoever dials the usual port from now on is for the successor. Peers that are here stay; who must dial us again finds
    /// us beside it.
    fn leave_peer_port(&self) -> Result<(), String> {
        let (Some((bind, advertise)), Some(links)) = (&self.holdings.peers, &self.shared.links)
        else {
            return Ok(());
        };
        let beside = TcpListener::bind((bind.ip(), 0)).and_then(|it| Ok((it.local_addr()?, it)));
        let (address, listener) =
            beside.map_err(|error| format!("there is no second port for peers: {error}"))?;
        links.send(&mut vec![Command::Beside(Some(Arc::new(listener)))]);
        let host = advertise.rsplit_once(':').map_or(advertise.as_str(), |(host, _)| host);
        self.tell_peers(format!("{host}:{}", address.port()))?;
        self.holdings.peer_port.set(false);
        Ok(())
    }

    fn tell_peers(&self, address: String) -> Result<(), String> {
        let told = self.shared.service.ask(|answer| ServiceAsk::Reached(address, answer));
        if told == Ok(true) { Ok(()) } else { Err("the store takes no record now".to_owned()) }
    }

    /// Until nobody is left.
    fn move_clients(&self, candidate: &mut Candidate) -> Result<(), String> {
        self.begin(candidate)?;
        loop {
            match candidate.line.hear::<FromSuccessor>(LOOK) {
                Heard::Silence | Heard::Letter(_) => {}
                Heard::Closed => return Err("the successor has died".to_owned()),
            }
            let Some(drain) = self.shared.service.ask(ServiceAsk::Drain).ok().flatten() else {
                continue;
            };
            self.board.note(|status| status.left = drain.left);
            // Who cannot hear it has died, which the next look sees.
            let _ = candidate.line.send(&ToSuccessor::Left(drain.left));
            if drain.verdict.is_some() {
                return Ok(());
            }
        }
    }

    fn begin(&self, candidate: &mut Candidate) -> Result<(), String> {
        let until = Instant::now() + SEEN;
        loop {
            let next = self.holdings.member.other_berth();
            let begun = self.shared.service.ask(|answer| ServiceAsk::FollowedBy(next, answer));
            match begun.map_err(|silence| silence.of("housekeeper")).flatten() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error.to_string()),
                Err(_) => {}
            }
            if matches!(candidate.line.hear::<FromSuccessor>(LOOK), Heard::Closed) {
                return Err("the successor has died".to_owned());
            }
        }
    }

    /// Everything as it was before.
    fn take_back(&self) {
        let Holdings { clients, peer_port, files, peers, .. } = &self.holdings;
        files.iter().for_each(|file| file.own(true));
        peer_port.set(true);
        clients.set(true);
        notify::main_pid(std::process::id());
        if let (Some((_, advertise)), Some(links)) = (peers, &self.shared.links) {
            // Until the store takes it, peers that must dial again are refused.
            if let Err(error) = self.tell_peers(advertise.clone()) {
                tracing::warn!("peers are not told where we are: {error}");
            }
            links.send(&mut vec![Command::Beside(None)]);
        }
        self.shared.service.send(ServiceAsk::Alone);
    }
}

/// Why the successor could not be told something.
fn unheard(error: &io::Error) -> String {
    let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind());
    if gone {
        "the successor has died".to_owned()
    } else {
        format!("the successor cannot be told anything: {error}")
    }
}

/// Why the successor did not say what it should.
fn failure(heard: Heard<FromSuccessor>) -> String {
    match heard {
        Heard::Letter(FromSuccessor::Failed(why)) => format!("the successor cannot start: {why}"),
        Heard::Letter(FromSuccessor::Prepared | FromSuccessor::Ready) => {
            "the successor says what it should not".to_owned()
        }
        Heard::Silence => "the successor takes too long".to_owned(),
        Heard::Closed => "the successor has died".to_owned(),
    }
}

/// Makes sure that it is gone; says how it ended if that was its own doing.
fn end(child: &mut Child) -> String {
    // It may be ending: what it says is worth the moment.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return format!(" ({status})"),
            Ok(None) => std::thread::sleep(LOOK),
            Err(_) => break,
        }
    }
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
    String::new()
}
