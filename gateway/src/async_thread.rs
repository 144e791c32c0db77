//! Threads that wait for many things at once: each with a runtime of its own, until it is told to end.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot::{self, Receiver, Sender};

use crate::logging;

/// A thread with a runtime of its own. Told to end when dropped, and waited for.
#[derive(Debug)]
pub(crate) struct AsyncThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AsyncThread {
    /// Starts one that is scheduled as any other. What it does ends soon after it is told to.
    ///
    /// # Errors
    /// The system has no more threads, or no more file descriptors.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce(Receiver<()>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, run) = with_runtime(work)?;
        Ok(Self { stop: Some(stop), thread: Some(logging::thread(name, run)?) })
    }

    /// The same for one whose work can wait: while the processor is short, workers go first.
    ///
    /// # Errors
    /// The system has no more threads, or no more file descriptors.
    pub(crate) fn start_patient<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce(Receiver<()>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, run) = with_runtime(work)?;
        Ok(Self { stop: Some(stop), thread: Some(logging::patient_thread(name, run)?) })
    }
}

fn with_runtime<F: Future<Output = ()>>(
    work: impl FnOnce(Receiver<()>) -> F + Send + 'static,
) -> io::Result<(Sender<()>, impl FnOnce() + Send + 'static)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let run = move || {
        runtime.block_on(work(stopped));
        // A question that still waits for the process, or a name that is being looked up, must not hold up its end.
        runtime.shutdown_background();
    };
    Ok((stop, run))
}

impl Drop for AsyncThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_drops_it_has_waited_for_its_end() {
        for start in [true, false] {
            let is_over = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&is_over);
            let work = async move |stopped: Receiver<()>| {
                assert!(stopped.await.is_ok(), "it is told, and not only left");
                told.store(true, Ordering::SeqCst);
            };
            let started = if start {
                AsyncThread::start("a", work)
            } else {
                AsyncThread::start_patient("a", work)
            };
            drop(started.unwrap());
            assert!(is_over.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn what_still_blocks_does_not_hold_up_its_end() {
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let thread = AsyncThread::start("a", async move |stopped| {
            tokio::task::spawn_blocking(move || waits.recv());
            let _ = stopped.await;
        });
        drop(thread.unwrap());
        assert!(go_on.send(()).is_ok(), "it waits still");
    }

    #[test]
    fn one_that_has_ended_by_itself_is_dropped_as_well() {
        drop(AsyncThread::start("a", async |_| {}).unwrap());
    }
}
