//! `maintenance visit`: visits of the plan that are on their way.

use std::io::Write;

use clap::{Args, Subcommand};
use maintenance::execution::Execution;

use super::fleet::{Fleet, path, print};
use crate::cli::exit::{Exit, Failure};
use crate::http::ExecutionList;
use crate::scheduler::{OrderRequest, VisitDocument, VisitOrder};

/// Characters of why something failed that are shown in a line, from its begin and from its end; all of it is in the journal.
const WHY_BEGIN: usize = 60;
const WHY_END: usize = 100;

/// What to do about visits.
#[derive(Debug, Clone, Subcommand)]
pub enum VisitCommand {
    /// List the visits that are on their way, and those that are over.
    List,
    /// Begin no other step, and move nobody.
    Pause(OrderArguments),
    /// Go on.
    Resume(OrderArguments),
    /// Call it off; the gateway serves again. Not once its work has begun.
    Abort(OrderArguments),
    /// Give the step as much time again.
    Extend(OrderArguments),
    /// Move the rest of the clients without waiting for those that take them.
    ForceRest(OrderArguments),
    /// Try the step again that somebody must decide about.
    Retry(OrderArguments),
    /// Go on without it.
    Skip(OrderArguments),
}

/// Which visit, and why.
#[derive(Debug, Clone, Args)]
pub struct OrderArguments {
    /// The visit, such as gw-1/op-7.
    pub visit: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &VisitCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (order, of) = match command {
        VisitCommand::List => {
            let list: ExecutionList =
                fleet.ask(async |api| api.get(&path(&["executions"])).await)?;
            return print(&list, &rows(&list.executions), json, out);
        }
        VisitCommand::Pause(of) => (VisitOrder::Pause, of),
        VisitCommand::Resume(of) => (VisitOrder::Resume, of),
        VisitCommand::Abort(of) => (VisitOrder::Abort, of),
        VisitCommand::Extend(of) => (VisitOrder::Extend, of),
        VisitCommand::ForceRest(of) => (VisitOrder::ForceRest, of),
        VisitCommand::Retry(of) => (VisitOrder::Retry, of),
        VisitCommand::Skip(of) => (VisitOrder::Skip, of),
    };
    let OrderArguments { visit, reason } = of.clone();
    let request = OrderRequest { visit, order, reason };
    let told: VisitDocument =
        fleet.ask(async |api| api.post(&path(&["orders"]), &request).await)?;
    print(&told, &rows(std::slice::from_ref(&told)), json, out)
}

fn rows(visits: &[VisitDocument]) -> Vec<Vec<String>> {
    let titles = ["visit", "gateway", "stage", "step", "paused", "work", "why"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(visits.iter().map(|it| {
        let (execution, operations) = (&it.execution, &it.planned.operations);
        let kinds: Vec<_> = operations.iter().map(|operation| operation.kind.name()).collect();
        let step = step_word(execution);
        vec![
            execution.visit().to_string(),
            execution.host().to_string(),
            stage_word(execution),
            step.unwrap_or_else(|| "-".to_owned()),
            if execution.is_paused() { "yes" } else { "no" }.to_owned(),
            kinds.join(" "),
            execution.why().map_or_else(|| "-".to_owned(), |why| in_one_line(&why)),
        ]
    }));
    rows
}

/// Why something failed, in a line: of what is long the begin, which names it, and the end, where programs say what went wrong.
pub(super) fn in_one_line(why: &str) -> String {
    let words: Vec<&str> = why.split_whitespace().collect();
    let all: Vec<char> = words.join(" ").chars().collect();
    if all.len() <= WHY_BEGIN + WHY_END {
        return all.into_iter().collect();
    }
    let begin = all.iter().take(WHY_BEGIN);
    begin.chain(&['…']).chain(all.iter().skip(all.len() - WHY_END)).collect()
}

/// Where a visit stands, in one word.
pub(super) fn stage_word(execution: &Execution) -> String {
    word(execution.stage()).unwrap_or_default()
}

/// The step that goes on, if one does.
pub(super) fn step_word(execution: &Execution) -> Option<String> {
    execution.step().and_then(|step| word(&step))
}

/// Its name, without what it holds.
fn word(named: &impl serde::Serialize) -> Option<String> {
    let value = serde_json::to_value(named).ok()?;
    let holds = value.as_object().and_then(|map| map.keys().next());
    value.as_str().map(str::to_owned).or_else(|| holds.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_program_that_says_much_the_code_and_the_end_are_shown() {
        assert_eq!(in_one_line("exit_3: it went\nwrong\n"), "exit_3: it went wrong");
        let shown = in_one_line(&format!("exit_3: {}\nno such file", "x".repeat(4096)));
        assert!(shown.starts_with("exit_3: xxx") && shown.ends_with("xx no such file"), "{shown}");
        assert_eq!(shown.chars().count(), WHY_BEGIN + 1 + WHY_END);
    }
}
