//! `maintenance needs` and `estimates`: what hosts say they need, and how long work takes.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use maintenance::fleet::Need;
use maintenance::operation::{Learned, OpKind};
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
    /// None if only a person can say what is to be done.
    kind: Option<OpKind>,
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
        for proposal in proposals.iter_mut().filter(|it| it.met_by.is_none()) {
            let Some(request) = request_for(&proposal.host, &proposal.need, reason) else {
                continue;
            };
            let _: OperationList =
                fleet.ask(async |api| api.post(&path(&["operations"]), &request).await)?;
            proposal.met_by = request.id;
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
            let kind = need_met_by(need);
            let id = host.host.id.as_str();
            let met = kind.as_ref().and_then(|kind| pending_for(kind, id, known));
            let met_by = met.map(|it| it.operation.id.to_string());
            let host = host.host.id.as_str().to_owned();
            Proposal { host, need: need.clone(), kind, met_by }
        })
        .collect()
}

fn told(it: &Proposal) -> serde_json::Value {
    let kind = it.kind.as_ref().map(OpKind::name);
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
            it.kind.as_ref().map_or_else(|| "a version".to_owned(), |kind| kind.name().to_owned()),
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
    use protocol::{GatewayId, Incarnation, Wall};

    use super::*;

    #[test]
    fn a_certificate_that_ends_becomes_an_operation_with_a_name_and_a_deadline() {
        let by = Some(Wall(7));
        let need = Need { kind: NeedKind::Certificate, by, detail: "it ends".to_owned() };
        let proposal = Proposal {
            host: "gw-1".to_owned(),
            need,
            kind: Some(OpKind::CertRotate),
            met_by: None,
        };
        let request = request_for(&proposal.host, &proposal.need, "soon").unwrap();
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
