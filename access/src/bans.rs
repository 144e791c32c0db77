//! Whom operators keep out: client ids, users, addresses and networks, each until an end or for good.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use protocol::{ClientId, HashMap, Wall};

use crate::identity::Identity;
use crate::rights::network;

/// What a ban is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BanOn {
    /// A client id.
    Client(ClientId),
    /// A user, of any client.
    User(Arc<str>),
    /// An address, or all of a network.
    Address(IpNet),
}

/// Why something cannot be banned. The operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BanOnError {
    /// There is no such client id.
    #[error("no client can be called {0:?}")]
    Client(String),
    /// There is no such user.
    #[error("no user can be called {0:?}")]
    User(String),
    /// It is no address.
    #[error("{0:?} is no address and no network like 10.0.0.0/8")]
    Address(String),
}

/// Longest user name, in bytes: what MQTT can carry.
const USER_BYTES: usize = 65_535;

impl BanOn {
    /// A client id.
    ///
    /// # Errors
    /// [`BanOnError::Client`].
    pub fn client(text: &str) -> Result<Self, BanOnError> {
        ClientId::new(text).map(Self::Client).map_err(|_| BanOnError::Client(text.to_owned()))
    }

    /// A user.
    ///
    /// # Errors
    /// [`BanOnError::User`].
    pub fn user(text: &str) -> Result<Self, BanOnError> {
        if text.is_empty() || text.len() > USER_BYTES || text.contains('\0') {
            return Err(BanOnError::User(text.to_owned()));
        }
        Ok(Self::User(text.into()))
    }

    /// An address, or a network; an IPv4 address in IPv6 clothes is IPv4.
    ///
    /// # Errors
    /// [`BanOnError::Address`].
    pub fn address(text: &str) -> Result<Self, BanOnError> {
        network(text).map(Self::Address).ok_or_else(|| BanOnError::Address(text.to_owned()))
    }

    /// What kind of thing it is: `client`, `user` or `address`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::User(_) => "user",
            Self::Address(_) => "address",
        }
    }

    /// What it is called; an address alone without its prefix length.
    pub fn name(&self) -> String {
        match self {
            Self::Client(client) => client.as_str().to_owned(),
            Self::User(user) => user.to_string(),
            Self::Address(net) if net.prefix_len() == net.max_prefix_len() => {
                net.addr().to_string()
            }
            Self::Address(net) => net.to_string(),
        }
    }
}

/// Everything that is banned. As large as whoever keeps the bans lets it become; looked up in a few steps, and in none
/// while nothing is banned.
#[derive(Debug, Default)]
pub struct Bans {
    clients: HashMap<ClientId, Wall>,
    users: HashMap<Arc<str>, Wall>,
    networks: HashMap<IpNet, Wall>,
    /// The prefix lengths among the networks, IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
}

/// A ban without an end.
const NEVER: Wall = Wall(u64::MAX);

impl Bans {
    /// These, each until it ends, if it does; of two on one the later counts.
    pub fn of(bans: impl IntoIterator<Item = (BanOn, Option<Wall>)>) -> Self {
        let mut it = Self::default();
        for (on, until) in bans {
            let until = until.unwrap_or(NEVER);
            match on {
                BanOn::Client(client) => drop(it.clients.insert(client, until)),
                BanOn::User(user) => drop(it.users.insert(user, until)),
                BanOn::Address(net) => {
                    let [v4, v6] = &mut it.lengths;
                    let lengths = if net.addr().is_ipv4() { v4 } else { v6 };
                    if !lengths.contains(&net.prefix_len()) {
                        lengths.push(net.prefix_len());
                    }
                    it.networks.insert(net, until);
                }
            }
        }
        it
    }

    /// Whether nothing is banned.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.users.is_empty() && self.networks.is_empty()
    }

    /// How much is banned, also what ended and was not forgotten yet.
    pub fn len(&self) -> usize {
        self.clients.len() + self.users.len() + self.networks.len()
    }

    /// Whether an address is banned now, or a network that it is in.
    pub fn has_address(&self, address: IpAddr, now: Wall) -> bool {
        if self.networks.is_empty() {
            return false;
        }
        let address = address.to_canonical();
        let [v4, v6] = &self.lengths;
        let lengths = if address.is_ipv4() { v4 } else { v6 };
        lengths.iter().any(|length| {
            let net = IpNet::new(address, *length).map(|net| net.trunc());
            net.is_ok_and(|net| holds(self.networks.get(&net), now))
        })
    }

    /// The kind of ban that somebody is under now: `client`, `user` or `address`.
    pub fn kind_of(&self, who: &Identity, now: Wall) -> Option<&'static str> {
        if self.is_empty() {
            return None;
        }
        let of_user = |user: &Arc<str>| holds(self.users.get(user), now);
        if holds(self.clients.get(&who.client), now) {
            Some("client")
        } else if who.user.as_ref().is_some_and(of_user) {
            Some("user")
        } else if who.address.is_some_and(|address| self.has_address(address, now)) {
            Some("address")
        } else {
            None
        }
    }
}

fn holds(until: Option<&Wall>, now: Wall) -> bool {
    until.is_some_and(|until| now < *until)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(client: &str, user: Option<&str>, address: Option<&str>) -> Identity {
        Identity {
            user: user.map(Arc::from),
            address: address.map(|it| it.parse().unwrap()),
            ..Identity::anonymous(ClientId::new(client).unwrap())
        }
    }

    #[test]
    fn each_kind_keeps_out_whom_it_is_on_and_nobody_else() {
        let bans = Bans::of([
            (BanOn::client("bad").unwrap(), None),
            (BanOn::user("mallory").unwrap(), None),
            (BanOn::address("192.0.2.7").unwrap(), None),
            (BanOn::address("10.1.2.3/8").unwrap(), None),
            (BanOn::address("2001:db8::/32").unwrap(), None),
        ]);
        let kind = |client, user, address| bans.kind_of(&who(client, user, address), Wall(5));
        assert_eq!(kind("bad", None, None), Some("client"));
        assert_eq!(kind("x", Some("mallory"), None), Some("user"));
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "10.200.0.1", "2001:db8:9::1"] {
            assert_eq!(kind("x", None, Some(address)), Some("address"), "{address}");
        }
        for address in ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::1"] {
            assert_eq!(kind("mallory", Some("bad"), Some(address)), None, "{address}");
        }
        assert_eq!(bans.len(), 5);
    }

    #[test]
    fn a_ban_ends_when_it_says_and_a_wider_one_goes_on() {
        let bans = Bans::of([
            (BanOn::client("bad").unwrap(), Some(Wall(10))),
            (BanOn::address("10.0.0.1").unwrap(), Some(Wall(10))),
            (BanOn::address("10.0.0.0/24").unwrap(), Some(Wall(20))),
        ]);
        let kind = |at| bans.kind_of(&who("bad", None, Some("10.0.0.1")), Wall(at));
        assert_eq!((kind(9), kind(10), kind(19), kind(20)), {
            (Some("client"), Some("address"), Some("address"), None)
        });
    }

    #[test]
    fn what_cannot_be_is_told_and_what_can_be_has_one_name() {
        assert!(BanOn::client("").is_err() && BanOn::user("").is_err());
        assert!(BanOn::address("10.0.0.0/33").is_err() && BanOn::address("host").is_err());
        let names = ["10.1.2.3/8", "::ffff:10.0.0.1", "2001:db8::5/64"];
        let names = names.map(|it| BanOn::address(it).unwrap().name());
        assert_eq!(names, ["10.0.0.0/8", "10.0.0.1", "2001:db8::/64"]);
    }

    proptest! {
        #[test]
        fn an_address_is_banned_if_a_network_that_holds_it_is(
            nets in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..8),
            address in any::<u32>(),
        ) {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(address));
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(bits, len)| {
                    IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc()
                })
                .collect();
            let bans = Bans::of(nets.iter().map(|net| (BanOn::Address(*net), None)));
            let held = nets.iter().any(|net| net.contains(&address));
            prop_assert_eq!(bans.has_address(address, Wall(0)), held);
        }
    }
}
