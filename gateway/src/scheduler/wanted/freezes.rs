//! Freezes: times that operators exclude while the fleet runs.

use maintenance::policy::{Freeze, Selector};
use maintenance::{Host, Interval};
use protocol::Wall;
use serde::{Deserialize, Serialize};
use store::Reader;

use super::change::{Acting, Step, check_name, put, value};
use super::control::Removal;
use crate::control::ControlError;
use crate::scheduler::documents::{DocumentError, Documents, every};

/// A freeze that an operator adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Its name; one is made when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// Which gateways, by their labels; all when empty.
    #[serde(default)]
    pub selector: Selector,
    /// From when on, in milliseconds since 1970; from now on when absent.
    #[serde(default)]
    pub from_ms: Option<u64>,
    /// Until when, in milliseconds since 1970.
    pub to_ms: u64,
    /// Kinds of work that it does not exclude.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Why.
    pub reason: String,
}

const PREFIX: &str = "freeze/";
/// What a drain is called that has no operation.
const DRAIN: &str = "drain_only";

/// The freezes that exclude drains of a host for which there is no operation.
///
/// # Errors
/// [`DocumentError::Store`], and [`DocumentError::Unreadable`] for any of them: what it excludes is not known.
pub fn freezes_on(host: &Host, reader: &mut dyn Reader) -> Result<Vec<Freeze>, DocumentError> {
    let mut freezes = every::<Freeze>(reader, PREFIX)?;
    freezes.retain(|freeze| freeze.excludes(host, DRAIN));
    Ok(freezes)
}

impl Documents {
    /// All of them, by name; also those that are over.
    pub(in crate::scheduler) fn freezes(&mut self) -> Result<Vec<Freeze>, ControlError> {
        self.kind(PREFIX)
    }

    /// Adds one; the same once more is answered with what is there.
    pub(in crate::scheduler) fn add_freeze(
        &mut self,
        request: &FreezeRequest,
        acting: &Acting<'_>,
    ) -> Result<Freeze, ControlError> {
        let invalid = |why: String| ControlError::Invalid(why);
        request.id.iter().try_for_each(|id| check_name("freeze", id))?;
        self.change(acting, |documents, seq| {
            let id = request.id.clone().unwrap_or_else(|| format!("freeze-{seq}"));
            let from = request.from_ms.map_or(acting.now, Wall);
            let to = Wall(request.to_ms);
            let freeze = Freeze {
                id: id.clone(),
                selector: request.selector.clone(),
                interval: Interval { from, to },
                reason: request.reason.clone(),
                by: acting.by.to_owned(),
                allow: request.allow.clone(),
            };
            freeze.check().map_err(|why| invalid(why.to_string()))?;
            let (over, stored): (Vec<_>, Vec<_>) =
                documents.freezes()?.into_iter().partition(|it| it.interval.to <= acting.now);
            if stored.iter().any(|it| it.id == id) {
                return Err(ControlError::Refused(format!("there is a freeze {id} already")));
            }
            if stored.len() >= acting.most {
                let most = acting.most;
                let why = format!(
                    "limits.maintenance_documents allows {most}, and as many freezes are there"
                );
                return Err(ControlError::Refused(why));
            }
            // What is over excludes nothing any more; the audit still tells of it.
            let gone = over.iter().map(|it| Self::delete_of(&format!("{PREFIX}{}", it.id)));
            let mut puts: Vec<_> = gone.collect();
            puts.push(put(&format!("{PREFIX}{id}"), &freeze)?);
            Ok(Step {
                action: "freeze.added",
                object: format!("freeze {id}"),
                before: None,
                after: value(&freeze),
                reason: request.reason.clone(),
                puts,
                made: freeze,
            })
        })
    }

    /// Takes one away.
    pub(in crate::scheduler) fn remove_freeze(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<Freeze, ControlError> {
        let Removal { name, reason, .. } = removal;
        self.change(acting, |documents, _| {
            let stored = documents.freezes()?;
            let Some(old) = stored.into_iter().find(|it| it.id == *name) else {
                return Err(ControlError::Missing(format!("there is no freeze {name}")));
            };
            let (object, key) = (format!("freeze {name}"), format!("{PREFIX}{name}"));
            Ok(Step::removal("freeze.removed", object, reason, (&key, old)))
        })
    }
}

#[cfg(test)]
mod tests {
    use maintenance::{HostState, Intervals};
    use protocol::{GatewayId, Incarnation};
    use store::{MemoryStore, Store as _, Write};

    use super::*;

    #[test]
    fn the_windows_of_a_host_itself_heed_the_freezes_that_are_about_it_or_cannot_be_read() {
        let store = MemoryStore::new();
        let write = |key: &str, value: Vec<u8>| {
            let puts = vec![Documents::put_bytes(key, value, store::Expect::Any)];
            let write = Write { puts: puts.into(), ..Write::default() };
            store.writer().unwrap().commit(&[write]).unwrap();
        };
        let freeze = |id: &str, from, selector: &str, allow: &[&str]| {
            let freeze = Freeze {
                id: id.to_owned(),
                selector: selector.parse().unwrap(),
                interval: Interval { from: Wall(from), to: Wall(from + 10) },
                reason: "launch".to_owned(),
                by: "ada".to_owned(),
                allow: allow.iter().map(|kind| (*kind).to_owned()).collect(),
            };
            write(&format!("{PREFIX}{id}"), serde_json::to_vec(&freeze).unwrap());
        };
        freeze("a", 100, "region=eu", &["restart"]);
        freeze("b", 200, "region=us", &[]);
        freeze("c", 300, "region=eu", &["drain_only"]);
        for n in 0..300 {
            freeze(&format!("d-{n:03}"), 400 + 10 * n, "", &[]);
        }
        let id = GatewayId::new("gw-1").unwrap();
        let mut host = Host::new(id, Incarnation(1), HostState::Serving);
        host.labels.insert("region".to_owned(), "eu".to_owned());
        let mut reader = store.reader().unwrap();
        let found = freezes_on(&host, &mut *reader).unwrap();
        let excluded: Intervals = found.iter().map(|it| it.interval).collect();
        let spans = [(100, 110), (400, 3_400)];
        let spans = spans.map(|(from, to)| Interval { from: Wall(from), to: Wall(to) });
        assert_eq!(excluded.as_slice(), spans);
        write("freeze/e", b"{}".to_vec());
        assert!(freezes_on(&host, &mut *reader).is_err());
    }
}
