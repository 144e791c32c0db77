//! What a member of a shared group left unacknowledged goes to another member.

use fanout::{GroupKey, Neighbour, Pick};
use protocol::{Publication, Refs, RefsBuilder, TopicFilter};
use store::Append;

use super::{Ask, Forward, Hub, Output, Record, SharedMember, Turn};

impl Hub {
    /// Notes messages that a member gives back; they go when the step is over.
    pub(super) fn return_to_group(&mut self, text: &str, publications: Vec<Publication>) {
        if publications.is_empty() {
            return;
        }
        if let Ok((Some(share), filter)) = TopicFilter::parse_subscription(text) {
            let key = GroupKey { share, filter };
            for publication in publications {
                self.side.then(Output::Returned(Box::new((key.clone(), publication))));
            }
        }
    }

    /// Gives a message that came back to another member, wherever it is served. If nobody is left it is nobody's.
    pub fn give_to_another(
        &mut self,
        key: &GroupKey,
        publication: &Publication,
        cx: &mut Turn<'_>,
    ) {
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        let group = route.fleet.groups.iter().find(|(known, _)| known == key);
        let picked = group.and_then(|(_, group)| self.pick_member(&route, group, publication.qos));
        let Some(picked) = picked else { return };
        self.metrics.shared_returned.add(1);
        match picked {
            Pick::Durable(session, granted) => {
                let mut refs = RefsBuilder::default();
                refs.push(session, Refs::shared(granted.min(publication.qos)));
                let append = Append { body: publication.clone(), refs: refs.build() };
                cx.fx.first(Record::Append(append));
            }
            Pick::Neighbour(Neighbour::Worker(worker)) if worker == self.config.worker => {
                self.deliver_shared(publication, &[SharedMember(key.clone())], cx);
            }
            Pick::Neighbour(neighbour) => {
                let forward = Forward {
                    publication: publication.clone(),
                    plain: false,
                    shared: [SharedMember(key.clone())].into_iter().collect(),
                };
                cx.out.ask(match neighbour {
                    Neighbour::Worker(worker) => Ask::Workers(1 << worker, forward),
                    Neighbour::Peer(peer) => Ask::Peers(1 << peer, forward),
                });
            }
        }
    }
}
