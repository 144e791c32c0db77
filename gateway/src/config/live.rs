//! What may change while a gateway runs, and what only a start reads.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use access::Classes;
use maintenance::StandIns;

use super::classes::ClassSection;
use super::doors::{Listen, TlsCertificate};
use super::fault::ConfigError;
use super::limits::Limits;
use super::mqtt::Mqtt;
use super::presence::PresenceSettings;
use super::programs;
use super::resolved::{DrainDefaults, MaintenanceLimits, Resolved, resolve};
use super::source::Source;
use super::who::DeniedPublish;
use super::written::{LogLevel, Maintenance, Window, Written, parse};

/// What may change while a gateway runs: one snapshot, that each thread is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much of anything.
    pub limits: Limits,
    /// The most connections of each listener, in their order.
    pub doors: Vec<u32>,
    /// What the standard leaves to us.
    pub mqtt: Mqtt,
    /// Classes of clients, and the limits of everybody else.
    pub classes: Arc<Classes>,
    /// Whose coming and going is remembered.
    pub presence: PresenceSettings,
    /// Pace of a drain, where the request does not say.
    pub drain: DrainDefaults,
    /// Clients that are not moved at about the same time.
    pub stand_ins: Arc<StandIns>,
    /// When this gateway may be drained by itself, and how many may be at once.
    pub maintenance: MaintenanceLimits,
    /// What becomes of a 3.x client's publication that is denied.
    pub denied_publish_3x: DeniedPublish,
    /// Whether somebody else may have a client id, with a fresh session.
    pub sessions_change_hands: bool,
    /// What the configuration is called.
    pub revision: Option<String>,
    /// Least level that is logged.
    pub level: LogLevel,
}

impl Resolved {
    /// What may change while the gateway runs, as it is now.
    pub fn settings(&self) -> Settings {
        Settings {
            limits: self.limits,
            doors: self.listeners.iter().map(|door| door.connections).collect(),
            mqtt: self.mqtt.clone(),
            classes: Arc::clone(&self.classes),
            presence: self.presence,
            drain: self.drain,
            stand_ins: Arc::clone(&self.stand_ins),
            maintenance: self.maintenance.clone(),
            denied_publish_3x: self.rights.denied_publish_3x,
            sessions_change_hands: self.rights.sessions_change_hands,
            revision: self.revision.clone(),
            level: self.log.level,
        }
    }
}

/// What a file that was read again says.
#[derive(Debug)]
pub struct Reread {
    /// What may change, if anything of it did.
    pub settings: Option<Settings>,
    /// The settings that change, by name.
    pub changed: Vec<String>,
    /// The settings that are not in force without a restart, by name.
    pub needs_restart: Vec<String>,
    /// From here on.
    pub source: Source,
}

impl Source {
    /// Reads it again.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be used any more, with everything that is wrong at once where possible.
    pub fn read_again(&self) -> Result<Reread, ConfigError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| ConfigError::Read { path: self.path.clone(), source })?;
        let misread = |misread| ConfigError::Misread { path: self.path.clone(), misread };
        let now = parse(&text).map_err(misread)?.with_listener();
        let base = self.path.parent().unwrap_or_else(|| Path::new(""));
        // A file that could not be started with is not used in parts.
        resolve(&now, base)?;
        let in_force = self.with_what_may_change(&now);
        let resolved = resolve(&in_force, base)?;
        let changed: Vec<_> = self.in_force.changed(&in_force).into_iter().collect();
        let needs_restart = self.started.changed(&now).into_iter();
        Ok(Reread {
            settings: (!changed.is_empty()).then(|| resolved.settings()),
            changed,
            needs_restart: needs_restart.filter(|name| !may_change(name)).collect(),
            source: Self { in_force: Arc::new(in_force), ..self.clone() },
        })
    }

    /// What is in force once a file was read again: what may change as it stands there, all else as it was at the start, so that
    /// nothing is half in force.
    fn with_what_may_change(&self, now: &Written) -> Written {
        let started = &*self.started;
        let limits = Limits {
            queue_messages: started.limits.queue_messages,
            mailbox_messages: started.limits.mailbox_messages,
            commit_messages: started.limits.commit_messages,
            commit_bytes: started.limits.commit_bytes,
            topic_alias_maximum: started.limits.topic_alias_maximum,
            ..now.limits
        };
        let mut access = started.access.clone();
        access.denied_publish_3x = now.access.denied_publish_3x;
        access.sessions_change_hands = now.access.sessions_change_hands;
        let mut listen = self.in_force.listen.clone();
        for door in &mut listen {
            // A listener is the one that is bound there, wherever it stands in the file.
            let same = now.listen.iter().find(|it| (&it.bind, it.kind) == (&door.bind, door.kind));
            door.connections = same.map_or(door.connections, |it| it.connections);
        }
        let mut gateway = started.gateway.clone();
        gateway.revision.clone_from(&now.gateway.revision);
        let mut log = started.log.clone();
        log.level = now.log.level;
        Written {
            gateway,
            limits,
            access,
            listen,
            log,
            mqtt: now.mqtt.clone(),
            class: now.class.clone(),
            presence: now.presence,
            drain: now.drain.clone(),
            restart: now.restart.clone(),
            maintenance: Maintenance {
                webhook: started.maintenance.webhook.clone(),
                prometheus: started.maintenance.prometheus.clone(),
                ..now.maintenance.clone()
            },
            ..started.clone()
        }
    }
}

/// Sections that may change while a gateway runs, but for what [`FIXED`] names, and settings of others that may.
const MAY_CHANGE: [&str; 12] = [
    "gateway.revision",
    "limits.",
    "mqtt.",
    "class",
    "presence.",
    "drain.",
    "restart.",
    "maintenance.",
    "listen.connections",
    "access.denied_publish_3x",
    "access.sessions_change_hands",
    "log.level",
];
/// Settings that threads are made with, or that clients were told with their CONNACK and may rely on.
const FIXED: [&str; 5] = [
    "limits.queue_messages",
    "limits.mailbox_messages",
    "limits.commit_messages",
    "limits.commit_bytes",
    "limits.topic_alias_maximum",
];

/// Sections within those that may change, which threads are made with.
const FIXED_WITHIN: [&str; 2] = ["maintenance.webhook.", "maintenance.prometheus."];

fn may_change(name: &str) -> bool {
    let fixed = FIXED.contains(&name) || FIXED_WITHIN.iter().any(|of| name.starts_with(of));
    MAY_CHANGE.iter().any(|of| name.starts_with(of)) && !fixed
}

impl Written {
    /// The settings that are not the same in both, by their whole names; of what stands in the file any number of times, such
    /// as `[[class]]`, only the section where there are more of them, or fewer.
    pub(super) fn changed(&self, other: &Self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let it = &mut changed;
        self.gateway.changed(&other.gateway, it);
        self.tls.changed(&other.tls, it);
        self.peer.changed(&other.peer, it);
        self.http.changed(&other.http, it);
        self.device_http.changed(&other.device_http, it);
        self.limits.changed(&other.limits, it);
        self.mqtt.changed(&other.mqtt, it);
        self.store.changed(&other.store, it);
        self.presence.changed(&other.presence, it);
        self.resume.changed(&other.resume, it);
        self.shadow.changed(&other.shadow, it);
        self.lease.changed(&other.lease, it);
        self.access.changed(&other.access, it);
        self.access.certificate.changed(&other.access.certificate, it);
        self.access.password.changed(&other.access.password, it);
        self.access.token.changed(&other.access.token, it);
        self.access.hook.changed(&other.access.hook, it);
        self.drain.changed(&other.drain, it);
        self.restart.changed(&other.restart, it);
        self.maintenance.changed(&other.maintenance, it);
        self.maintenance.roles.changed(&other.maintenance.roles, it);
        self.maintenance.webhook.changed(&other.maintenance.webhook, it);
        self.maintenance.prometheus.changed(&other.maintenance.prometheus, it);
        self.log.changed(&other.log, it);
        each("listen", (&self.listen, &other.listen), Listen::changed, it);
        let certificates = (&self.tls.certificate, &other.tls.certificate);
        each("tls.certificate", (certificates.0, certificates.1), TlsCertificate::changed, it);
        each("class", (&self.class, &other.class), ClassSection::changed, it);
        let windows = (&self.maintenance.window, &other.maintenance.window);
        each("maintenance.window", (windows.0, windows.1), Window::changed, it);
        programs::changed((&self.maintenance.hooks, &other.maintenance.hooks), it);
        changed
    }
}

/// The same for a section that stands in the file any number of times.
fn each<T>(
    section: &str,
    (before, now): (&[T], &[T]),
    changed: impl Fn(&T, &T, &mut BTreeSet<String>),
    names: &mut BTreeSet<String>,
) {
    if before.len() != now.len() {
        names.insert(section.to_owned());
        return;
    }
    before.iter().zip(now).for_each(|(before, now)| changed(before, now, names));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(before: &str, after: &str) -> Result<Reread, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.toml");
        let text = |rest: &str| format!("[gateway]\nid = \"gw-1\"\n{rest}");
        std::fs::write(&path, text(before)).unwrap();
        let source = super::super::read(&path).unwrap().source.unwrap();
        std::fs::write(&path, text(after)).unwrap();
        source.read_again()
    }

    #[test]
    fn a_file_that_says_the_same_changes_nothing() {
        let same =
            reread("[log]\nlevel = \"warn\"\n", "# words\n[log]\nlevel = \"warn\"\n").unwrap();
        assert!(
            same.settings.is_none() && same.changed.is_empty() && same.needs_restart.is_empty()
        );
    }

    #[test]
    fn what_may_change_changes_and_the_rest_is_named() {
        let before =
            "[limits]\nconnections = 5\n[[listen]]\n[[class]]\nname = \"a\"\nuser = [\"u\"]\n";
        let after = "[limits]\nconnections = 6\ncommit_bytes = 8192\n[store]\nsynchronous = \"normal\"\n\
            [[listen]]\nconnections = 2\nadvertise = \"127.0.0.1:1884\"\n";
        let it = reread(before, after).unwrap();
        assert_eq!(it.changed, ["class", "limits.connections", "listen.connections"]);
        assert_eq!(
            it.needs_restart,
            ["limits.commit_bytes", "listen.advertise", "store.synchronous"]
        );
        let settings = it.settings.unwrap();
        assert_eq!((settings.limits.connections, settings.doors), (6, vec![2]));
    }

    #[test]
    fn what_needs_a_restart_is_not_in_force_because_something_else_is() {
        let before = "[limits]\nconnections = 5\n";
        let after = "[limits]\nconnections = 6\nqueue_messages = 3\ntopic_alias_maximum = 1\n";
        let it = reread(before, after).unwrap();
        assert_eq!(it.needs_restart, ["limits.queue_messages", "limits.topic_alias_maximum"]);
        let settings = it.settings.unwrap();
        assert_eq!(settings.classes.rest().queue.messages, Limits::default().queue_messages);
        let limits = settings.limits;
        assert_eq!(limits, Limits { connections: 6, ..Limits::default() });
        let alone = reread("", "[limits]\nqueue_messages = 3\n").unwrap();
        assert!(alone.settings.is_none() && alone.changed.is_empty());
    }

    #[test]
    fn a_listener_keeps_its_own_limit_wherever_it_stands() {
        let door = |port: u16, most: u32| {
            format!("[[listen]]\nbind = \"127.0.0.1:{port}\"\nconnections = {most}\n")
        };
        let before = door(1, 10) + &door(2, 20);
        let it = reread(&before, &(door(3, 30) + &door(2, 21) + &door(1, 10))).unwrap();
        assert_eq!(
            (it.changed, it.needs_restart),
            (vec!["listen.connections".to_owned()], vec!["listen".to_owned()])
        );
        assert_eq!(it.settings.unwrap().doors, [10, 21]);
        let turned = reread(&before, &(door(2, 20) + &door(1, 10))).unwrap();
        assert!(turned.settings.is_none(), "{:?}", turned.changed);
        let gone = reread("", &door(1883, 7)).unwrap();
        assert_eq!(gone.settings.unwrap().doors, [7], "the one that is there when none is written");
    }

    #[test]
    fn what_needs_a_restart_is_named_until_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.toml");
        let write = |workers: u8, per_s: u8| {
            let text =
                format!("[gateway]\nid = \"g\"\nworkers = {workers}\n[drain]\nper_s = {per_s}\n");
            std::fs::write(&path, text).unwrap();
        };
        write(1, 1);
        let source = super::super::read(&path).unwrap().source.unwrap();
        write(2, 2);
        let first = source.read_again().unwrap();
        assert_eq!((first.changed.len(), first.needs_restart.len()), (1, 1));
        let second = first.source.read_again().unwrap();
        assert_eq!((second.changed.len(), second.needs_restart.len()), (0, 1));
        write(1, 2);
        let third = second.source.read_again().unwrap();
        assert_eq!((third.changed.len(), third.needs_restart.len()), (0, 0));
    }

    #[test]
    fn a_file_that_cannot_be_used_says_all_that_is_wrong_with_it() {
        let error =
            reread("", "[limits]\nconnections = 0\n[lease]\nrenew_ms = 5000\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("limits.connections") && text.contains("lease.renew_ms"), "{text}");
    }

    #[test]
    fn every_setting_that_may_change_or_may_not_is_one() {
        let names: Vec<_> =
            Written::settings().iter().map(|it| format!("{}.{}", it.section, it.key)).collect();
        for name in FIXED {
            assert!(names.iter().any(|it| it == name), "{name}");
        }
    }
}
