//! Bans as operators write them, as they are stored, and as they are told.

use std::time::Duration;

use access::{BanOn, BanOnError};
use jiff::Timestamp;
use protocol::Wall;
use serde::{Deserialize, Serialize};

/// What to ban, and how; one of `client`, `user` and `address`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BanRequest {
    /// Client id.
    pub client: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Address, or network such as `10.0.0.0/8`.
    pub address: Option<String>,
    /// Seconds until it ends; absent: it does not.
    pub for_s: Option<u64>,
    /// Why, for other operators; clients are not told.
    pub reason: Option<String>,
}

/// Which ban; one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BanNamed {
    /// Client id.
    pub client: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Address, or network such as `10.0.0.0/8`.
    pub address: Option<String>,
}

/// A ban that is asked for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBan {
    /// What is banned.
    pub on: BanOn,
    /// How long; none is for good.
    pub lasts: Option<Duration>,
    /// Why.
    pub reason: Option<String>,
    /// Which operator asks.
    pub by: String,
}

/// A ban, as it is stored and told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Client id that is banned, if it is on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// User that is banned, if it is on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address or network that is banned, if it is on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Since when, RFC 3339, UTC.
    pub since: Timestamp,
    /// When it ends; none if it does not.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Which operator set it.
    pub by: String,
}

/// Why a ban cannot be asked for. The operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BanFault {
    /// None of the three, or more than one.
    #[error("name one of client, user and address")]
    NotOne,
    /// What is named cannot be.
    #[error(transparent)]
    On(#[from] BanOnError),
    /// It would last no time, or too long.
    #[error("for_s must be 1 to {LONGEST_S}")]
    Lasts,
    /// The reason is too long.
    #[error("the reason may have {REASON_BYTES} bytes")]
    Reason,
}

/// Longest ban with an end: a hundred years.
const LONGEST_S: u64 = 3_155_760_000;
/// Longest reason.
const REASON_BYTES: usize = 256;

impl BanNamed {
    /// What it names.
    ///
    /// # Errors
    /// [`BanFault`], by what is wrong.
    pub fn on(&self) -> Result<BanOn, BanFault> {
        match (&self.client, &self.user, &self.address) {
            (Some(client), None, None) => Ok(BanOn::client(client)?),
            (None, Some(user), None) => Ok(BanOn::user(user)?),
            (None, None, Some(address)) => Ok(BanOn::address(address)?),
            _ => Err(BanFault::NotOne),
        }
    }
}

impl BanRequest {
    /// The ban that it asks for.
    ///
    /// # Errors
    /// [`BanFault`], by what is wrong.
    pub fn checked(self, by: String) -> Result<NewBan, BanFault> {
        let Self { client, user, address, for_s, reason } = self;
        let on = BanNamed { client, user, address }.on()?;
        if for_s.is_some_and(|s| !(1..=LONGEST_S).contains(&s)) {
            return Err(BanFault::Lasts);
        }
        if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES) {
            return Err(BanFault::Reason);
        }
        Ok(NewBan { on, lasts: for_s.map(Duration::from_secs), reason, by })
    }
}

impl NewBan {
    /// The ban, from now on.
    pub fn begin(&self, now: Wall) -> Ban {
        let name = self.on.name();
        let (mut client, mut user, mut address) = (None, None, None);
        match &self.on {
            BanOn::Client(_) => client = Some(name),
            BanOn::User(_) => user = Some(name),
            BanOn::Address(_) => address = Some(name),
        }
        let until = self.lasts.map(|lasts| timestamp(now.after(lasts)));
        let (reason, by) = (self.reason.clone(), self.by.clone());
        Ban { client, user, address, since: timestamp(now), until, reason, by }
    }
}

impl Ban {
    /// What it is on; none if it is none of ours.
    pub fn on(&self) -> Option<BanOn> {
        let (client, user, address) =
            (self.client.clone(), self.user.clone(), self.address.clone());
        BanNamed { client, user, address }.on().ok()
    }

    /// When it ends, if it does.
    pub fn ends(&self) -> Option<Wall> {
        let until = self.until?;
        Some(Wall(u64::try_from(until.as_millisecond()).unwrap_or_default()))
    }

    /// Whether it still holds.
    pub fn holds(&self, now: Wall) -> bool {
        self.ends().is_none_or(|end| now < end)
    }
}

fn timestamp(wall: Wall) -> Timestamp {
    let millis = i64::try_from(wall.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<NewBan, String> {
        let request: BanRequest = serde_json::from_str(text).map_err(|e| e.to_string())?;
        request.checked("op".to_owned()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_ban_is_stored_as_it_is_told_and_read_again() {
        let new = checked(r#"{"address": "10.1.0.0/8", "for_s": 60, "reason": "scan"}"#).unwrap();
        let ban = new.begin(Wall(1_000));
        let text = serde_json::to_string(&ban).unwrap();
        assert_eq!(
            text,
            r#"{"address":"10.0.0.0/8","since":"1970-01-01T00:00:01Z","until":"1970-01-01T00:01:01Z","reason":"scan","by":"op"}"#
        );
        let read: Ban = serde_json::from_str(&text).unwrap();
        assert_eq!((read.on(), read.ends()), (Some(new.on), Some(Wall(61_000))));
        assert!(read.holds(Wall(60_999)) && !read.holds(Wall(61_000)));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_what_is_wrong() {
        for (text, what) in [
            ("{}", "name one of"),
            (r#"{"client": "a", "user": "b"}"#, "name one of"),
            (r#"{"address": "a"}"#, "no address"),
            (r#"{"client": "a", "for_s": 0}"#, "for_s"),
            (r#"{"client": "a", "until": 0}"#, "unknown field"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        let long = format!(r#"{{"user": "a", "reason": "{}"}}"#, "x".repeat(257));
        assert!(checked(&long).unwrap_err().contains("256 bytes"));
    }
}
