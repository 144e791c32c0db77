//! How much of anything, by class.

use std::sync::Arc;

use protocol::session::QueueLimits;

use crate::identity::Identity;
use crate::rights::Who;

/// How much the clients of a class may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLimits {
    /// Largest packet from a client, in bytes.
    pub packet_bytes: u32,
    /// Publications of QoS 1 and 2 that one client may have in flight towards us.
    pub receive_maximum: u16,
    /// Publications per second of one client; 0 is no limit.
    pub publish_per_s: u32,
    /// Bytes of PUBLISH packets per second of one client; 0 is no limit.
    pub publish_bytes_per_s: u32,
    /// Packets of any kind per second of one client; 0 is no limit.
    pub packets_per_s: u32,
    /// What becomes of what is too fast.
    pub on_excess: OnExcess,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// Shared groups of one topic that a session may be in.
    pub groups_per_topic: usize,
    /// Filters of one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Levels of a topic or filter.
    pub topic_levels: usize,
    /// Bytes of a topic or filter.
    pub topic_bytes: usize,
    /// Clients of one user that are connected to one gateway; 0 is no limit.
    pub connections_per_user: u32,
    /// Whether a client is shown positions that asks for them.
    pub positions: bool,
    /// What may wait for one session at QoS 1 and 2.
    pub queue: QueueLimits,
}

/// What becomes of what is too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExcess {
    /// Nothing more is read from the connection until it is slow enough.
    Delay,
    /// It is refused.
    Refuse,
}

/// One class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name.
    pub name: Arc<str>,
    /// Who is in it.
    pub who: Who,
    /// What they may do.
    pub limits: Arc<ClassLimits>,
}

/// All classes in their order, and what holds for who is in none.
#[derive(Debug, Clone)]
pub struct Classes {
    classes: Vec<Class>,
    rest: Arc<ClassLimits>,
}

impl Classes {
    /// The classes, and the limits of everybody else.
    pub fn new(classes: Vec<Class>, rest: ClassLimits) -> Self {
        Self { classes, rest: Arc::new(rest) }
    }

    /// What holds for who is in no class.
    pub fn rest(&self) -> &ClassLimits {
        &self.rest
    }

    /// What holds for somebody: the class that its identity names, else the first that it fits, else that of the rest.
    pub fn limits_of(&self, who: &Identity) -> &Arc<ClassLimits> {
        let named = who.class.as_ref();
        let named = self.classes.iter().find(|class| named == Some(&class.name));
        let class = named.or_else(|| self.classes.iter().find(|class| class.who.fits(who)));
        class.map_or(&self.rest, |class| &class.limits)
    }
}
