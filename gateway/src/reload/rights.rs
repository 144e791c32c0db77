//! The access files.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Rights;
use crate::device_http::DeviceRules;
use crate::worker::{Mail, Mailbox};

use super::watch::{ReloadFailed, Reloadable};

/// Who may say what; every worker has its copy.
#[derive(Debug)]
pub struct RightsFiles {
    /// Where it stands.
    pub rights: Rights,
    /// The workers' letters.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// What holds for devices by HTTPS, where that is served.
    pub devices: Option<Arc<DeviceRules>>,
}

impl Reloadable for RightsFiles {
    fn name(&self) -> &'static str {
        "access files"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.rights.files().collect()
    }

    fn reload(&mut self) -> Result<(), ReloadFailed> {
        let policy = Arc::new(crate::rights::load(&self.rights)?);
        for mailbox in &self.mailboxes {
            mailbox.send(Mail::Policy(Arc::clone(&policy)));
        }
        if let Some(devices) = &self.devices {
            devices.set_policy(&policy);
        }
        Ok(())
    }
}
