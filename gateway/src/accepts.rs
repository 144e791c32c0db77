//! Whether listeners are served now: a process that has a successor leaves them to it, and takes them again if it fails.

use tokio::sync::watch;

/// The switch of some listeners.
#[derive(Debug)]
pub struct AcceptSwitch(watch::Sender<bool>);

/// What an accept loop looks at.
#[derive(Debug, Clone)]
pub struct Accepts(Option<watch::Receiver<bool>>);

impl AcceptSwitch {
    /// A switch, and what it switches.
    pub fn new(on: bool) -> (Self, Accepts) {
        let (sender, receiver) = watch::channel(on);
        (Self(sender), Accepts(Some(receiver)))
    }

    /// From now on connections are accepted, or left in the queue of the socket.
    pub fn set(&self, on: bool) {
        self.0.send_replace(on);
    }
}

impl Accepts {
    /// What nobody switches off.
    pub const fn always() -> Self {
        Self(None)
    }

    /// Waits until connections are to be accepted.
    pub async fn on(&mut self) {
        if let Some(switch) = &mut self.0 {
            // Nobody is left who could switch: it stays as it is.
            let _ = switch.wait_for(|on| *on).await.is_ok();
        }
    }

    /// Waits until connections are to be left alone.
    pub async fn off(&mut self) {
        if let Some(switch) = &mut self.0
            && switch.wait_for(|on| !*on).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
