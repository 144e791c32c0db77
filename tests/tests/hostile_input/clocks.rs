//! G4, B12: a system clock that jumps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use protocol::QoS;
use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Publish, PublishProperties};
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

use super::pair::Pair;

const HOUR_S: i64 = 3600;

#[test]
fn a_clock_that_jumps_by_an_hour_moves_no_session_and_loses_no_message() {
    let mut fleet = Fleet::prepare(2, &Settings::default());
    let clock = Clock::new(fleet.dir());
    fleet.launch_in(1, &clock.prelude());
    fleet.launch(2);
    (1..=2).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    let pair = Pair::start(fleet.mqtt(1));
    let mut here = Dial::v5("here").persistent().keep_alive_s(1800).connect(fleet.mqtt(1));
    here.subscribe("g4/#", QoS::AtLeastOnce);
    let mut there = Dial::v5("there").persistent().connect(fleet.mqtt(2));
    there.subscribe("g4/#", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for (number, ahead) in [HOUR_S, 0, -HOUR_S, 0].into_iter().enumerate() {
        clock.set(ahead);
        let looks = renewals(&fleet, 2);
        eventually("the other gateway has looked at leases since", || {
            (renewals(&fleet, 2) > looks + 4).then_some(())
        });
        // Nobody is dead, and nobody's session was taken off its gateway.
        for gateway in 1..=2 {
            assert_eq!(fleet.serving(gateway), ["gw-1", "gw-2"], "{ahead} s ahead");
        }
        let text = number.to_string();
        writer.publish("g4/x", &text, QoS::AtLeastOnce);
        assert_eq!(here.receive().text, text);
        assert_eq!(there.receive().text, text);
        here.ping();
    }
    // A session of a day that is left, and a message for it of an hour: a minute ahead both are there.
    here.disconnect();
    publish_expiring(&mut writer, "g4/expiring", 3600);
    clock.set(60);
    let mut here = Dial::v5("here").persistent().connect(fleet.mqtt(1));
    assert!(here.session_present);
    assert_eq!(here.receive().text, "expiring");
    // Behind the hour the message has expired, and the session too; nothing comes twice or late.
    let mut short = Dial::v5("short").persistent().expiry_s(3000).connect(fleet.mqtt(1));
    short.subscribe("g4/#", QoS::AtLeastOnce);
    short.disconnect();
    here.disconnect();
    publish_expiring(&mut writer, "g4/expiring", 1800);
    clock.set(HOUR_S);
    let here = Dial::v5("here").persistent().expiry_s(7200).connect(fleet.mqtt(1));
    let short = Dial::v5("short").persistent().connect(fleet.mqtt(1));
    assert!(!short.session_present, "its hour is over");
    drop(here);
    pair.assert_undisturbed();
}

fn publish_expiring(writer: &mut Client, topic: &str, expiry_s: u32) {
    let id = writer.next_id();
    writer.send_whole(&Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: Some(id),
        properties: PublishProperties {
            message_expiry_s: Some(expiry_s),
            ..PublishProperties::default()
        },
        payload: b"expiring",
    });
    writer.acknowledged(AckKind::PubAck, id);
}

/// How often a gateway has written, which it does at least with every renewal of its lease.
fn renewals(fleet: &Fleet, gateway: usize) -> u64 {
    fleet.metric(gateway, "tidegate_commits_total")
}

/// A system clock for one gateway, which runs as far ahead of that of the machine as a file says.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

/// What stands between the gateway and the system's clock.
const SHIM: &str = "
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long long *ahead;
__attribute__((constructor)) static void open_file(void) {
    const char *path = getenv(\"CLOCK_AHEAD\");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) ahead = page;
}
int clock_gettime(clockid_t id, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, id, time);
    if (result == 0 && id == CLOCK_REALTIME && ahead) time->tv_sec += *ahead;
    return result;
}
";

impl Clock {
    fn new(dir: &Path) -> Self {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, SHIM).expect("a file");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .expect("a C compiler, which the tests need anyway");
        assert!(built.success(), "the clock is built");
        let clock = Self { library, file: dir.join("ahead") };
        fs::write(&clock.file, 0_i64.to_ne_bytes()).expect("a file");
        clock
    }

    fn prelude(&self) -> String {
        let (library, file) = (self.library.display(), self.file.display());
        format!("export LD_PRELOAD='{library}' CLOCK_AHEAD='{file}'")
    }

    /// Sets it so many seconds ahead of the machine's.
    fn set(&self, ahead_s: i64) {
        // In place: the gateway has it in its memory.
        let file = fs::OpenOptions::new().write(true).open(&self.file).expect("the file");
        std::os::unix::fs::FileExt::write_all_at(&file, &ahead_s.to_ne_bytes(), 0).expect("a file");
    }
}
