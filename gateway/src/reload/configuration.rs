//! The configuration file itself.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Source;
use crate::device_http::DeviceRules;
use crate::front::{Front, fit_descriptors};
use crate::pauses::PauseRules;
use crate::scheduler::{SchedulerAsk, SchedulerSender};
use crate::service::{ServiceAsk, ServiceSender};
use crate::worker::{Mail, Mailbox};

use super::watch::{ReloadFailed, Reloadable};

/// What may change while the gateway runs is given to every thread, as one snapshot; the rest is named.
#[derive(Debug)]
pub struct Configuration {
    /// Where it is, and what of it is in force.
    pub source: Source,
    /// Whom new connections meet.
    pub front: Arc<Front>,
    /// What holds for devices by HTTPS, where that is served.
    pub devices: Option<Arc<DeviceRules>>,
    /// The workers' letters.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The housekeeper.
    pub service: ServiceSender,
    /// Who answers for this gateway.
    pub scheduler: SchedulerSender,
    /// How many gateways may do work of seconds at once.
    pub pauses: Arc<PauseRules>,
    /// What is not in force without a restart.
    pub needs_restart: Vec<String>,
}

impl Reloadable for Configuration {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.source.path().to_owned()]
    }

    fn reload(&mut self) -> Result<(), ReloadFailed> {
        let reread = self.source.read_again()?;
        if let Some(mut settings) = reread.settings {
            fit_descriptors(&mut settings.limits);
            crate::logging::set_level(settings.level);
            self.front.set(&settings);
            self.pauses.set(&settings.maintenance);
            if let Some(devices) = &self.devices {
                devices.set(&settings);
            }
            let settings = Arc::new(settings);
            for mailbox in &self.mailboxes {
                mailbox.send(Mail::Settings(Arc::clone(&settings)));
            }
            self.scheduler.send(SchedulerAsk::Settings(Arc::clone(&settings)));
            self.service.send(ServiceAsk::Settings(settings));
            tracing::info!("changed: {}", reread.changed.join(", "));
        }
        if !reread.needs_restart.is_empty() && reread.needs_restart != self.needs_restart {
            let names = reread.needs_restart.join(", ");
            tracing::warn!("changed in the file and not in force without a restart: {names}");
        }
        if reread.needs_restart != self.needs_restart {
            self.scheduler.send(SchedulerAsk::NeedsRestart(reread.needs_restart.clone()));
        }
        self.needs_restart = reread.needs_restart;
        self.source = reread.source;
        Ok(())
    }

    fn needs_restart(&self) -> &[String] {
        &self.needs_restart
    }
}
