//! `maintenance needs` and `estimates`: what hosts say they need, and how long work takes.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use maintenance::fleet::Need;
use maintenance::operation::{Learned, OpKind};
use protocol::Incarnation;
use serde_json::json;

use super::fleet::{Fleet, path, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::http::{EstimateList, HostList, OperationList};
use crate::scheduler::{HostStatus, OperationDocument, need_met_by, pending_for, request_for};

/// Arguments of `maintenance needs`.
#[derive(Debug, Clone, Args)]
pub struct NeedsArguments {
    /// Want an operation for each need for which there is none.
    #[arg(long, requires = "reason")]
    pub add: bool,
    /// Why, for people and the audit.
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub reason: Option<String>,
}

/// A need, and what would meet it.
#[derive(Debug, Clone)]
struct Proposal {
    host: String,
    need: Need,
    life: Incarnation,
    /// What would meet it.
    kind: OpKind,
    /// The pending operation that meets it.
    met_by: Option<String>,
}

/// Lists what hosts need; adds an operation for each where that is asked.
pub(super) fn needs(
    fleet: &Fleet,
    it: &NeedsArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let hosts: HostList = fleet.ask(async |api| api.get(&path(&["hosts"])).await)?;
    let known: OperationList = fleet.ask(async |api| api.get(&path(&["operations"])).await)?;
    let mut proposals: Vec<_> =
        hosts.hosts.iter().flat_map(|host| proposals(host, &known.operations)).collect();
    if let (true, Some(reason)) = (it.add, &it.reason) {
        let mut known = known.operations;
        for it in &mut proposals {
            // What was wanted for a need before it may meet this one, too.
            it.find(&known);
            if it.met_by.is_some() {
                continue;
            }
            let request = request_for((&it.host, it.life), &it.need, reason);
            let added: OperationList =
                fleet.ask(async |api| api.post(&path(&["operations"]), &request).await)?;
            known.extend(added.operations);
            it.met_by = request.id;
        }
    }
    let told: Vec<_> = proposals.iter().map(told).collect();
    print(&told, &rows(&proposals), json, out)
}

/// Lists how long work takes.
pub(super) fn estimates(fleet: &Fleet, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let list: EstimateList = fleet.ask(async |api| api.get(&path(&["estimates"])).await)?;
    let titles = ["work", "times", "half take up to", "95% take up to"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    rows.extend(list.estimates.iter().map(|Learned { kind, samples, takes }| {
        vec![kind.clone(), samples.to_string(), seconds(takes.p50), seconds(takes.p95)]
    }));
    print(&list, &rows, json, out)
}

fn proposals(host: &HostStatus, known: &[OperationDocument]) -> Vec<Proposal> {
    let needs = host.answer.iter().filter(|_| host.fresh).flat_map(|answer| &answer.needs);
    needs
        .map(|need| {
            let (name, life) = (host.host.id.as_str().to_owned(), host.host.incarnation);
            let (need, kind) = (need.clone(), need_met_by(need));
            let mut proposal = Proposal { host: name, life, need, kind, met_by: None };
            proposal.find(known);
            proposal
        })
        .collect()
}

impl Proposal {
    /// Looks for what meets it.
    fn find(&mut self, known: &[OperationDocument]) {
        let met = pending_for(&self.need, &self.host, known);
        self.met_by = met.map(|it| it.operation.id.to_string());
    }
}

fn told(it: &Proposal) -> serde_json::Value {
    let kind = it.kind.name();
    json!({"host": it.host, "need": it.need, "proposed": kind, "operation": it.met_by})
}

fn rows(proposals: &[Proposal]) -> Vec<Vec<String>> {
    let titles = ["gateway", "needs", "by", "would be met by", "operation"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let dash = || "-".to_owned();
    rows.extend(proposals.iter().map(|it| {
        vec![
            it.host.clone(),
            it.need.detail.clone(),
            it.need.by.map_or_else(dash, |by| utc(by.0)),
            it.kind.name().to_owned(),
            it.met_by.clone().unwrap_or_else(dash),
        ]
    }));
    rows
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::NeedKind;
    use maintenance::operation::Due;
    use maintenance::{Host, HostState};
    use protocol::{GatewayId, Wall};

    use super::*;

    #[test]
    fn a_certificate_that_ends_becomes_an_operation_with_a_name_and_a_deadline() {
        let by = Some(Wall(7));
        let need = Need { kind: NeedKind::Certificate, by, detail: "it ends".to_owned() };
        let proposal = Proposal {
            host: "gw-1".to_owned(),
            life: Incarnation(1),
            need,
            kind: OpKind::CertRotate,
            met_by: None,
        };
        let request = request_for((&proposal.host, proposal.life), &proposal.need, "soon");
        assert_eq!(request.id.as_deref(), Some("need-cert_rotate-gw-1-7"));
        assert_eq!(request.deadline, Some(Due { at: Wall(7), hard: false }));
        let silent = HostStatus {
            host: Host::new(GatewayId::new("gw-1").unwrap(), Incarnation(1), HostState::Lost),
            fresh: false,
            answer: None,
        };
        assert!(proposals(&silent, &[]).is_empty());
    }
}
