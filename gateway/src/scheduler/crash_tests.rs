//! The scheduler as it is shipped, in a fleet of three over a store in memory and with a clock that stands still: whatever it
//! writes, the gateway that writes it dies before that or after it, and the work is done all the same, once and one gateway at a
//! time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use maintenance::audit::{self, AuditEntry, AuditRecord, Checkpoint};
use maintenance::operation::{Class, OpKind};
use maintenance::{Counts, Host, HostState, Outcome, Verdict};
use protocol::{GatewayId, Incarnation, Wall};
use store::{MemoryStore, Put, Space, Store as _, Write};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::acts::{AUDIT_HEAD, AuditPage, LEDGER};
use super::thread::{Scheduler, SchedulerConfig};
use super::visits::VisitDocument;
use super::wanted::{Acting, OperationRequest, OperationState, PolicyRequest};
use super::{Documents, stays_out};
use crate::authentication::Desk;
use crate::clock::Clock;
use crate::commit::Answer;
use crate::committer::{self, CommitSender, Order};
use crate::config::{self, Resolved};
use crate::control::GatewayState;
use crate::hub::{LiveGateway, Tables};
use crate::metrics::Metrics;
use crate::reload::ReloadSender;
use crate::service::{Member, ServiceAsk, ServiceSender, SharedState, VisitAsk, VisitedState};
use crate::succession::{Board, SuccessionSender};
use crate::tail::{self, Frontier};
use crate::worker::Shared;

/// 2026-11-23, midnight UTC: a Monday.
const BEGIN: Wall = Wall(1_795_392_000_000);
/// How much time passes when nobody has anything to do.
const PASSES: Duration = Duration::from_secs(1);
/// How long a gateway that died is away.
const AWAY: Duration = Duration::from_secs(5);
/// When all should long be over: two hours, and half an hour where nobody dies.
const PATIENCE: Duration = Duration::from_secs(7200);
/// How large an entry of the audit may be in this fleet.
const ENTRY_BYTES: usize = 4096;
/// Entries of the audit that are kept in it: some are folded in the midst of each visit.
const AUDIT_ENTRIES: u64 = 20;
const UNDISTURBED: Duration = Duration::from_secs(1800);

const POLICY: &str = r#"
[policy.all]
windows = [{ from = "2020-01-01", to = "2990-01-01", tz = "UTC" }]
failure = { max = 100, per = "24h" }
"#;

/// How the gateway dies that makes a certain write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Before it is stored.
    Before,
    /// When it is stored, and it has not heard of that.
    After,
    /// It does not die: of what is stored together the ledger is left out. No store does that; it shows what the watchers see.
    Torn,
    /// The same of the audit.
    Untold,
    /// It does not die: a gateway does, by its place, that has nothing to do with that write, or makes it.
    Other(usize),
}

/// The writes of all gateways, counted, and which of them somebody dies at.
#[derive(Debug)]
struct Fuse {
    seen: usize,
    /// Those that changed the ledger.
    of_ledger: Vec<usize>,
    /// Those that ended a step of a visit.
    of_steps: Vec<usize>,
    at: Option<(usize, Death)>,
    /// Who is to die between two writes of its own, by its place.
    dying: Option<usize>,
}

impl Fuse {
    fn new(at: Option<(usize, Death)>) -> Self {
        Self { seen: 0, of_ledger: Vec::new(), of_steps: Vec::new(), at, dying: None }
    }

    fn burn(&mut self, write: &Write) -> Option<Death> {
        self.seen += 1;
        if write.puts.iter().any(is_ledger) {
            self.of_ledger.push(self.seen);
        }
        if write.puts.iter().any(is_end) {
            self.of_steps.push(self.seen);
        }
        let death = self.at.filter(|(at, _)| *at == self.seen).map(|(_, death)| death);
        if let Some(Death::Other(place)) = death {
            self.dying = Some(place);
            return None;
        }
        death
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of a gateway.
struct Life {
    scheduler: Scheduler,
    tables: Arc<Tables>,
    state: Arc<SharedState>,
    dead: Arc<AtomicBool>,
}

/// A gateway: alive, or until when it is away.
struct Gateway {
    config: Resolved,
    incarnation: u64,
    life: Option<Life>,
    back: Wall,
    /// How often its process ended because a visit wanted it.
    restarts: u32,
}

/// What must never be seen was seen.
type Broken = String;
/// How many writes, and which of them changed the ledger, and ended a step.
type Writes = (usize, Vec<usize>, Vec<usize>);

struct Fleet {
    store: MemoryStore,
    clock: Clock,
    fuse: Arc<Mutex<Fuse>>,
    gateways: Vec<Gateway>,
    desk: Documents,
    /// How many entries of the audit are kept.
    audit_entries: u64,
}

impl Fleet {
    fn new(folder: &Path, at: Option<(usize, Death)>) -> Self {
        let store = MemoryStore::new();
        let fuse = Arc::new(Mutex::new(Fuse::new(None)));
        let clock = Clock::standing(BEGIN);
        // The operators' own writes are made before anybody may die.
        let desk = Documents::new(
            store.reader().unwrap(),
            writer(&store, &fuse, &Arc::new(AtomicBool::new(false))),
        );
        let gateways = ["gw-1", "gw-2", "gw-3"].map(|name| Gateway {
            config: configured(name, folder),
            incarnation: 0,
            life: None,
            back: BEGIN,
            restarts: 0,
        });
        let (gateways, audit_entries) = (gateways.into(), AUDIT_ENTRIES);
        let mut fleet = Self { store, clock, fuse, gateways, desk, audit_entries };
        fleet.want(folder);
        *lock(&fleet.fuse) = Fuse::new(at);
        fleet
    }

    /// All are started again, clients moved; and a program is run on one of them.
    fn want(&mut self, folder: &Path) {
        let host = |gateway: &Gateway| {
            Host::new(gateway.config.id.gateway(), Incarnation(1), HostState::Serving)
        };
        let hosts: Vec<_> = self.gateways.iter().map(host).collect();
        let acting = Acting { by: "ada", now: BEGIN, hosts: &hosts, most: 100 };
        let policy = PolicyRequest {
            text: POLICY.to_owned(),
            calendars: BTreeMap::new(),
            accept_lints: true,
            reason: "test".to_owned(),
        };
        self.desk.put_policy(("all", None), &policy, &acting).unwrap();
        let request = |id: &str, kind, hosts: &[&str]| OperationRequest {
            id: Some(id.to_owned()),
            class: Some(Class::Drain),
            ..OperationRequest::new(kind, hosts, "test")
        };
        let made = folder.join("made").to_string_lossy().into_owned();
        let program = OpKind::Hook {
            name: "make".to_owned(),
            args: vec![made],
            timeout: Duration::from_secs(60),
            class: Class::Drain,
        };
        let all = request("again", OpKind::Restart, &["gw-1", "gw-2", "gw-3"]);
        self.desk.add_operations(&all, &acting).unwrap();
        self.desk.add_operations(&request("made", program, &["gw-2"]), &acting).unwrap();
    }

    /// Goes on until all work is over. Answers how many writes that took, and which of them changed the ledger.
    fn run(&mut self) -> Result<Writes, Broken> {
        let lives = |death| matches!(death, Death::Torn | Death::Untold);
        let dies = lock(&self.fuse).at.is_some_and(|(_, death)| !lives(death));
        let end = BEGIN.after(if dies { PATIENCE } else { UNDISTURBED });
        while self.clock.now().wall < end {
            self.wake();
            let busy = (0..self.gateways.len()).fold(false, |busy, at| self.beat(at) | busy);
            self.strike();
            self.watch()?;
            if busy {
                // A program runs on another thread.
                std::thread::yield_now();
            } else if self.is_over() {
                self.judge()?;
                let fuse = lock(&self.fuse);
                return Ok((fuse.seen, fuse.of_ledger.clone(), fuse.of_steps.clone()));
            } else {
                self.clock.go_on(PASSES);
            }
        }
        let left = self.desk.operations().unwrap();
        let visits: Vec<_> = self
            .desk
            .all::<serde_json::Value>("visit/")
            .unwrap()
            .into_iter()
            .map(|it| it["execution"]["stage"].to_string())
            .collect();
        Err(format!("it is never over: {left:?}; {visits:?}"))
    }

    /// Who was away long enough lives again, and everybody hears who lives.
    fn wake(&mut self) {
        let now = self.clock.now().wall;
        for at in 0..self.gateways.len() {
            if self.gateways[at].life.is_none() && self.gateways[at].back <= now {
                self.begin(at);
            }
        }
        let live: Vec<_> = self.gateways.iter().zip(0..).filter_map(seen).collect();
        for gateway in &self.gateways {
            let Some(life) = &gateway.life else { continue };
            life.tables.set_gateways(live.clone(), Duration::MAX);
            // What a lease says is what the gateway says of itself.
            let mut member = Member::of(&gateway.config, Incarnation(gateway.incarnation));
            member.record.state = life.state.get();
            self.commit(&member.renewal().unwrap());
        }
    }

    fn commit(&self, write: &Write) {
        self.store.writer().unwrap().commit(std::slice::from_ref(write)).unwrap();
    }

    /// Another life of a gateway.
    fn begin(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        gateway.incarnation += 1;
        let incarnation = Incarnation(gateway.incarnation);
        let (state, dead) = (Arc::new(SharedState::default()), Arc::new(AtomicBool::new(false)));
        let out = stays_out(&gateway.config.id, &mut *self.store.reader().unwrap()).unwrap();
        state.set(if out { GatewayState::Quiesced } else { GatewayState::Serving });
        let (service, asks) = ServiceSender::channel();
        let housekeeper =
            Housekeeper { state: Arc::clone(&state), planned: out, held: false, verdict: None };
        std::thread::spawn(move || housekeeper.run(&asks));
        let tables = Arc::new(Tables::default());
        let shared = Shared {
            clock: self.clock.clone(),
            tables: Arc::clone(&tables),
            mailboxes: Vec::new(),
            committer: writer(&self.store, &self.fuse, &dead),
            tail: tail::asks().0,
            links: None,
            frontier: Arc::new(Frontier::new(Vec::new())),
            service,
            desk: Desk::new().0,
        };
        let board = Arc::new(Board::default());
        let senders = (ReloadSender::unheard(), SuccessionSender::unheard(), board);
        let again = Arc::new(Notify::new());
        let program = Path::new("tidegate");
        let mut config =
            SchedulerConfig::of(&gateway.config, (incarnation, program), &again, senders);
        config.tools.run_alone();
        let metrics = Metrics::new(1);
        metrics.process().store_writable.set(1);
        let looked_at = (Arc::clone(&state), metrics);
        let mut scheduler = Scheduler::new(config, shared, looked_at, self.store.reader().unwrap());
        scheduler.audit_entries = self.audit_entries;
        scheduler.recall();
        gateway.life = Some(Life { scheduler, tables, state, dead });
    }

    /// A gateway does what it has to do now. Answers whether there is more.
    fn beat(&mut self, at: usize) -> bool {
        let now = self.clock.now().wall;
        let gateway = &mut self.gateways[at];
        let Some(life) = &mut gateway.life else { return false };
        let more = life.scheduler.beat(true) || life.scheduler.body.job.is_some();
        let leaves = life.scheduler.body.is_leaving;
        if leaves && !life.dead.load(Ordering::SeqCst) {
            gateway.restarts += 1;
            life.scheduler.say_goodbye();
        }
        if leaves || life.dead.load(Ordering::SeqCst) {
            gateway.life = None;
            gateway.back = now.after(AWAY);
            return true;
        }
        more
    }

    /// Who is to die between two writes dies.
    fn strike(&mut self) {
        let dying = lock(&self.fuse).dying.take();
        if let Some(gateway) = dying.and_then(|place| self.gateways.get_mut(place))
            && let Some(life) = gateway.life.take()
        {
            life.dead.store(true, Ordering::SeqCst);
            gateway.back = self.clock.now().wall.after(AWAY);
        }
    }

    /// What holds at every moment.
    fn watch(&mut self) -> Result<(), Broken> {
        let (ledger, _) = self.desk.ledger().map_err(|why| why.to_string())?;
        let slots: Vec<_> = ledger.slots().iter().map(|slot| slot.host.clone()).collect();
        if slots.len() > 1 {
            return Err(format!("{slots:?} have slots at once"));
        }
        for gateway in &self.gateways {
            let (id, Some(life)) = (gateway.config.id.gateway(), &gateway.life) else { continue };
            let state = life.state.get();
            if state != GatewayState::Serving && !slots.contains(&id) {
                return Err(format!("{id} is {state:?} without a slot"));
            }
        }
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        let pending = |it: &super::OperationDocument| it.state == OperationState::Pending;
        let live = self.gateways.iter().all(|it| it.life.is_some());
        live && !self.desk.operations().unwrap().iter().any(pending)
    }

    /// What holds in the end.
    fn judge(&mut self) -> Result<(), Broken> {
        for it in self.desk.operations().unwrap() {
            if it.state != OperationState::Done {
                return Err(format!("{} is {:?}", it.operation.id, it.state));
            }
        }
        for gateway in &self.gateways {
            let state = gateway.life.as_ref().map(|life| life.state.get());
            if gateway.restarts > 1 || gateway.incarnation < 2 {
                return Err(format!(
                    "{} ended {} times, life {}",
                    gateway.config.id, gateway.restarts, gateway.incarnation
                ));
            }
            if state != Some(GatewayState::Serving) {
                return Err(format!("{} is {state:?} in the end", gateway.config.id));
            }
        }
        let AuditPage { entries, checkpoint, .. } = self.desk.audit(0, 1000).unwrap();
        if checkpoint.is_none() && self.audit_entries == AUDIT_ENTRIES {
            return Err(format!("{} entries are kept", entries.len()));
        }
        let checkpoint = checkpoint.unwrap_or_default();
        audit::verify(checkpoint.head, &entries).map_err(|why| why.to_string())?;
        checkpoint.check(&entries).map_err(|why| why.to_string())?;
        let told = checkpoint.ledger_with(&entries).map_err(|why| why.to_string())?;
        let (ledger, _) = self.desk.ledger().unwrap();
        if told != ledger || !ledger.slots().is_empty() {
            return Err(format!("the audit tells of another ledger: {told:?}, not {ledger:?}"));
        }
        self.judge_visits(&checkpoint, &entries)
    }

    /// P35: each visit, whatever has died in the middle of it, follows from the audit alone.
    fn judge_visits(
        &mut self,
        checkpoint: &Checkpoint,
        entries: &[AuditEntry],
    ) -> Result<(), Broken> {
        let mut told = checkpoint.visits_with(entries).map_err(|why| why.to_string())?;
        for stored in self.desk.all::<VisitDocument>(VisitDocument::PREFIX).unwrap() {
            let execution = stored.execution;
            match told.remove(execution.visit()) {
                Some(tale) if tale.is_of(&execution) => {}
                tale => return Err(format!("the audit tells of {tale:?}, not {execution:?}")),
            }
        }
        if !told.is_empty() {
            return Err(format!("the audit tells of visits that never were: {told:?}"));
        }
        for entry in entries {
            let bytes = serde_json::to_vec(entry).map_err(|why| why.to_string())?.len();
            if bytes > ENTRY_BYTES {
                return Err(format!("entry {} has {bytes} bytes", entry.seq));
            }
        }
        Ok(())
    }
}

/// A gateway as the others see it.
fn seen((gateway, peer): (&Gateway, u8)) -> Option<LiveGateway> {
    let life = gateway.life.as_ref()?;
    Some(LiveGateway {
        id: gateway.config.id.clone(),
        incarnation: Incarnation(gateway.incarnation),
        peer,
        mqtt: String::new(),
        mqtts: String::new(),
        serving: life.state.get() == GatewayState::Serving,
        echoes: false,
        calls: false,
    })
}

/// The entry of the audit about a step that has ended.
fn is_end(put: &Put) -> bool {
    let entry = put.value.as_ref().filter(|_| is_audit(put));
    let entry = entry.and_then(|value| serde_json::from_slice::<AuditEntry>(value).ok());
    entry.is_some_and(|entry| entry.record.action == "step.ended")
}

/// Its end, or one of its entries.
fn is_audit(put: &Put) -> bool {
    put.space == Space::Maintenance && put.key.starts_with(AUDIT_HEAD.as_bytes())
}

fn is_ledger(put: &Put) -> bool {
    put.space == Space::Maintenance && &*put.key == LEDGER.as_bytes()
}

/// A thread that writes for one life of a gateway, which is dead once the fuse says so.
fn writer(store: &MemoryStore, fuse: &Arc<Mutex<Fuse>>, dead: &Arc<AtomicBool>) -> CommitSender {
    let (committer, orders) = committer::orders();
    let (fuse, dead, mut writer) = (Arc::clone(fuse), Arc::clone(dead), store.writer().unwrap());
    std::thread::spawn(move || {
        while let Ok(Order::Other(write, answer)) = orders.recv() {
            if dead.load(Ordering::SeqCst) {
                continue;
            }
            let death = lock(&fuse).burn(&write);
            let torn = matches!(death, Some(Death::Torn | Death::Untold));
            let mut write = *write;
            let is_left_out = if death == Some(Death::Torn) { is_ledger } else { is_audit };
            if torn {
                write.puts.retain(|put| !is_left_out(put));
            }
            if death != Some(Death::Before) {
                let commit = writer.commit(&[write]).unwrap();
                let outcome = Answer::Committed(commit.outcomes[0].clone(), commit.seq);
                if death.is_none() || torn {
                    let _ = answer.send(outcome);
                    continue;
                }
            }
            dead.store(true, Ordering::SeqCst);
        }
    });
    committer
}

/// Drains at once, one step for each look.
struct Housekeeper {
    state: Arc<SharedState>,
    planned: bool,
    held: bool,
    verdict: Option<Verdict>,
}

impl Housekeeper {
    fn run(mut self, asks: &Receiver<ServiceAsk>) {
        while let Ok(ask) = asks.recv() {
            if let ServiceAsk::Visit(ask, answer) = ask {
                answer.with(|| {
                    self.visited(&ask);
                    Ok(VisitedState { state: self.state.get(), verdict: self.verdict })
                });
            }
        }
    }

    fn visited(&mut self, ask: &VisitAsk) {
        match (ask, self.state.get()) {
            (VisitAsk::Drain { .. }, GatewayState::Serving) => {
                (self.planned, self.verdict) = (true, None);
                self.state.set(GatewayState::Announced);
            }
            (VisitAsk::Hold(held), _) => self.held = *held,
            (VisitAsk::Look, GatewayState::Announced) => self.state.set(GatewayState::Moving),
            (VisitAsk::Look, GatewayState::Moving) if !self.held => {
                self.state.set(GatewayState::Quiesced);
                self.verdict = Some(Verdict {
                    outcome: Outcome::Quiesced,
                    evidence: Counts::default(),
                    clients: 0,
                    moved: 0,
                    departed: 0,
                    elapsed: Duration::ZERO,
                });
            }
            (VisitAsk::Serve | VisitAsk::Admit(_), _) => self.serve(),
            (VisitAsk::Leave, _) if self.planned => self.serve(),
            _ => {}
        }
    }

    fn serve(&mut self) {
        (self.planned, self.verdict) = (false, None);
        self.state.set(GatewayState::Serving);
    }
}

fn configured(name: &str, folder: &Path) -> Resolved {
    let allowed = folder.join("made");
    let text = format!(
        "[gateway]\nid = \"{name}\"\ndata = \"{}\"\n[maintenance.hooks.make]\nprogram = \"/bin/mkdir\"\n\
         arguments = [\"{}\"]\nleast_class = \"drain\"\nprobe = \"/usr/bin/stat\"\n",
        folder.join(name).display(),
        allowed.display()
    );
    fs::create_dir_all(folder.join(name)).unwrap();
    let mut config = config::resolve(&config::parse(&text).unwrap(), folder).unwrap();
    // It does not listen.
    config.listeners.clear();
    config
}

fn run(at: Option<(usize, Death)>) -> Result<Writes, Broken> {
    let folder = TempDir::new().unwrap();
    let writes = Fleet::new(folder.path(), at).run()?;
    match folder.path().join("made").is_dir() {
        true => Ok(writes),
        false => Err("the program was not run".to_owned()),
    }
}

/// What was wrong where a gateway died at a write.
fn broken_by(deaths: impl IntoIterator<Item = (usize, Death)>) -> Vec<Broken> {
    let deaths: Vec<_> = deaths.into_iter().collect();
    println!("{} deaths enumerated", deaths.len());
    let broken = |(at, death)| {
        let why = run(Some((at, death))).err()?;
        Some(format!("{death:?} write {at}: {why}"))
    };
    deaths.into_iter().filter_map(broken).collect()
}

#[test]
fn whatever_a_gateway_writes_it_may_die_before_that_is_stored() {
    let (writes, ..) = run(None).unwrap();
    let broken = broken_by((1..=writes).map(|at| (at, Death::Before)));
    assert!(writes > 50 && broken.is_empty(), "{writes}: {broken:#?}");
}

#[test]
fn whatever_a_gateway_writes_it_may_die_when_that_is_stored() {
    let (writes, ..) = run(None).unwrap();
    let broken = broken_by((1..=writes).map(|at| (at, Death::After)));
    assert!(writes > 50 && broken.is_empty(), "{writes}: {broken:#?}");
}

/// Not only who makes a write dies: at each of them it is another one's turn.
#[test]
fn whatever_is_written_any_other_gateway_may_die_then() {
    let (writes, ..) = run(None).unwrap();
    let broken = broken_by((1..=writes).map(|at| (at, Death::Other(at % 3))));
    assert!(writes > 50 && broken.is_empty(), "{writes}: {broken:#?}");
}

#[test]
fn a_store_that_tears_the_ledger_from_what_belongs_to_it_is_seen() {
    let (_, of_ledger, _) = run(None).unwrap();
    let torn: Vec<_> = of_ledger.into_iter().step_by(5).collect();
    let broken = broken_by(torn.iter().map(|at| (*at, Death::Torn)));
    assert!(torn.len() > 3 && broken.len() == torn.len(), "{torn:?}: {broken:#?}");
}

#[test]
fn a_step_that_the_audit_is_not_told_of_is_seen() {
    let (.., of_steps) = run(None).unwrap();
    let untold: Vec<_> = of_steps.into_iter().step_by(5).collect();
    let broken = broken_by(untold.iter().map(|at| (*at, Death::Untold)));
    assert!(untold.len() > 3 && broken.len() == untold.len(), "{untold:?}: {broken:#?}");
}

/// Goes on until a host has a slot and was not asked yet: it, and what time it is then.
fn granted(fleet: &mut Fleet) -> (GatewayId, Wall) {
    loop {
        fleet.wake();
        let granted = (0..fleet.gateways.len()).find_map(|at| {
            fleet.beat(at);
            let (ledger, _) = fleet.desk.ledger().unwrap();
            let slot = ledger.slots().iter().find(|slot| slot.started.is_none());
            slot.map(|slot| slot.host.clone())
        });
        if let Some(host) = granted {
            return (host, fleet.clock.now().wall);
        }
        fleet.clock.go_on(PASSES);
    }
}

/// What the audit says was done, of what begins so.
fn told(fleet: &mut Fleet, action: &str, object: &str) -> Vec<AuditRecord> {
    let entries = fleet.desk.audit(0, 1000).unwrap().entries;
    let of = |it: &&AuditEntry| it.record.action == action && it.record.object.starts_with(object);
    entries.iter().filter(of).map(|it| it.record.clone()).collect()
}

/// Between the begin of a visit and its host's own word somebody says something against it.
#[test]
fn a_host_declines_what_was_said_against_it_since_its_visit_began_and_is_visited_later() {
    let folder = TempDir::new().unwrap();
    let mut fleet = Fleet::new(folder.path(), None);
    fleet.audit_entries = 1_000;
    let (host, now) = granted(&mut fleet);
    let until = now.after(Duration::from_secs(300));
    let hosts = [Host::new(host.clone(), Incarnation(1), HostState::Serving)];
    let acting = Acting { by: "ada", now, hosts: &hosts, most: 100 };
    let backup = serde_json::json!({
        "host": host.as_str(), "code": "backup", "until_ms": until.0, "reason": "nightly"
    });
    let backup = serde_json::from_value(backup).unwrap();
    fleet.desk.add_blocker(&backup, &acting).unwrap();
    fleet.run().unwrap();
    let declined = told(&mut fleet, "visit.declined", &format!("visit {host}/"));
    let [declined] = &declined[..] else { panic!("{declined:?}") };
    assert_eq!(declined.actor, format!("host {host}"));
    let after = serde_json::json!({ "code": "backup", "until_ms": until.0 });
    assert_eq!(declined.after, Some(after));
    let started = told(&mut fleet, "slot.started", &format!("host {host}"));
    assert!(started.len() == 1 && started[0].at >= until, "{started:?}");
    assert_eq!(told(&mut fleet, "slot.handed_back", &format!("host {host}")).len(), 1);
}

/// The same, and the host would rather have it at other times: it is planned anew into the cheaper of them.
#[test]
fn a_host_counters_a_start_that_does_not_suit_it_and_is_visited_when_it_does() {
    let folder = TempDir::new().unwrap();
    let mut fleet = Fleet::new(folder.path(), None);
    fleet.audit_entries = 1_000;
    let (host, now) = granted(&mut fleet);
    let hosts = [Host::new(host.clone(), Incarnation(1), HostState::Serving)];
    let acting = Acting { by: "ada", now, hosts: &hosts, most: 100 };
    let after = |seconds| now.after(Duration::from_secs(seconds));
    let times = [("dear", 120, 900, 7), ("cheap", 1_200, 2_700, 1)];
    for (name, from, until, cost) in times {
        let preference = serde_json::json!({
            "host": host.as_str(), "name": name, "from_ms": after(from).0, "until_ms": after(until).0,
            "cost": cost, "reason": "quiet"
        });
        let preference = serde_json::from_value(preference).unwrap();
        fleet.desk.add_preference(&preference, &acting).unwrap();
    }
    fleet.run().unwrap();
    let declined = told(&mut fleet, "visit.declined", &format!("visit {host}/"));
    let [declined] = &declined[..] else { panic!("{declined:?}") };
    let [dear, cheap] = times.map(|(_, from, until, cost)| {
        serde_json::json!({ "cost": cost, "from_ms": after(from).0, "until_ms": after(until).0 })
    });
    let counter = serde_json::json!({
        "code": "prefers_other_time", "until_ms": after(120).0, "preferred": [cheap, dear]
    });
    assert_eq!(declined.after, Some(counter));
    let started = told(&mut fleet, "slot.started", &format!("host {host}"));
    let [started] = &started[..] else { panic!("{started:?}") };
    assert!(after(1_200) <= started.at && started.at < after(2_700), "{started:?}");
    assert_eq!(told(&mut fleet, "visit.preference_overruled", "").len(), 0);
}
