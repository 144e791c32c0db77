//! The successor's side: what it inherits, and what it says to the process before it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use protocol::GatewayId;

use super::board::{Board, RestartStage, RestartStatus};
use super::letters::{FromSuccessor, Heard, Line, ToSuccessor};
use super::notify;
use crate::accepts::AcceptSwitch;
use crate::control::GatewayState;
use crate::service::SharedState;

/// What a successor has of the process before it. Dropped before the end, it tells that the successor failed.
#[derive(Debug)]
pub struct Inheritance {
    line: Line,
    restart: String,
    member: GatewayId,
    holdings: Vec<(String, OwnedFd)>,
}

/// Why there is nothing to inherit.
#[derive(Debug, thiserror::Error)]
pub enum InheritanceError {
    /// Standard input is no socket of a process that wants a successor.
    #[error("no process before this one hands anything over; this is for a restart in place alone")]
    Nobody(#[from] io::Error),
    /// The letter is not what it should be.
    #[error("what the process before this one hands over is not understood")]
    Letter,
    /// It gave up.
    #[error("the process before this one has ended, or needs no successor any more")]
    Ended,
}

/// How long the process before may take to say what it hands over, and that the successor may join.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks whether this process serves.
const LOOK: Duration = Duration::from_millis(10);
/// The descriptor by whose end the processes of a launcher end.
pub(super) const LIFELINE: &str = "lifeline";

impl Inheritance {
    /// Takes what comes over standard input, which is the process's lifeline from then on if it has one.
    ///
    /// # Errors
    /// [`InheritanceError`], when nobody is there who hands anything over.
    pub fn receive() -> Result<Self, InheritanceError> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = Line::new(stream);
        let (letter, descriptors) = line.receive_with::<ToSuccessor>(PATIENCE)?;
        let ToSuccessor::Inherit { restart, member, holdings } = letter else {
            return Err(InheritanceError::Letter);
        };
        if holdings.len() != descriptors.len() {
            return Err(InheritanceError::Letter);
        }
        let member = GatewayId::new(&member).map_err(|_| InheritanceError::Letter)?;
        let holdings = holdings.into_iter().zip(descriptors).collect();
        let mut inheritance = Self { line, restart, member, holdings };
        // A copy of the socket would keep it open for whatever process this one starts.
        match inheritance.take(LIFELINE) {
            Some(lifeline) => rustix::stdio::dup2_stdin(lifeline).map_err(io::Error::from)?,
            None => rustix::stdio::dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?,
        }
        Ok(inheritance)
    }

    /// Its name in the fleet: the gateway, at the berth that the process before does not have.
    pub const fn member(&self) -> &GatewayId {
        &self.member
    }

    /// A listener, once.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.holdings.iter().position(|(known, _)| known == name)?;
        Some(self.holdings.swap_remove(at).1)
    }

    /// Says why there will be no successor.
    pub fn fail(&mut self, why: &str) {
        // If nobody hears it, nobody waits for it.
        let _ = self.line.send(&FromSuccessor::Failed(why.to_owned()));
    }

    /// Everything is read: waits until this process may join the fleet.
    ///
    /// # Errors
    /// [`InheritanceError::Ended`], if it may not.
    pub fn wait_for_go(&mut self) -> Result<(), InheritanceError> {
        self.line.send(&FromSuccessor::Prepared)?;
        match self.line.hear(PATIENCE) {
            Heard::Letter(ToSuccessor::Go) => Ok(()),
            Heard::Letter(_) => Err(InheritanceError::Letter),
            Heard::Silence | Heard::Closed => Err(InheritanceError::Ended),
        }
    }

    /// Waits on a thread until this process serves; then it accepts, says so, and hears how the other one empties.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn accede(
        mut self,
        state: Arc<SharedState>,
        clients: Arc<AcceptSwitch>,
        board: Arc<Board>,
        own: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        board.set(RestartStatus {
            id: self.restart.clone(),
            stage: RestartStage::Joining,
            detail: None,
            pid: Some(std::process::id()),
            left: 0,
        });
        crate::logging::thread("accession", move || {
            while state.get() == GatewayState::Starting {
                std::thread::sleep(LOOK);
            }
            own();
            clients.set(true);
            board.note(|status| status.stage = RestartStage::Moving);
            // If the other process has died meanwhile, its clients come by themselves.
            let _ = self.line.send(&FromSuccessor::Ready);
            loop {
                match self.line.hear::<ToSuccessor>(PATIENCE) {
                    Heard::Letter(ToSuccessor::Left(left)) => {
                        board.note(|status| status.left = left);
                    }
                    Heard::Silence
                    | Heard::Letter(ToSuccessor::Go | ToSuccessor::Inherit { .. }) => {}
                    Heard::Letter(ToSuccessor::Over) => {
                        tracing::info!("the process before this one is empty");
                    }
                    Heard::Closed => break,
                }
            }
            board.note(|status| (status.stage, status.left) = (RestartStage::Done, 0));
            notify::main_pid(std::process::id());
            tracing::info!("the process before this one has ended");
        })?;
        Ok(())
    }
}
