//! A publication that comes by another way than a client's connection, from somebody who waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use access::ClassLimits;
use protocol::mqtt::ReasonCode;
use protocol::{Publication, QoS, levels};
use store::Check;
use tokio::sync::oneshot;

use super::publish::Publisher;
use super::refused::Refused;
use crate::hub::{Hub, Output, Record, Turn};

/// A publication, and who waits for the answer. What its publisher has a right to was looked at before.
#[derive(Debug)]
pub struct Post {
    /// What is published, at QoS 0 or 1.
    pub publication: Publication,
    /// How long it is worth delivering, if limited.
    pub expires_in: Option<Duration>,
    /// How many user properties it carries.
    pub user_count: usize,
    /// Whether its payload is said to be UTF-8.
    pub payload_is_utf8: bool,
    /// What its publisher may do; none if that is the fleet itself, whose topics are nobody else's.
    pub limits: Option<Arc<ClassLimits>>,
    /// What must be true for it to be stored, if anything must.
    pub fence: Option<Check>,
    /// Who waits; may be gone.
    pub answer: oneshot::Sender<Posted>,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It is taken: stored for every persistent session that matches, where it is at QoS 1.
    Taken,
    /// It is not, for what it is or for want of room.
    Refused(ReasonCode),
    /// It could not be stored.
    NotStored,
}

impl Post {
    /// What the fleet itself says, as long as that is true, and where it is answered.
    pub(crate) fn of_fleet(
        publication: Publication,
        fence: Option<Check>,
    ) -> (Self, oneshot::Receiver<Posted>) {
        let (answer, posted) = oneshot::channel();
        let (expires_in, user_count, payload_is_utf8, limits) = (None, 0, true, None);
        let post =
            Self { publication, expires_in, user_count, payload_is_utf8, limits, fence, answer };
        (post, posted)
    }

    /// Whether a device or a service asked for it that waits for it no longer.
    pub(crate) fn is_given_up(&self) -> bool {
        self.limits.is_some() && self.answer.is_closed()
    }

    /// Whether its answer promises something.
    pub(crate) fn wants_acknowledgement(&self) -> bool {
        self.publication.qos != QoS::AtMostOnce
    }
}

impl Hub {
    /// Takes a publication, or refuses it as it would a client's; answered once it is stored.
    pub fn handle_post(&mut self, post: Post, cx: &mut Turn<'_>) {
        let Post { mut publication, user_count, payload_is_utf8, limits, answer, .. } = post;
        publication.expires_at = post.expires_in.map(|time| cx.now.wall.after(time));
        post.fence.into_iter().for_each(|fence| cx.fx.first(Record::Check(fence)));
        let by = if limits.is_some() { Publisher::Poster } else { Publisher::Fleet };
        let refused = limits.and_then(|limits| {
            self.metrics.count_publication(publication.qos.bits());
            self.refuses_post(&publication, (user_count, payload_is_utf8), &limits)
        });
        let taken = match refused {
            Some(refused) => Err(refused),
            None => self.take(publication, (by, None), (cx.now.wall, cx.fx)),
        };
        let posted = match taken {
            Ok(_) => Posted::Taken,
            Err(refused) => Posted::Refused(refused.reason()),
        };
        cx.fx.then(Output::Posted(answer, posted));
    }

    fn refuses_post(
        &self,
        publication: &Publication,
        (user_count, payload_is_utf8): (usize, bool),
        limits: &ClassLimits,
    ) -> Option<Refused> {
        let topic = publication.topic();
        if topic.starts_with('$') {
            // Reserved for the server's own use [MQTT5-4.7.2-1].
            return Some(Refused::Reserved);
        }
        if topic.len() > limits.topic_bytes || levels(topic).nth(limits.topic_levels).is_some() {
            self.metrics.limited_topic.add(1);
            return Some(Refused::Topic);
        }
        if user_count > self.config.user_properties {
            self.metrics.refused_user_properties.add(1);
            return Some(Refused::UserProperties);
        }
        let checked = payload_is_utf8 && self.config.check_payload_format;
        let is_text = || std::str::from_utf8(publication.payload()).is_ok();
        (checked && !is_text()).then_some(Refused::Payload)
    }
}
