//! How strict and how open the codecs are. `cargo test --test scores -- --nocapture` prints the tables.

use std::collections::BTreeMap;

use oracles::{FOREIGN, Listed, Verdict, malformed, ours, unusual};

#[test]
fn ours_refuses_every_malformed_packet_and_accepts_every_unusual_one() {
    std::panic::set_hook(Box::new(|_| {}));
    let refused = table("malformed packets refused", &malformed(), false);
    let accepted = table("unusual packets accepted", &unusual(), true);
    let _ = std::panic::take_hook();
    assert_eq!(refused, malformed().len());
    assert_eq!(accepted, unusual().len());
}

/// Prints how many of each group got the verdict that is right, and gives our own number.
fn table(title: &str, packets: &[Listed], accept: bool) -> usize {
    let mut rows: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
    let mut panics = [0; 4];
    for Listed { group, name, version, from, wire } in packets {
        let row = rows.entry(group).or_default();
        row[0] += 1;
        row[1] += usize::from(ours(wire, *version, *from) == accept);
        for (place, foreign) in FOREIGN.iter().enumerate() {
            let verdict = foreign.read(wire, *version);
            let right = match verdict {
                Verdict::Accepted(_) => accept,
                Verdict::Refused => !accept,
                Verdict::Panicked => {
                    panics[place] += 1;
                    false
                }
            };
            row[2 + place] += usize::from(right);
            if !right && std::env::var_os("ORACLES_VERBOSE").is_some() {
                println!("{}: {version:?} {group}: {name}: {verdict:?}", foreign.name);
            }
        }
    }
    println!("\n{title}");
    let [a, b, c, d] = FOREIGN.map(|foreign| foreign.name);
    println!("{:24}{:>9}{:>9}{a:>12}{b:>20}{c:>13}{d:>9}", "", "packets", "tidegate");
    let mut sum = [0; 6];
    for (group, row) in &rows {
        line(group, row);
        sum.iter_mut().zip(row).for_each(|(sum, one)| *sum += one);
    }
    line("all", &sum);
    println!("{:42}{:>12}{:>20}{:>13}{:>9}", "panics", panics[0], panics[1], panics[2], panics[3]);
    sum[1]
}

fn line(name: &str, row: &[usize; 6]) {
    let [all, ours, a, b, c, d] = row;
    println!("{name:24}{all:>9}{ours:>9}{a:>12}{b:>20}{c:>13}{d:>9}");
}
