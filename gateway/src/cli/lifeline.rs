//! A gateway of a launched fleet ends with its launcher, however that ends.

use std::io::Read as _;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// Time from the request to end until the process is ended by force.
const FORCE_AFTER: Duration = Duration::from_secs(15);

/// Asks this process to end, as SIGTERM does, when standard input closes.
///
/// # Errors
/// When no thread is to be had.
pub(super) fn hold() -> Result<(), std::io::Error> {
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0_u8; 64];
        loop {
            match input.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        tracing::warn!("the launcher is gone: ending");
        // An error would mean that we do not exist.
        let _ = kill_process(getpid(), Signal::TERM);
        std::thread::sleep(FORCE_AFTER);
        std::process::exit(1);
    })?;
    Ok(())
}
