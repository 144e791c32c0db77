//! What mosquitto 2.0 does otherwise than we do, and why both may stand. Where this evens out an answer, the script is not
//! compared in that point; everything else is.

use std::collections::HashSet;

use super::player::will_text;
use super::script::{Script, Step};
use super::seen::{self, Answers, Seen};

/// What is known of a script before it is played.
#[derive(Debug)]
pub(crate) struct Differences {
    /// The wills of connections that a newer one of the same client ended. With a delay of 0 they are published, as the
    /// remark after [MQTT5-3.1.4-3] says, and so in 3.1.1, where the server closes the connection; mosquitto does not
    /// where the session goes on.
    taken_over: HashSet<String>,
}

impl Differences {
    pub(crate) fn of(script: &Script) -> Self {
        let mut taken_over = HashSet::new();
        let mut wills: Vec<Option<String>> = script.versions.iter().map(|_| None).collect();
        for (at, step) in script.steps.iter().enumerate() {
            let will = wills.get_mut(step.who()).expect("a client of the script");
            match step {
                Step::Connect { .. } => taken_over.extend(will.replace(will_text(at))),
                Step::Disconnect { .. } | Step::Kill { .. } => *will = None,
                Step::Subscribe { .. }
                | Step::Unsubscribe { .. }
                | Step::Publish { .. }
                | Step::Leave { .. } => {}
            }
        }
        Self { taken_over }
    }

    /// The answers of one step as they are compared.
    pub(crate) fn even(&self, answers: &Answers) -> Vec<(usize, Vec<Seen>)> {
        let kept = |seen: Seen| self.kept(seen);
        let parts = answers.iter().map(|(who, seen)| (*who, seen::part(seen)));
        parts.map(|(who, part)| (who, part.into_iter().filter_map(kept).collect())).collect()
    }

    fn kept(&self, seen: Seen) -> Option<Seen> {
        match seen {
            // mosquitto says "no matching subscribers" at QoS 1 alone, we say it at both levels.
            Seen::Taken(0x10) => Some(Seen::Taken(0)),
            // mosquitto ends a connection that is taken over without DISCONNECT.
            Seen::Told(0x8E) => None,
            Seen::Message(message) if self.taken_over.contains(&message.text) => None,
            other => Some(other),
        }
    }
}
