//! What is left of the problem if only hard deadlines, windows and nested caps count: a network. In slots of one length
//! its flow is an assignment; with work that may be interrupted, a flow that is too small is a proof.

use std::collections::BTreeMap;

use protocol::Wall;

use super::board::{Board, usable};
use super::explain::full;
use super::flow::Network;
use super::ground::{Ground, Span, of};
use super::plan::Infeasible;
use super::problem::Job;
use super::reason::{Cut, Reason};

/// Jobs that may use the same time and take one of each of the same nested resources.
#[derive(Debug)]
struct Kind {
    /// In the order of their names.
    jobs: Vec<usize>,
    spans: Vec<Span>,
    /// The innermost resource first.
    chain: Vec<usize>,
    work: u64,
    shortest: u64,
}

/// Starts for as many jobs with hard deadlines as possible, if all took as long as the longest. `board` holds only what
/// cannot be moved.
pub(super) fn assign(ground: &Ground<'_>, board: &Board<'_>) -> Vec<(u64, usize)> {
    let kinds = kinds(ground, board);
    let jobs = kinds.iter().flat_map(|kind| &kind.jobs);
    let longest = jobs.filter_map(|job| ground.job(*job)).map(Job::length).max().unwrap_or(1);
    let all: Vec<Span> = kinds.iter().flat_map(|kind| kind.spans.iter().copied()).collect();
    let mut slots = Vec::new();
    for (open, close) in joined(all) {
        let count = (close - open) / longest;
        slots.extend((0..count).map(|n| (open + n * longest, open + (n + 1) * longest)));
    }
    let mut net = Net::new();
    let mut uses = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let count = u64::try_from(kind.jobs.len()).unwrap_or(u64::MAX);
        let node = net.network.node();
        net.network.edge(net.source, node, count);
        for (open, close) in &kind.spans {
            let first = slots.partition_point(|slot| slot.0 < *open);
            for slot in slots.iter().skip(first).take_while(|slot| slot.1 <= *close) {
                let left = |resource: usize| {
                    let line = board.timeline(resource);
                    let left = line.map_or(i64::MAX, |line| line.least(slot.0, slot.1));
                    u64::try_from(left).unwrap_or(0)
                };
                let into = net.enter(&kind.chain, slot.0, left);
                let edge = net.network.edge(node, into, count);
                uses.push((slot.0, number, edge));
                if net.network.edges() > EDGES {
                    return Vec::new();
                }
            }
        }
    }
    net.network.fill(net.source, net.sink);
    let mut waiting: Vec<_> = kinds.iter().map(|kind| kind.jobs.iter()).collect();
    let mut starts = Vec::new();
    uses.sort_unstable();
    for (start, number, edge) in uses {
        let jobs = waiting.get_mut(number).into_iter().flatten();
        let count = usize::try_from(net.network.carried(edge)).unwrap_or(usize::MAX);
        starts.extend(jobs.take(count).map(|job| (start, *job)));
    }
    starts
}

/// A proof that not all hard deadlines can be kept, if there is one of this sort.
pub(super) fn prove(ground: &Ground<'_>, board: &Board<'_>) -> Option<Infeasible> {
    let kinds = kinds(ground, board);
    let mut bounds: Vec<u64> =
        kinds.iter().flat_map(|kind| &kind.spans).flat_map(|span| [span.0, span.1]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut net = Net::new();
    let (mut nodes, mut direct) = (Vec::new(), Vec::new());
    for kind in &kinds {
        let node = net.network.node();
        net.network.edge(net.source, node, kind.work);
        nodes.push(node);
        let count = u64::try_from(kind.jobs.len()).unwrap_or(u64::MAX);
        for (open, close) in &kind.spans {
            let first = bounds.partition_point(|bound| bound < open);
            let inner = bounds.get(first..).unwrap_or_default();
            for (from, to) in inner.iter().zip(inner.iter().skip(1)) {
                if to > close {
                    break;
                }
                let left = |resource: usize| {
                    board.timeline(resource).map_or(u64::MAX / 4, |line| line.area(*from, *to))
                };
                let into = net.enter(&kind.chain, *from, left);
                let room = count.saturating_mul(to - from);
                direct.push((node, into, room));
                net.network.edge(node, into, room);
                if net.network.edges() > EDGES {
                    return None;
                }
            }
        }
    }
    let sent = net.network.fill(net.source, net.sink);
    if sent >= kinds.iter().map(|kind| kind.work).sum() {
        return None;
    }
    let inside = kinds.iter().zip(&nodes).filter(|(_, node)| net.network.is_reached(**node));
    let inside: Vec<&Kind> = inside.map(|(kind, _)| kind).collect();
    let cut = |from: usize, to: usize| net.network.is_reached(from) && !net.network.is_reached(to);
    let by_time = direct.iter().filter(|(from, to, _)| cut(*from, *to)).map(|(.., room)| *room);
    let mut filled = Vec::new();
    let mut room_ms: u64 = by_time.sum();
    for ((resource, at), (from, to, room)) in &net.inner {
        if cut(*from, *to) {
            room_ms = room_ms.saturating_add(*room);
            filled.push((*resource, *at));
        }
    }
    let mut names: Vec<String> =
        filled.iter().filter_map(|(r, at)| name(ground, *r, *at)).collect();
    names.sort();
    names.dedup();
    let jobs: Vec<usize> = inside.iter().flat_map(|kind| kind.jobs.iter().copied()).collect();
    let until = jobs.iter().map(|job| of(&ground.due, *job)).max().unwrap_or(0);
    let visits = jobs.iter().filter_map(|job| ground.job(*job)).map(|job| job.visit.clone());
    let mut visits: Vec<_> = visits.collect();
    visits.sort();
    let work_ms = inside.iter().map(|kind| kind.work).sum();
    let cut = Cut { visits: visits.len(), work_ms, room_ms, until: Wall(until), full: names };
    Some(Infeasible { visits, cut })
}

/// What a resource is called where it is full.
fn name(ground: &Ground<'_>, resource: usize, at: u64) -> Option<String> {
    let reason = full(ground, resource, at)?;
    if let Reason::DomainCap { domain, .. } | Reason::MinAvailable { domain, .. } = &reason {
        return Some(domain.clone());
    }
    Some(reason.code().to_owned())
}

/// A network that a flow enters at the innermost resources and leaves at the outermost.
#[derive(Debug)]
struct Net {
    network: Network,
    source: usize,
    sink: usize,
    /// By resource and time: the node before its limit, the one behind it, and the limit.
    inner: BTreeMap<(usize, u64), (usize, usize, u64)>,
}

impl Net {
    fn new() -> Self {
        let mut network = Network::default();
        let (source, sink) = (network.node(), network.node());
        Self { network, source, sink, inner: BTreeMap::new() }
    }

    /// The node to enter a chain of resources by at a time; the sink if there is no chain.
    fn enter(&mut self, chain: &[usize], at: u64, left: impl Fn(usize) -> u64) -> usize {
        let mut behind = self.sink;
        for resource in chain.iter().rev() {
            if let Some((node, ..)) = self.inner.get(&(*resource, at)) {
                behind = *node;
                continue;
            }
            let node = self.network.node();
            let room = left(*resource);
            self.network.edge(node, behind, room);
            self.inner.insert((*resource, at), (node, behind, room));
            behind = node;
        }
        behind
    }
}

/// All jobs that have a hard deadline, or are waited for by one that has, and are not on the board.
fn kinds(ground: &Ground<'_>, board: &Board<'_>) -> Vec<Kind> {
    let mut kinds = BTreeMap::<(Vec<Span>, Vec<usize>), Kind>::new();
    let mut numbers: Vec<usize> = (0..ground.problem.jobs.len()).collect();
    numbers.sort_unstable_by_key(|number| of(&ground.names, *number));
    for number in numbers {
        let due = of(&ground.due, number);
        let Some(job) = ground.job(number).filter(|_| board.start(number).is_none()) else {
            continue;
        };
        if due == u64::MAX {
            continue;
        }
        let spans = usable(ground, job, due.min(ground.problem.until.0));
        // Who could not be in time even if it were alone needs no proof and helps none.
        if spans.is_empty() {
            continue;
        }
        let chain = chain(ground, job);
        let kind = kinds.entry((spans, chain)).or_insert_with_key(|(spans, chain)| Kind {
            jobs: Vec::new(),
            spans: spans.clone(),
            chain: chain.clone(),
            work: 0,
            shortest: u64::MAX,
        });
        kind.jobs.push(number);
        kind.work = kind.work.saturating_add(job.length());
        kind.shortest = kind.shortest.min(job.length());
    }
    // By who is in it, not by the numbers of resources: those depend on how the problem was told.
    let mut kinds: Vec<Kind> = kinds.into_values().collect();
    let first = |kind: &Kind| kind.jobs.first().map(|job| of(&ground.names, *job));
    kinds.sort_unstable_by_key(first);
    kinds
}

/// The longest chain of nested resources of which a job takes exactly one all the time.
fn chain(ground: &Ground<'_>, job: &Job) -> Vec<usize> {
    let whole = |resource: usize| {
        let one = |demand: &&super::problem::Demand| {
            demand.resource == resource
                && demand.amount == 1
                && demand.shape.is_none()
                && demand.part.is_none()
        };
        let supplied = job.supplies.iter().any(|supply| supply.resource == resource);
        job.demands.iter().filter(|demand| demand.resource == resource).count() == 1
            && job.demands.iter().any(|demand| one(&demand))
            && !supplied
    };
    let outward = |leaf: usize| {
        let mut chain = Vec::new();
        let mut at = Some(leaf).filter(|leaf| whole(*leaf));
        while let Some(resource) = at.filter(|resource| !chain.contains(resource)) {
            chain.push(resource);
            let outer = ground.problem.resources.get(resource).and_then(|r| r.within);
            at = outer.filter(|outer| whole(*outer));
        }
        chain
    };
    let chains = job.demands.iter().map(|demand| outward(demand.resource));
    chains.rev().max_by_key(Vec::len).unwrap_or_default()
}

/// Spans ascending and apart.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from < last.1 => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

/// How large a network may become.
const EDGES: usize = 300_000;
