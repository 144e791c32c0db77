//! Gateways in network namespaces of their own, with wires between them on which packets vanish.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::show;

/// One network namespace for each gateway, and a wire from each to each. Clients are let in by [`Self::on`]: every gateway
/// listens for them on the loopback of its own.
#[derive(Debug)]
pub(super) struct Islands {
    names: Vec<String>,
}

/// Whether this process may make network namespaces, which takes root or as much of it; says so if not. Our own CI may, and
/// does not pass without.
pub fn may_make_islands() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let name = format!("tidegate-{}", std::process::id());
        let tried =
            ["add", "del"].map(|what| Command::new("ip").args(["netns", what, &name]).output());
        let may = tried.iter().flatten().all(|done| done.status.success())
            && tried.iter().all(Result::is_ok);
        assert!(may || std::env::var_os("CI").is_none(), "no network namespaces: {tried:?}");
        if !may {
            show("no network namespaces may be made here: nothing was tried\n");
        }
        may
    })
}

impl Islands {
    /// Makes so many, with every wire whole.
    pub(super) fn make(count: usize) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let fleet = LAST.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let names = (1..=count).map(|number| format!("tidegate-{process}-{fleet}-{number}"));
        let islands = Self { names: names.collect() };
        for (name, number) in islands.names.iter().zip(1..) {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "address", "add", &address(number).to_string(), "dev", "lo"]);
        }
        for from in 1..=count {
            for to in from + 1..=count {
                let (here, there) = (islands.name(from), islands.name(to));
                ip(&[
                    "-n",
                    here,
                    "link",
                    "add",
                    &wire(to),
                    "type",
                    "veth",
                    "peer",
                    "name",
                    &wire(from),
                    "netns",
                    there,
                ]);
            }
        }
        for from in 1..=count {
            for to in (1..=count).filter(|to| *to != from) {
                let (here, wire) = (islands.name(from), wire(to));
                let (near, far) = (address(from).to_string(), address(to).to_string());
                ip(&["-n", here, "link", "set", &wire, "up"]);
                ip(&["-n", here, "route", "add", &far, "dev", &wire, "src", &near]);
            }
        }
        islands
    }

    /// Where peers reach a gateway.
    pub(super) fn peer(number: usize, port: u16) -> SocketAddr {
        SocketAddr::from((address(number), port))
    }

    /// What the shell that becomes a gateway does to be there.
    pub(super) fn prelude(&self, number: usize) -> String {
        format!("exec ip netns exec {} \"$0\" \"$@\"", self.name(number))
    }

    /// Does something in the network of one gateway.
    pub(super) fn on<T>(&self, number: usize, act: impl FnOnce() -> T) -> T {
        let home = File::open("/proc/thread-self/ns/net").expect("the network of this thread");
        let there = File::open(Path::new("/run/netns").join(self.name(number)));
        // Also when `act` fails: the threads of a test runner go on with other tests.
        let _way_back = WayBack(home);
        enter(&there.expect("a namespace of ours"));
        act()
    }

    /// What one gateway sends to another vanishes on the way, and nobody is told.
    pub(super) fn silence(&self, from: usize, to: usize) {
        let far = address(to).to_string();
        // Nobody has this hardware address.
        let nobody = "02:00:00:00:00:01";
        ip(&[
            "-n",
            self.name(from),
            "neighbour",
            "replace",
            &far,
            "lladdr",
            nobody,
            "dev",
            &wire(to),
            "nud",
            "permanent",
        ]);
    }

    /// The wire from one gateway to another is whole again.
    pub(super) fn mend(&self, from: usize, to: usize) {
        ip(&[
            "-n",
            self.name(from),
            "neighbour",
            "del",
            &address(to).to_string(),
            "dev",
            &wire(to),
        ]);
    }

    fn name(&self, number: usize) -> &str {
        self.names.get(number - 1).expect("a gateway of this fleet")
    }
}

impl Drop for Islands {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was not made yet is no loss.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

struct WayBack(File);

impl Drop for WayBack {
    fn drop(&mut self) {
        enter(&self.0);
    }
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("root may go there");
}

/// The address of a gateway, which only the namespaces of its fleet know.
fn address(number: usize) -> Ipv4Addr {
    let last = u8::try_from(number).expect("a fleet of a test has at most six gateways");
    Ipv4Addr::new(10, 77, 0, last)
}

/// The end of the wire to a gateway.
fn wire(to: usize) -> String {
    format!("to-{to}")
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("ip, of the package iproute2");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {error}", arguments.join(" "));
}
