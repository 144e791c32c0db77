//! Clients of the gateway's own, which do what devices do so that it is known that devices could: who is let in for that, and
//! what they may say.
//!
//! A trial wears a badge: random, made for it, known to this process alone and gone with it. So no device and no operator can be taken for it,
//! and nothing of it is configured. What its clients say stays among them: their topics begin with a level of their own, which no wildcard
//! matches and which nobody else may name, and then comes what only they know.

use std::sync::{Arc, Mutex, PoisonError};

use access::{Claims, ClaimsMode, ClassLimits, Identity, Policy, Rights};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use protocol::mqtt::Connect;
use protocol::{ClientId, GatewayId, Publication, QoS, TopicFilter};
use serde::{Deserialize, Serialize};

use super::{ConnId, Hub};

/// The first level of the topics of trials.
const LEVEL: &str = "$trial";
/// The topic of a trial at which other gateways publish that were asked to.
pub const PEERS: &str = "live/peers";
/// What their clients say for a user name.
pub const USER_NAME: &str = "$trial";

/// What the clients of one trial show.
#[derive(PartialEq, Eq)]
pub struct Badge {
    /// Part of their ids and of their topics.
    number: String,
    secret: [u8; 32],
}

impl Badge {
    /// One that nobody else has; none if the system has no randomness.
    fn new() -> Option<Self> {
        let (mut number, mut secret) = ([0; 16], [0; 32]);
        aws_lc_rs::rand::fill(&mut number).ok()?;
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Some(Self { number: format!("{:032x}", u128::from_be_bytes(number)), secret })
    }

    /// The id of one of its clients.
    pub fn client(&self, name: &str) -> String {
        format!("trial-{}-{name}", self.number)
    }

    /// One of its topics, or a filter of them.
    pub fn topic(&self, name: &str) -> String {
        format!("{LEVEL}/{}/{name}", self.number)
    }

    /// What its clients say for a password.
    pub const fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What other gateways are asked for. It does not tell what lets clients in.
    pub fn call(&self) -> TrialCall {
        TrialCall { trial: self.number.clone() }
    }

    fn is_shown_by(&self, connect: &Connect<'_>) -> bool {
        let id = connect.client_id.strip_prefix("trial-");
        let is_its = id.is_some_and(|it| it.starts_with(&self.number));
        let password = connect.password.unwrap_or_default();
        is_its && verify_slices_are_equal(password, &self.secret).is_ok()
    }

    fn identity(&self, client: ClientId) -> Identity {
        let own = vec![self.topic("#")];
        let claims = Claims { publish: own.clone(), subscribe: own };
        Identity { claims: Some(Arc::new(claims)), is_trial: true, ..Identity::anonymous(client) }
    }
}

/// The secret is not for logs.
impl std::fmt::Debug for Badge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Badge").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What a trial wants of another gateway: a publication for its clients, as a client of that gateway would make it. It goes by the stored queue
/// to those whose sessions last, and over the peer link to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialCall {
    /// The number of the trial.
    trial: String,
}

impl TrialCall {
    /// What a gateway publishes then: its name, among the topics of the trial and nowhere else. None if no trial has such a number.
    pub fn publication(&self, by: &GatewayId) -> Option<Publication> {
        let is_digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        if self.trial.len() != 32 || !self.trial.bytes().all(is_digit) {
            return None;
        }
        let topic = format!("{LEVEL}/{}/{PEERS}", self.trial);
        Some(Publication::new(&topic, &[], by.as_str().as_bytes(), QoS::AtLeastOnce, false))
    }
}

/// The trial whose clients are let in, if there is one.
#[derive(Debug, Default)]
pub struct Trials(Mutex<Option<Arc<Badge>>>);

/// A trial that goes on. Dropped, its clients are not let in any more.
#[derive(Debug)]
pub struct Wearing {
    trials: Arc<Trials>,
    badge: Arc<Badge>,
}

impl Wearing {
    /// What its clients show.
    pub fn badge(&self) -> &Badge {
        &self.badge
    }
}

impl Drop for Wearing {
    fn drop(&mut self) {
        self.trials.lock().take_if(|now| Arc::ptr_eq(now, &self.badge));
    }
}

impl Trials {
    /// Lets the clients of a new trial in; those of the one before are not any more. None if the system has no randomness.
    pub fn begin(self: &Arc<Self>) -> Option<Wearing> {
        let badge = Arc::new(Badge::new()?);
        *self.lock() = Some(Arc::clone(&badge));
        Some(Wearing { trials: Arc::clone(self), badge })
    }

    /// Who it is that asks to be let in, if it is a client of the trial that goes on.
    pub fn recognize(&self, connect: &Connect<'_>) -> Option<Identity> {
        // Most are somebody else, and wait for nothing here.
        if connect.user_name != Some(USER_NAME) {
            return None;
        }
        let badge = self.lock().clone().filter(|badge| badge.is_shown_by(connect))?;
        Some(badge.identity(ClientId::new(connect.client_id).ok()?))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Badge>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only clients of a trial may subscribe to it. No filter that begins otherwise matches anything of theirs.
pub(super) fn is_of_trials(filter: &TopicFilter) -> bool {
    is_theirs(filter.as_str())
}

fn is_theirs(text: &str) -> bool {
    text.split('/').next() == Some(LEVEL)
}

/// What a client of a trial may do: what its badge names, whatever operators allow others.
pub(super) fn rights_of(who: &Arc<Identity>) -> Option<Rights> {
    Arc::new(Policy::of(Vec::new(), ClaimsMode::Grant)).rights_of(who)
}

/// The same limits without those of pace: what a trial does is little, and is not to be refused for being done at once.
pub(super) fn unhurried(limits: &ClassLimits) -> ClassLimits {
    ClassLimits { publish_per_s: 0, publish_bytes_per_s: 0, packets_per_s: 0, ..limits.clone() }
}

impl Hub {
    /// Whether a connection is of a trial.
    pub(super) fn is_trial(&self, conn: ConnId) -> bool {
        self.connection(conn).is_some_and(super::connection::Connection::is_trial)
    }

    /// Whether a connection is of a trial and says this in it; what it may name was checked.
    pub(super) fn is_on_trial(&self, conn: ConnId, topic: &str) -> bool {
        is_theirs(topic) && self.is_trial(conn)
    }
}

#[cfg(test)]
mod tests {
    use protocol::mqtt::{ConnectProperties, Version};

    use super::*;

    fn connect<'a>(id: &'a str, user: Option<&'a str>, password: &'a [u8]) -> Connect<'a> {
        Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: id,
            will: None,
            user_name: user,
            password: Some(password),
            properties: ConnectProperties::default(),
        }
    }

    #[test]
    fn only_who_wears_the_badge_of_the_trial_that_goes_on_is_recognized() {
        let trials = Arc::new(Trials::default());
        let first = trials.begin().unwrap();
        let id = first.badge().client("a");
        let shown = connect(&id, Some(USER_NAME), first.badge().secret());
        let who = trials.recognize(&shown).unwrap();
        assert!(who.is_trial && who.user.is_none());
        let nobody = [
            connect("trial-1", Some(USER_NAME), first.badge().secret()),
            connect(&id, Some(USER_NAME), b"guessed"),
            connect(&id, Some(USER_NAME), b""),
            connect(&id, Some("anna"), first.badge().secret()),
            connect(&id, None, first.badge().secret()),
        ];
        for other in &nobody {
            assert!(trials.recognize(other).is_none(), "{other:?}");
        }
        let second = trials.begin().unwrap();
        assert_ne!(first.badge(), second.badge());
        assert!(trials.recognize(&shown).is_none(), "another trial goes on");
        drop(first);
        let other = second.badge().client("b");
        let shown = connect(&other, Some(USER_NAME), second.badge().secret());
        assert!(trials.recognize(&shown).is_some(), "the end of another is not its end");
        drop(second);
        assert!(trials.recognize(&connect(&other, Some(USER_NAME), b"")).is_none());
    }

    #[test]
    fn a_badge_does_not_tell_its_secret_to_logs() {
        let trials = Arc::new(Trials::default());
        let wearing = trials.begin().unwrap();
        let told = format!("{wearing:?}{trials:?}");
        assert!(told.contains(&wearing.badge().number) && !told.contains("secret"), "{told}");
    }

    #[test]
    fn another_gateway_publishes_its_name_among_the_topics_of_the_trial_and_nowhere_else() {
        let trials = Arc::new(Trials::default());
        let wearing = trials.begin().unwrap();
        let (badge, by) = (wearing.badge(), GatewayId::new("gw-2").unwrap());
        let said = badge.call().publication(&by).unwrap();
        assert_eq!(said.topic(), badge.topic(PEERS));
        assert_eq!(
            (said.payload(), said.qos, said.retain),
            (&b"gw-2"[..], QoS::AtLeastOnce, false)
        );
        let text = serde_json::to_vec(&badge.call()).unwrap();
        assert!(!text.windows(32).any(|part| part == badge.secret()));
        for other in ["", "#", "0", &"+".repeat(32), &"A".repeat(32), &"0/".repeat(16)] {
            let call = TrialCall { trial: other.to_owned() };
            assert!(call.publication(&by).is_none(), "{other}");
        }
    }

    #[test]
    fn what_begins_with_their_level_is_of_trials_and_nothing_else() {
        let of = |text: &str| is_of_trials(&TopicFilter::new(text).unwrap());
        assert!(of("$trial/1/x") && of("$trial/#") && of("$trial/+/x") && of("$trial"));
        assert!(!of("$trials/1") && !of("#") && !of("+/1") && !of("a/$trial/x"));
    }
}
