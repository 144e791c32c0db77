//! Which gateway a client should go to: the same answer everywhere, without a table.

use std::cmp::Ordering;

use protocol::{ClientId, GatewayId, hash64};

/// The candidate with the highest hash for this client. Taking one candidate away moves only its own clients.
pub fn rendezvous<'a>(
    client: &ClientId,
    candidates: impl IntoIterator<Item = &'a GatewayId>,
) -> Option<&'a GatewayId> {
    let client = hash64(client.as_str().as_bytes());
    // Ties, if there ever is one, go to the name, so that everybody agrees.
    candidates.into_iter().max_by_key(|candidate| (score(client, candidate), *candidate))
}

/// As [`rendezvous`], with shares proportional to weights (such as free capacity). Weight 0 takes none.
pub fn rendezvous_weighted<'a>(
    client: &ClientId,
    candidates: impl IntoIterator<Item = (&'a GatewayId, u32)>,
) -> Option<&'a GatewayId> {
    let client = hash64(client.as_str().as_bytes());
    candidates
        .into_iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(candidate, weight)| (weighted(score(client, candidate), weight), candidate))
        .max_by(compare)
        .map(|(_, candidate)| candidate)
}

fn score(client: u64, candidate: &GatewayId) -> u64 {
    let mut both = [0; 16];
    let (left, right) = both.split_at_mut(8);
    left.copy_from_slice(&client.to_le_bytes());
    right.copy_from_slice(&hash64(candidate.as_str().as_bytes()).to_le_bytes());
    hash64(&both)
}

/// The logarithmic method: of n exponential clocks with rates w, each rings first with probability w / sum.
fn weighted(score: u64, weight: u32) -> f64 {
    // 53 bits fit exactly; the half keeps it off 0 and 1.
    let uniform = ((score >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

fn compare(left: &(f64, &GatewayId), right: &(f64, &GatewayId)) -> Ordering {
    left.0.total_cmp(&right.0).then_with(|| left.1.cmp(right.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(n: usize) -> Vec<GatewayId> {
        (1..=n).map(|i| GatewayId::new(&format!("gw-{i}")).unwrap()).collect()
    }

    fn clients() -> impl Iterator<Item = ClientId> {
        (0..10_000).map(|i| ClientId::new(&format!("device-{i}")).unwrap())
    }

    #[test]
    fn removing_a_candidate_moves_only_its_clients() {
        let all = gateways(5);
        for client in clients() {
            let before = rendezvous(&client, &all).unwrap();
            let after = rendezvous(&client, all.iter().filter(|g| g.as_str() != "gw-3")).unwrap();
            assert!(before == after || before.as_str() == "gw-3", "{client}");
            let weight = |g: &GatewayId| if g.as_str() < "gw-3" { 10 } else { 30 };
            let before = rendezvous_weighted(&client, all.iter().map(|g| (g, weight(g)))).unwrap();
            let left = all.iter().filter(|g| g.as_str() != "gw-3").map(|g| (g, weight(g)));
            let after = rendezvous_weighted(&client, left).unwrap();
            assert!(before == after || before.as_str() == "gw-3", "{client}");
        }
    }

    #[test]
    fn clients_are_spread_evenly_and_by_weight() {
        let all = gateways(4);
        let mut plain = [0_i32; 4];
        let mut by_weight = [0_i32; 4];
        let weights = [1, 1, 2, 0];
        for client in clients() {
            let position = |g: &GatewayId| all.iter().position(|other| other == g).unwrap();
            plain[position(rendezvous(&client, &all).unwrap())] += 1;
            let chosen = rendezvous_weighted(&client, all.iter().zip(weights)).unwrap();
            by_weight[position(chosen)] += 1;
        }
        for (got, share) in plain.iter().zip([2_500, 2_500, 2_500, 2_500]) {
            assert!((got - share).abs() < 250, "{plain:?}");
        }
        for (got, share) in by_weight.iter().zip([2_500, 2_500, 5_000, 0]) {
            assert!((got - share).abs() < 250, "{by_weight:?}");
        }
    }

    #[test]
    fn the_order_of_candidates_does_not_matter() {
        let all = gateways(7);
        for client in clients().take(1_000) {
            assert_eq!(rendezvous(&client, &all), rendezvous(&client, all.iter().rev()));
        }
    }

    #[test]
    fn nobody_is_chosen_where_nobody_stands() {
        let client = ClientId::new("device").unwrap();
        assert_eq!(rendezvous(&client, []), None);
        assert_eq!(rendezvous_weighted(&client, [(&gateways(1)[0], 0)]), None);
    }
}
