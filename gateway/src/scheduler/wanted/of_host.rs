//! What operators and programs say of single gateways, of each so many things, by name: what speaks against visits of it, and when
//! they would suit it.

use protocol::{GatewayId, Wall};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::change::{Acting, Step, check_name, put, value};
use super::control::Removal;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents};

/// One of them, as it is stored: its kind, a slash, the gateway, a slash and its name.
pub(super) trait OfHost: Serialize + DeserializeOwned {
    /// What it is called.
    const KIND: &'static str;
    /// What the audit calls that one is added, or taken away.
    const ADDED: &'static str;
    const REMOVED: &'static str;

    fn host(&self) -> &str;

    fn name(&self) -> &str;

    fn is_over(&self, now: Wall) -> bool;

    fn key(host: &str, name: &str) -> String {
        format!("{}/{host}/{name}", Self::KIND)
    }
}

/// So many of a kind at one gateway.
pub(super) const MOST_OF_HOST: usize = 16;

/// What is said, and of which gateway.
#[derive(Debug)]
pub(in crate::scheduler) struct Said<T>(pub(super) Vec<(String, T)>);

impl<T: Clone> Said<T> {
    /// What is said of one gateway.
    pub(in crate::scheduler) fn of(&self, host: &GatewayId) -> Vec<T> {
        let own = self.0.iter().filter(|(of, _)| of == host.as_str());
        own.map(|(_, said)| said.clone()).collect()
    }
}

/// Whether a name can be given to something of a gateway that is registered.
pub(super) fn check_of_host<T: OfHost>(
    host: &str,
    name: &str,
    acting: &Acting<'_>,
) -> Result<(), ControlError> {
    check_name(T::KIND, name)?;
    if acting.hosts.iter().any(|known| known.id.as_str() == host) {
        return Ok(());
    }
    Err(ControlError::Invalid(format!("there is no gateway {host}")))
}

/// It would be over before it begins.
pub(super) fn is_over_already() -> ControlError {
    ControlError::Invalid("it is over before it begins".to_owned())
}

impl Documents {
    /// Those that are not over, by gateway and name.
    pub(super) fn in_force<T: OfHost>(&mut self, now: Wall) -> Result<Vec<T>, ControlError> {
        let mut all: Vec<T> = self.kind(&format!("{}/", T::KIND))?;
        all.retain(|it| !it.is_over(now));
        Ok(all)
    }

    /// All of a kind that are not over, and the keys of those that cannot be understood.
    pub(super) fn said<T: OfHost, S>(
        &mut self,
        now: Wall,
        as_said: fn(&T) -> S,
    ) -> Result<(Said<S>, Vec<String>), DocumentError> {
        let (all, unread) = self.with_unread::<T>(&format!("{}/", T::KIND))?;
        let in_force = all.iter().filter(|it| !it.is_over(now));
        let said = in_force.map(|it| (it.host().to_owned(), as_said(it))).collect();
        Ok((Said(said), unread.into_iter().map(|(key, _)| key).collect()))
    }

    /// Adds what `make` makes with the number of its entry in the audit, in the place of one of its name.
    pub(super) fn say_of_host<T: OfHost>(
        &mut self,
        (host, name, reason): (&str, &str, &str),
        acting: &Acting<'_>,
        make: impl Fn(u64) -> T,
    ) -> Result<T, ControlError> {
        let key = T::key(host, name);
        self.change(acting, |documents, seq| {
            let stored: Vec<T> = documents.kind(&T::key(host, ""))?;
            let old = stored.iter().find(|it| it.name() == name);
            let (over, there): (Vec<_>, Vec<_>) =
                stored.iter().partition(|it| it.is_over(acting.now));
            if there.iter().filter(|it| it.name() != name).count() >= MOST_OF_HOST {
                let why = format!("{host} has {MOST_OF_HOST} {}s; take one away", T::KIND);
                return Err(ControlError::Refused(why));
            }
            let made = make(seq);
            let gone = over.iter().map(|it| Self::delete_of(&T::key(host, it.name())));
            // The last write of a key counts.
            let mut puts: Vec<_> = gone.filter(|it| it.key != key.as_bytes()).collect();
            puts.push(put(&key, &made)?);
            Ok(Step {
                action: T::ADDED,
                object: format!("{} {host}/{name}", T::KIND),
                before: old.and_then(value),
                after: value(&made),
                reason: reason.to_owned(),
                puts,
                made,
            })
        })
    }

    /// Takes one away; its name is that of the gateway, a slash and its own.
    pub(super) fn take_of_host<T: OfHost>(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<T, ControlError> {
        let Removal { name, reason, .. } = removal;
        let key = format!("{}/{name}", T::KIND);
        self.change(acting, |documents, _| {
            let stored = documents.get::<T>(&key).map_err(unavailable)?;
            let Some((old, _)) = stored.filter(|(old, _)| !old.is_over(acting.now)) else {
                return Err(ControlError::Missing(format!("there is no {} {name}", T::KIND)));
            };
            Ok(Step::removal(T::REMOVED, format!("{} {name}", T::KIND), reason, (&key, old)))
        })
    }
}
