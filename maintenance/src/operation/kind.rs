//! What can be done to a host, and how much that disturbs it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::SlotClass;
use crate::record;

/// How much a visit disturbs its host; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing that a client could notice; needs no slot.
    Hot,
    /// A successor takes over on the same host.
    InPlace,
    /// The clients move to other hosts.
    Drain,
    /// The clients move, and the host goes away.
    Absent,
}

/// What is done to a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OpKind {
    /// It is drained, stays so for a while, and serves again.
    DrainOnly {
        /// For how long.
        #[serde(rename = "hold_ms", with = "record::millis")]
        hold: Duration,
    },
    /// Its process starts again.
    Restart,
    /// It takes a new certificate.
    CertRotate,
    /// It takes another configuration.
    ConfigChange {
        /// Which.
        rev: String,
    },
    /// It takes another version of the program.
    Upgrade {
        /// Which.
        to: String,
    },
    /// The machine starts again.
    Reboot,
    /// A program that the host allows is run there; never a line for a shell.
    Hook {
        /// Its name in the host's list.
        name: String,
        /// What it is told.
        args: Vec<String>,
        /// How long it may take.
        #[serde(rename = "timeout_ms", with = "record::millis")]
        timeout: Duration,
        /// How much it disturbs.
        class: Class,
    },
}

impl Class {
    /// What the ledger has to allow for it; nothing for work that disturbs nobody.
    pub const fn slot(self) -> Option<SlotClass> {
        match self {
            Self::Hot => None,
            Self::InPlace => Some(SlotClass::InPlace),
            Self::Drain | Self::Absent => Some(SlotClass::Drain),
        }
    }

    /// Whether the clients have to go.
    pub const fn drains(self) -> bool {
        matches!(self, Self::Drain | Self::Absent)
    }
}

impl OpKind {
    /// How much it disturbs at least.
    pub const fn class(&self) -> Class {
        match self {
            Self::CertRotate => Class::Hot,
            Self::Restart | Self::ConfigChange { .. } | Self::Upgrade { .. } => Class::InPlace,
            Self::DrainOnly { .. } => Class::Drain,
            Self::Reboot => Class::Absent,
            Self::Hook { class, .. } => *class,
        }
    }

    /// How long it holds its host drained.
    pub const fn hold(&self) -> Duration {
        match self {
            Self::DrainOnly { hold } => *hold,
            Self::Restart
            | Self::CertRotate
            | Self::ConfigChange { .. }
            | Self::Upgrade { .. }
            | Self::Reboot
            | Self::Hook { .. } => Duration::ZERO,
        }
    }

    /// Whether it is a program that belongs to another kind, asked for by its name: it would disturb as little as one says.
    pub fn takes_anothers_program(&self) -> bool {
        const OF_KINDS: [&str; 4] = ["upgrade", "reboot", "config-change", "cert-rotate"];
        match self {
            Self::Hook { name, .. } => OF_KINDS.contains(&name.as_str()),
            Self::DrainOnly { .. }
            | Self::Restart
            | Self::CertRotate
            | Self::ConfigChange { .. }
            | Self::Upgrade { .. }
            | Self::Reboot => false,
        }
    }

    /// Its name in logs, metrics and the HTTP API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DrainOnly { .. } => "drain_only",
            Self::Restart => "restart",
            Self::CertRotate => "cert_rotate",
            Self::ConfigChange { .. } => "config_change",
            Self::Upgrade { .. } => "upgrade",
            Self::Reboot => "reboot",
            Self::Hook { .. } => "hook",
        }
    }

    /// Under what its time is learned: its name with the version it leads to.
    pub fn learned_as(&self) -> String {
        match self {
            Self::Upgrade { to: what } | Self::ConfigChange { rev: what } => {
                format!("{}:{what}", self.name())
            }
            Self::Hook { name, .. } => format!("hook:{name}"),
            Self::DrainOnly { .. } | Self::Restart | Self::CertRotate | Self::Reboot => {
                self.name().to_owned()
            }
        }
    }

    /// Its place in a visit: what a later one takes with it comes first, so that one start of the process serves all.
    pub(super) const fn place(&self) -> u8 {
        match self {
            Self::ConfigChange { .. } => 0,
            Self::CertRotate => 1,
            Self::Hook { .. } => 2,
            Self::Upgrade { .. } => 3,
            Self::Restart => 4,
            Self::Reboot => 5,
            Self::DrainOnly { .. } => 6,
        }
    }

    /// Whether it starts the process again by itself, so that a restart beside it has nothing to do.
    pub(super) const fn restarts(&self) -> bool {
        match self {
            Self::Upgrade { .. } | Self::Reboot => true,
            Self::DrainOnly { .. }
            | Self::Restart
            | Self::CertRotate
            | Self::ConfigChange { .. }
            | Self::Hook { .. } => false,
        }
    }
}
