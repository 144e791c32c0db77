//! What the interest of a peer costs, by a counting allocator. Alone in its process, so that nobody else's bytes are counted.

use fanout::{HashedInterest, InterestDelta, Routes};
use peak_alloc::PeakAlloc;
use protocol::peer::{FilterHash, HashChange};
use protocol::{QoS, TopicFilter};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const FILTERS: usize = 1_000_000;
/// What one exact filter of a peer may cost.
const BYTES_EACH: usize = 40;

fn topic(n: usize) -> String {
    format!("site/{}/machine/{n}/meter", n % 1000)
}

#[test]
fn a_million_exact_filters_of_a_peer_cost_at_most_40_bytes_each() {
    let told: Vec<_> =
        (0..FILTERS).map(|n| HashChange::new(FilterHash::of(&topic(n)), 1)).collect();

    // One after the other, as they are subscribed to: what grows must have room for both sizes at once.
    let mut routes = Routes::default();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    for change in &told {
        routes.set_peer_hashes(1, std::slice::from_ref(change));
    }
    let kept = (ALLOCATED.current_usage() - before) / FILTERS;
    let most = (ALLOCATED.peak_usage() - before) / FILTERS;
    println!("told one by one: {kept} bytes for each filter, {most} while it grows");
    assert!(most <= BYTES_EACH);
    assert_eq!(routes.peer_interest(1).exact, FILTERS, "none of them has the hash of another");

    // All at once, when a peer connects: the new ones beside the old ones, which are dropped then.
    ALLOCATED.reset_peak_usage();
    let all = HashedInterest::new(&told);
    drop(routes.replace_peer_hashes(1, all));
    let kept = (ALLOCATED.current_usage() - before) / FILTERS;
    let most = (ALLOCATED.peak_usage() - before) / FILTERS;
    println!("told at once: {kept} bytes for each filter, {most} while it is replaced");
    assert!(kept <= BYTES_EACH && most <= BYTES_EACH);

    for n in (0..FILTERS).step_by(9973) {
        assert_eq!(routes.route(&topic(n)).peers.of(QoS::AtLeastOnce), 1 << 1);
    }
    assert_eq!(routes.route("nobody/wants/this").peers.of(QoS::AtMostOnce), 0);

    // For comparison: by name, as a peer of the last version tells them.
    let some = FILTERS / 100;
    let named: Vec<_> = (0..some)
        .map(|n| InterestDelta {
            filter: TopicFilter::new(&topic(n)).unwrap(),
            share: None,
            members: 1,
        })
        .collect();
    let before = ALLOCATED.current_usage();
    routes.set_peer(2, true, &named);
    println!("by name: {} bytes for each", (ALLOCATED.current_usage() - before) / some);
}
