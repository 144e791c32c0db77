//! The wish that a load ends before its time.

use std::io;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a load that was interrupted.
pub const INTERRUPTED: u8 = 130;

/// Whether somebody wants a load to end: it then publishes nothing more, waits for what is on its way, and reports what it has seen.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asked for by Ctrl-C or SIGTERM. The second of them ends the process at once, without a report.
    ///
    /// # Errors
    /// What the system says if signals cannot be heard.
    pub fn by_signals() -> io::Result<Self> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ctrl_c, terminate) = runtime.block_on(async {
            io::Result::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
        })?;
        let heard = interrupt.clone();
        std::thread::spawn(move || runtime.block_on(heard.listen(ctrl_c, terminate)));
        Ok(interrupt)
    }

    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The end of a load that goes on for a time.
    pub(crate) fn until(&self, moment: Instant) -> Until {
        Until { moment, interrupt: self.clone() }
    }

    async fn listen(self, mut ctrl_c: Signal, mut terminate: Signal) {
        loop {
            tokio::select! {
                _ = ctrl_c.recv() => {}
                _ = terminate.recv() => {}
            }
            if self.is_asked() {
                std::process::exit(INTERRUPTED.into());
            }
            self.ask();
        }
    }
}

/// A moment, or the wish of somebody, whichever is first.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    moment: Instant,
    interrupt: Interrupt,
}

impl Until {
    pub(crate) fn is_over(&self) -> bool {
        self.interrupt.is_asked() || Instant::now() >= self.moment
    }
}
