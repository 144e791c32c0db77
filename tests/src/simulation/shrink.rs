//! A seed that breaks a promise, made smaller: what need not happen for that is left out.

use std::collections::BTreeSet;

use super::scenario::{Report, Scenario};

/// Plays that one search may take.
const PLAYS: u32 = 400;

/// A search for a smaller scenario that breaks the same promise.
#[derive(Debug)]
struct Search {
    smallest: Report,
    promise: &'static str,
    plays: u32,
}

/// The smallest scenario found that breaks the same promise as this one did: with fewer faults and fewer devices.
/// Answers the same report if it broke none.
pub fn shrink(report: Report) -> Report {
    let Some(promise) = report.breach.as_ref().map(|breach| breach.promise) else { return report };
    let (faults, devices) = (report.faults, report.scenario.devices);
    let mut search = Search { smallest: report, promise, plays: 0 };
    loop {
        let before = search.smallest.scenario.clone();
        search.leave_out(faults, |scenario| &mut scenario.spared);
        search.leave_out(devices, |scenario| &mut scenario.silent);
        if search.smallest.scenario == before || search.plays >= PLAYS {
            return search.smallest;
        }
    }
}

impl Search {
    /// Tries to leave out half of what is still there, then quarters, down to single ones.
    fn leave_out(&mut self, all: usize, out: impl Fn(&mut Scenario) -> &mut BTreeSet<usize>) {
        let mut portion = all.div_ceil(2);
        while portion > 0 && self.plays < PLAYS {
            let mut from = 0;
            loop {
                let mut trial = self.smallest.scenario.clone();
                let gone = out(&mut trial);
                let left: Vec<usize> = (0..all).filter(|number| !gone.contains(number)).collect();
                let some: Vec<usize> = left.into_iter().skip(from).take(portion).collect();
                if some.is_empty() || self.plays >= PLAYS {
                    break;
                }
                gone.extend(&some);
                self.plays += 1;
                let report = trial.play();
                if report.breach.as_ref().is_some_and(|breach| breach.promise == self.promise) {
                    self.smallest = report;
                } else {
                    from += portion;
                }
            }
            portion /= 2;
        }
    }
}
