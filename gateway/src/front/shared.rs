//! What all listeners of a process share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use access::{Bans, Flapping, FlappingLimits, Identity};
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::ClientId;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec;

use crate::authentication::Porter;
use crate::clock::wall;
use crate::config::{Limits, Settings};
use crate::hub::{Tables, is_unauthorized};
use crate::line_limit::LineLimit;
use crate::metrics::ProcessCounters;
use crate::pace::Pace;
use crate::tail::worker_of;
use crate::worker::{Mail, Mailbox, PresenceMail};

use super::bounced::Bounced;
use super::place::Places;
use super::spare::Spare;
use super::tray::Tray;

/// What a listener does with new clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Admission {
    /// The process is not ready: refuse as busy.
    NotYet = 0,
    /// Take them.
    Open = 1,
    /// Send them to another gateway; who comes back again and again is let in.
    Elsewhere = 2,
    /// Send all of them to another gateway.
    Closed = 3,
    /// Take so many per second, and send the others to another gateway.
    Warming = 4,
}

/// What all listeners of a process share.
#[derive(Debug)]
pub struct Front {
    /// The workers' letters.
    mailboxes: Vec<Arc<Mailbox>>,
    /// Who looks at what clients show.
    pub(super) porter: Arc<Porter>,
    /// For server references.
    pub(super) tables: Arc<Tables>,
    /// This gateway's name, for made-up client ids and server references.
    pub(super) gateway: protocol::GatewayId,
    /// Connections that are open or on their way.
    pub(super) places: Arc<Places>,
    /// For all accept loops.
    pub(super) spare: Spare,
    pub(super) counters: Arc<ProcessCounters>,
    flapping: Mutex<Flapping>,
    bans: ArcSwap<Bans>,
    strangers: LineLimit,
    admission: AtomicU8,
    pub(super) bounced: Bounced,
    pace: Mutex<Pace>,
}

impl Front {
    /// Nobody is taken before [`Self::admit`] says so.
    pub fn new(
        mailboxes: Vec<Arc<Mailbox>>,
        tables: Arc<Tables>,
        config: &crate::config::Resolved,
        porter: Arc<Porter>,
        counters: Arc<ProcessCounters>,
    ) -> Self {
        let limits = &config.limits;
        let doors: Vec<u32> = config.listeners.iter().map(|door| door.connections).collect();
        Self {
            mailboxes,
            porter,
            tables,
            gateway: config.id.clone(),
            places: Arc::new(Places::new(*limits, &doors, Arc::clone(&counters))),
            spare: Spare::new(),
            counters,
            strangers: LineLimit::default(),
            flapping: Mutex::new(Flapping::new(flapping(limits))),
            bans: ArcSwap::default(),
            admission: AtomicU8::new(0),
            bounced: Bounced::default(),
            pace: Mutex::new(Pace::new(1, Duration::from_secs(1))),
        }
    }

    /// Takes so many clients per second from now on, as long as another gateway takes the others.
    pub fn warm_up(&self, per_s: u32) {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).set_per_s(per_s);
        self.admission.store(Admission::Warming as u8, Ordering::SeqCst);
    }

    /// Whether one more is taken while the gateway warms up.
    pub(super) fn takes_one_more(&self) -> bool {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).takes(Instant::now())
    }

    /// What may change has changed: it holds for who comes from now on.
    pub fn set(&self, settings: &Settings) {
        self.places.set_limits(settings.limits, &settings.doors);
        let mut seen = self.flapping.lock().unwrap_or_else(PoisonError::into_inner);
        seen.set_limits(flapping(&settings.limits));
    }

    /// Connections that are here, from accept until their sockets are closed.
    pub fn present(&self) -> u64 {
        self.places.present()
    }

    /// How much of anything there may be.
    pub(super) fn limits(&self) -> arc_swap::Guard<Arc<Limits>> {
        self.places.limits()
    }

    /// From accept to a whole CONNECT.
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(u64::from(self.limits().connect_timeout_ms))
    }

    /// The largest CONNECT and AUTH, in bytes.
    pub(super) fn connect_bytes(&self) -> u32 {
        let limits = self.limits();
        limits.connect_bytes.min(limits.packet_bytes)
    }

    /// Says what becomes of new clients from now on.
    pub fn admit(&self, admission: Admission) {
        self.admission.store(admission as u8, Ordering::SeqCst);
        if admission == Admission::Open {
            self.bounced.forget();
        }
    }

    pub(crate) fn admission(&self) -> Admission {
        match self.admission.load(Ordering::SeqCst) {
            0 => Admission::NotYet,
            1 => Admission::Open,
            2 => Admission::Elsewhere,
            4 => Admission::Warming,
            _ => Admission::Closed,
        }
    }

    /// These bans hold from now on.
    pub fn set_bans(&self, bans: Arc<Bans>) {
        self.bans.store(bans);
    }

    /// Whether an address is banned.
    pub(crate) fn bans_address(&self, address: IpAddr) -> bool {
        let bans = self.bans.load();
        !bans.is_empty() && bans.has_address(address, wall())
    }

    /// The kind of ban that somebody is under.
    pub(crate) fn ban_of(&self, who: &Identity) -> Option<&'static str> {
        let bans = self.bans.load();
        if bans.is_empty() { None } else { bans.kind_of(who, wall()) }
    }

    /// Whether a client is held off because it comes and goes all the time.
    pub(super) fn is_banned(&self, who: &Identity) -> bool {
        let mut flapping = self.flapping.lock().unwrap_or_else(PoisonError::into_inner);
        flapping.check(who.holder(), &who.client, wall()).is_some()
    }

    /// Whether one more line about a connection that came to nothing may be written.
    pub(super) fn may_tell(&self) -> bool {
        self.strangers.admits(wall().0 / 1000, "connections that come to nothing")
    }

    /// An id for a client that gave none `[MQTT5-3.1.3-6]`. Nobody can guess it, so that nobody can have taken it before,
    /// or lie in wait for its session.
    ///
    /// # Errors
    /// The answer to the client, where the system has no randomness.
    pub(super) fn make_up(&self) -> Result<String, ReasonCode> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| ReasonCode::ServerBusy)?;
        Ok(format!("{}-{}", self.gateway, URL_SAFE_NO_PAD.encode(random)))
    }

    /// A client that has no right to be here was not let in: its worker tells who wants to know.
    pub(super) fn tell_refused(&self, packet: &[u8], reason: ReasonCode) {
        let Ok(connect) = codec::decode_connect(packet) else { return };
        let Ok(client) = ClientId::new(connect.client_id) else { return };
        if is_unauthorized(reason) {
            let worker = worker_of(&client, self.mailboxes.len());
            if let Some(mailbox) = self.mailboxes.get(usize::from(worker)) {
                mailbox.send(Mail::Presence(PresenceMail::Refused(client)));
            }
        }
    }

    /// Where one more thread puts those it has let in.
    pub fn tray(&self) -> Tray {
        Tray::new(self.mailboxes.clone())
    }
}

fn flapping(limits: &Limits) -> FlappingLimits {
    FlappingLimits {
        connects: limits.flapping_connects,
        within: Duration::from_millis(u64::from(limits.flapping_within_ms)),
        ban: Duration::from_secs(u64::from(limits.flapping_ban_s)),
    }
}
