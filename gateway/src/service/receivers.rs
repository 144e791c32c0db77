//! Who is asked to take the clients of a drain, and what the answers are to.

use protocol::GatewayId;

/// Hosts whose own clients are moved too: those that hold a slot beside ours, and those that are spared.
pub(super) fn emptied_too<'a>(
    slots: impl Iterator<Item = &'a GatewayId>,
    me: &GatewayId,
    spared: &'a [GatewayId],
) -> Vec<GatewayId> {
    slots.filter(|host| *host != me).chain(spared).cloned().collect()
}

/// Those that take clients: of all who serve none whose own are moved too, unless there is nobody else.
pub(super) fn receivers(serving: Vec<GatewayId>, emptied: &[GatewayId]) -> Vec<GatewayId> {
    let stay = |id: &&GatewayId| !emptied.contains(&id.gateway());
    let staying: Vec<_> = serving.iter().filter(stay).cloned().collect();
    if staying.is_empty() { serving } else { staying }
}

/// What an ask for credit is known by to the gateway that is asked: the drain stands above, its ask below.
pub(super) fn name_of(drain: u64, ask: u32) -> u64 {
    drain << 32 | u64::from(ask)
}

/// Which ask of the drain that runs was answered, or the last; none if it was one of another drain.
pub(super) fn ask_of(named: u64, last: Option<u64>) -> Option<u32> {
    let ask = u32::try_from(named & u64::from(u32::MAX)).ok();
    ask.filter(|_| last == Some(named >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<GatewayId> {
        names.iter().map(|name| GatewayId::new(name).unwrap()).collect()
    }

    #[test]
    fn clients_go_to_those_that_stay_and_to_others_only_where_nobody_does() {
        let slots = ids(&["gw-1", "gw-2"]);
        let me = GatewayId::new("gw-1").unwrap();
        let emptied = emptied_too(slots.iter(), &me, &ids(&["gw-3"]));
        assert_eq!(emptied, ids(&["gw-2", "gw-3"]), "our own slot spares nobody");
        let all = ids(&["gw-2", "gw-3", "gw-4"]);
        assert_eq!(receivers(all, &emptied), ids(&["gw-4"]));
        assert_eq!(receivers(ids(&["gw-2", "gw-3"]), &emptied), ids(&["gw-2", "gw-3"]));
        assert_eq!(receivers(Vec::new(), &emptied), ids(&[]));
    }

    #[test]
    fn an_answer_to_an_earlier_drain_is_none_to_this_one() {
        for (drain, ask) in [(1, 0), (7, u32::MAX), (u64::from(u32::MAX), 3)] {
            assert_eq!(ask_of(name_of(drain, ask), Some(drain)), Some(ask));
            assert_eq!(ask_of(name_of(drain, ask), Some(drain + 1)), None);
            assert_eq!(ask_of(name_of(drain, ask), None), None);
        }
    }
}
