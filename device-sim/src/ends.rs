//! Why connections ended that should have gone on, and why others were not made.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::Serialize;

use crate::device::End;

/// Reasons that are told apart; whatever else happens counts as [`OTHER`].
const REASONS: usize = 32;
const OTHER: &str = "other reasons";

/// Connections by the reason for which they ended or were not made, apart from those that were over as planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends(BTreeMap<String, u64>);

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// In words.
    pub why: String,
    /// Connections that ended so, and tries that came to nothing for it.
    pub connections: u64,
}

impl Ends {
    pub(crate) fn note(&mut self, why: String) {
        let known = self.0.len() < REASONS || self.0.contains_key(&why);
        *self.0.entry(if known { why } else { OTHER.to_owned() }).or_default() += 1;
    }

    /// Those of another part of the load, too.
    pub(crate) fn add(&mut self, others: Self) {
        for (why, connections) in others.0 {
            let known = self.0.len() < REASONS || self.0.contains_key(&why);
            *self.0.entry(if known { why } else { OTHER.to_owned() }).or_default() += connections;
        }
    }

    /// The most frequent first.
    pub fn list(&self) -> Vec<Ended> {
        let one = |(why, connections): (&String, &u64)| Ended {
            why: why.clone(),
            connections: *connections,
        };
        let mut all: Vec<Ended> = self.0.iter().map(one).collect();
        all.sort_by_key(|ended| std::cmp::Reverse(ended.connections));
        all
    }
}

impl Serialize for Ends {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list().serialize(serializer)
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Ended { why, connections }) in self.list().iter().enumerate() {
            write!(f, "{}{connections}: {why}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// In words; nothing if it was over as planned.
pub(crate) fn why(end: &io::Result<End>) -> Option<String> {
    Some(match end {
        Ok(End::Left) => return None,
        Ok(End::Closed) => "the broker closed the connection".to_owned(),
        Ok(End::Silent) => "the broker did not answer in time".to_owned(),
        Ok(End::Refused(reason, _)) => {
            format!("the broker said {reason:?} (0x{:02X})", reason.code())
        }
        Ok(End::Broke(violation)) => format!("the broker broke the standard: {violation}"),
        Err(error) => of_error(error),
    })
}

/// What the system or TLS says; with what to do where that is not the broker's fault.
pub(crate) fn of_error(error: &io::Error) -> String {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    let descriptors = error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code));
    let no_port = error.kind() == io::ErrorKind::AddrNotAvailable;
    match (descriptors, no_port) {
        (true, _) => format!("{error}: each connection needs one, see ulimit -n"),
        (_, true) => format!("{error}: this machine has no port left for that broker"),
        (false, false) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_the_most_frequent_comes_first() {
        let mut ends = Ends::default();
        assert_eq!(ends.to_string(), "");
        for why in ["a", "b", "b"] {
            ends.note(why.to_owned());
        }
        let mut more = Ends::default();
        more.note("a".to_owned());
        more.note("a".to_owned());
        ends.add(more);
        assert_eq!(ends.to_string(), "3: a; 2: b");
        let json = serde_json::to_string(&ends).unwrap();
        assert_eq!(json, r#"[{"why":"a","connections":3},{"why":"b","connections":2}]"#);
    }

    #[test]
    fn there_are_only_so_many_reasons() {
        let mut ends = Ends::default();
        (0..100).for_each(|number| ends.note(number.to_string()));
        ends.note("0".to_owned());
        let all = ends.list();
        assert_eq!(all.len(), REASONS + 1);
        assert_eq!(all[0], Ended { why: OTHER.to_owned(), connections: 100 - REASONS as u64 });
        assert_eq!(all[1], Ended { why: "0".to_owned(), connections: 2 });
    }

    #[test]
    fn what_is_this_machines_fault_says_so() {
        let files = of_error(&io::Error::from_raw_os_error(24));
        assert!(files.contains("ulimit -n"), "{files}");
        let ports = of_error(&io::Error::from_raw_os_error(99));
        assert!(ports.contains("no port left"), "{ports}");
    }
}
