//! The cable to a gateway's peer port: peers dial it instead, and it can be cut, both ways or one way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Which way bytes go through a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who dials to the gateway.
    In,
    /// From the gateway to who dialled it.
    Out,
}

/// A cable that lies until it is dropped.
#[derive(Debug)]
pub struct Cable {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Mutex<Condition>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Condition {
    /// Nothing passes, and who dials is hung up on.
    cut: bool,
    /// Bytes in this direction stay where they are, and nobody is told.
    silent: Option<Way>,
    /// Both ends of everything that is connected.
    ends: Vec<TcpStream>,
    over: bool,
}

impl Cable {
    /// Lays a cable from `near`, which peers dial, to `far`, where the gateway listens.
    pub fn lay(near: SocketAddr, far: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let listener = TcpListener::bind(near).expect("a free port");
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for dialled in listener.incoming() {
                if shared.lock().over {
                    break;
                }
                // A gateway that is not there is no fault of the cable: who dialled hears of it by the end.
                let _ = dialled.and_then(|dialled| connect(&shared, dialled, far));
            }
        });
        Self { state }
    }

    /// Ends every connection, and every one that is tried.
    pub fn cut(&self) {
        let mut now = self.state.lock();
        now.cut = true;
        hang_up(&mut now);
        self.state.changed.notify_all();
    }

    /// Lets nothing pass in one direction, as a network does that loses all packets: nobody is told.
    pub fn silence(&self, way: Way) {
        self.state.lock().silent = Some(way);
    }

    /// Whole again; what stood still goes on.
    pub fn mend(&self) {
        let mut now = self.state.lock();
        now.cut = false;
        now.silent = None;
        self.state.changed.notify_all();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let mut now = self.state.lock();
        now.over = true;
        now.silent = None;
        hang_up(&mut now);
        self.state.changed.notify_all();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Condition> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while this direction is silent.
    fn passes(&self, way: Way) {
        let mut now = self.lock();
        while now.silent == Some(way) && !now.cut && !now.over {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn hang_up(now: &mut Condition) {
    for end in now.ends.drain(..) {
        // It may be gone already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// How long a gateway on this machine may take to accept.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

fn connect(state: &Arc<State>, dialled: TcpStream, far: SocketAddr) -> io::Result<()> {
    let gateway = TcpStream::connect_timeout(&far, DIAL_PATIENCE)?;
    {
        let mut now = state.lock();
        if now.cut {
            return Ok(());
        }
        now.ends.extend([dialled.try_clone()?, gateway.try_clone()?]);
    }
    let ends =
        [(Way::In, dialled.try_clone()?, gateway.try_clone()?), (Way::Out, gateway, dialled)];
    for (way, from, to) in ends {
        let state = Arc::clone(state);
        thread::spawn(move || carry(&state, way, from, to));
    }
    Ok(())
}

/// Carries bytes in one direction until either end is gone.
fn carry(state: &State, way: Way, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        state.passes(way);
        let Some(bytes) = buffer.get(..got) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // An end of one direction is an end of both, as the gateways use them.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
