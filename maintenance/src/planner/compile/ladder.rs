//! The ladder of a campaign: clients go to gateways that are done, or that are not drained at all, so that few of them are moved twice.

use std::collections::{BTreeMap, BTreeSet};

use protocol::GatewayId;

use super::jobs::Member;
use super::limits::usable;
use super::outlook::{Outlook, Presence};
use crate::fleet::{Domain, Host};
use crate::operation::CampaignId;
use crate::planner::problem::{Demand, Limit, Resource, Rule, Steps, Supply};

/// Where clients have a place for good, by campaign and region. What is limited is how many sit where they will be moved again:
/// those of the first batch, which nobody could take for good, and as many more as policies allow.
#[derive(Debug, Default)]
pub(super) struct Ladder<'a>(BTreeMap<(&'a CampaignId, Domain), Rung>);

/// One campaign in one region.
#[derive(Debug, Clone, Copy, Default)]
struct Rung {
    resource: usize,
    /// What may be moved twice, in hundredths of a percent; none if nobody says.
    second_moves: Option<u32>,
    /// What must stay free of connections, in percent.
    free: u8,
    /// Clients of all that are drained, of those in the first of several batches, and of the one that has most.
    all: u64,
    first: u64,
    most: u64,
}

impl<'a> Ladder<'a> {
    /// The ladders that policies ask for, and their resources behind those that there are. Nobody is asked to do what no order
    /// can: the one that has the most clients may go in any case.
    pub(super) fn new(
        outlook: &Outlook<'a>,
        members: &[Member<'a>],
        resources: &mut Vec<Resource>,
    ) -> Self {
        let firsts = first_batches(outlook, members);
        let mut rungs = BTreeMap::<_, Rung>::new();
        for member in members.iter().filter(|member| member.drains()) {
            for (key, number) in rungs_of(member) {
                let rung = rungs.entry(key.clone()).or_default();
                let said = member.effective.second_moves.value;
                let said = rung.second_moves.into_iter().chain(said.filter(|_| member.binds()));
                rung.second_moves = said.min();
                rung.free = rung.free.max(member.effective.connections_percent.value);
                rung.all = rung.all.saturating_add(member.connections);
                rung.most = rung.most.max(member.connections);
                if firsts.get(key.0) == Some(&number) {
                    rung.first = rung.first.saturating_add(member.connections);
                }
            }
        }
        let drained: BTreeSet<&GatewayId> =
            members.iter().filter(|member| member.drains()).map(|member| member.id).collect();
        let mut ladder = Self::default();
        for (key, rung) in rungs {
            let Some(part) = rung.second_moves else { continue };
            let Some(room) = room(outlook, &key.1, rung.free, &drained) else { continue };
            let slack = u128::from(rung.all) * u128::from(part) / 10_000;
            let slack = u64::try_from(slack).unwrap_or(u64::MAX);
            let limit = slack.saturating_add(rung.first).saturating_add(room).max(rung.most);
            let steps = Steps::constant(i64::try_from(limit).unwrap_or(i64::MAX));
            let resource = resources.len();
            let limits = vec![Limit { rule: Rule::MoveOnce, steps }];
            resources.push(Resource { within: None, limits });
            ladder.0.insert(key, Rung { resource, ..rung });
        }
        ladder
    }

    /// What a member takes while it is active, and gives once it is over: its clients are somewhere else then, and it is empty.
    pub(super) fn of(&self, member: &Member<'a>) -> (Vec<Demand>, Vec<Supply>) {
        let (mut demands, mut supplies) = (Vec::new(), Vec::new());
        let Some(host) = member.host.filter(|_| member.drains()) else {
            return (demands, supplies);
        };
        let whole = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX);
        for rung in rungs_of(member).filter_map(|(key, _)| self.0.get(&key)) {
            let carries = member.connections;
            let takes = match host.capacity.connections {
                0 => rung.all,
                capacity => usable(capacity, rung.free, 0).saturating_sub(carries),
            };
            let (resource, amount) = (rung.resource, whole(carries));
            let demand = Demand { resource, amount, shape: None, part: None };
            demands.extend(Some(demand).filter(|demand| demand.amount > 0));
            let supply = Supply { resource, amount: whole(takes) };
            supplies.extend(Some(supply).filter(|supply| supply.amount > 0));
        }
        (demands, supplies)
    }
}

/// The ladders that a member is on, and with which batch.
fn rungs_of<'a>(
    member: &Member<'a>,
) -> impl Iterator<Item = ((&'a CampaignId, Domain), usize)> + use<'a> {
    let batches = member.visit.into_iter().flat_map(|visit| &visit.batches);
    let region = member.host.map(region);
    batches.filter_map(move |batch| Some(((&batch.campaign, region.clone()?), batch.number)))
}

/// Clients stay in the region of their host, if it has one.
fn region(host: &Host) -> Domain {
    Domain::of(host, "region").unwrap_or_else(Domain::fleet)
}

/// The first of several batches of a campaign, as long as none of it is over.
fn first_batches<'a>(
    outlook: &Outlook<'_>,
    members: &[Member<'a>],
) -> BTreeMap<&'a CampaignId, usize> {
    let mut batches = BTreeMap::<&CampaignId, BTreeSet<usize>>::new();
    for visit in members.iter().filter_map(|member| member.visit) {
        for batch in &visit.batches {
            batches.entry(&batch.campaign).or_default().insert(batch.number);
        }
    }
    let has_begun = |campaign: &CampaignId| {
        outlook.finished.iter().any(|finished| finished.batch.campaign == *campaign)
    };
    batches.retain(|campaign, numbers| numbers.len() > 1 && !has_begun(campaign));
    batches.into_iter().filter_map(|(of, numbers)| Some((of, *numbers.first()?))).collect()
}

/// For how many more clients those of a region have room that serve and are not drained; none if one of them is not limited.
fn room(
    outlook: &Outlook<'_>,
    region: &Domain,
    free: u8,
    drained: &BTreeSet<&GatewayId>,
) -> Option<u64> {
    let mut room = 0_u64;
    for host in outlook.hosts {
        let stays = !drained.contains(&host.id) && outlook.ledger.is_registered(host);
        if !stays || !region.contains(host) || outlook.presence(host) != Presence::Serves {
            continue;
        }
        let carries = outlook.answer(host).map_or(0, |answer| answer.load.connections);
        let most = Some(host.capacity.connections).filter(|most| *most > 0)?;
        room = room.saturating_add(usable(most, free, 0).saturating_sub(carries));
    }
    Some(room)
}
