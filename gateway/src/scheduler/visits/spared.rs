//! Which gateways are spared the clients of one that a visit drains: those that are visited later themselves.

use maintenance::operation::Class;
use maintenance::planner::Published;
use maintenance::{HostState, Taker, spared};
use protocol::GatewayId;

use super::begin::PLAN;
use super::document::VisitDocument;
use crate::scheduler::documents::DocumentError;
use crate::scheduler::host::HostDocument;
use crate::scheduler::thread::Scheduler;

impl Scheduler {
    /// Whom the clients of this host are not sent to, as far as the plan and the answers of the hosts go; without them, nobody.
    pub(super) fn spared_in(&mut self, document: &VisitDocument) -> Vec<GatewayId> {
        let host = document.execution.host().clone();
        self.look_for_spared(&host).unwrap_or_else(|why| {
            tracing::warn!("the clients of {host} may be moved once more than is needed: {why}");
            Vec::new()
        })
    }

    fn look_for_spared(&mut self, host: &GatewayId) -> Result<Vec<GatewayId>, DocumentError> {
        let Some((plan, _)) = self.documents.get::<Published>(PLAN)? else { return Ok(Vec::new()) };
        let hosts = self.documents.all::<HostDocument>(HostDocument::PREFIX)?;
        let is_drained_later = |id: &GatewayId| {
            plan.visits.iter().any(|planned| {
                planned.visit.host == *id
                    && match planned.visit.class {
                        Class::Hot | Class::InPlace => false,
                        Class::Drain | Class::Absent => true,
                    }
            })
        };
        let carries = |known: &HostDocument| known.answer.load.connections;
        let clients = hosts.iter().find(|it| it.host.id == *host).map_or(0, carries);
        let others =
            hosts.iter().filter(|it| it.host.id != *host && it.host.state == HostState::Serving);
        let takers: Vec<_> = others
            .map(|known| Taker {
                id: known.host.id.clone(),
                carries: carries(known),
                most: match known.host.capacity.connections {
                    0 => u64::MAX,
                    most => most,
                },
                drained_later: is_drained_later(&known.host.id),
            })
            .collect();
        Ok(spared(&takers, clients))
    }
}
