//! Who is banned goes, and does not come.

use std::sync::Arc;

use access::{BanOn, Bans};

use super::gateway::Gateway;
use super::packets::*;
use crate::worker::Mail;

fn ban(gateway: &mut Gateway, names: &[&str]) {
    let bans = Bans::of(names.iter().map(|name| (BanOn::client(name).unwrap(), None)));
    gateway.mail(Mail::Bans(Arc::new(bans)));
}

#[test]
fn who_is_here_is_told_who_is_on_the_way_is_refused_and_the_others_stay() {
    let mut gateway = Gateway::new();
    let here = gateway.join(clean("a"));
    let other = gateway.join(clean("c"));
    let coming = gateway.connect(clean("b"));
    gateway.hear(here);
    gateway.hear(other);
    ban(&mut gateway, &["a", "b"]);
    gateway.settle();
    assert_eq!(gateway.hear(here), ["DISCONNECT AdministrativeAction", "closed"]);
    assert_eq!(gateway.hear(coming), ["CONNACK Banned", "closed"]);
    // Its front had not heard of it yet.
    gateway.refused(clean("a"), "Banned");
    gateway.tell(other, &ping());
    assert_eq!(gateway.hear(other), ["PINGRESP"]);
    assert_eq!(gateway.counters().cut_banned.get(), 2);
    ban(&mut gateway, &[]);
    let again = gateway.join(clean("a"));
    gateway.tell(again, &ping());
    assert_eq!(gateway.hear(again), ["PINGRESP"]);
}
