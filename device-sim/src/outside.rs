//! The same patterns with an independent client, rumqttc, on one thread. What it hides is not checked: who
//! acknowledged what is counted in order, and connections are not made again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use protocol::{
    QoS,
    mqtt::{Publish, PublishProperties, Version},
};
use rumqttc::{Transport, v5};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};

use crate::{
    Interrupt, Pace, Plan, Report, RunError,
    harvest::{Harvest, Publisher},
    live::wait_for_turn,
    payload::Head,
    publishing::on_time,
    receiving::{Receiving, Tally},
    report::{Measured, sum},
    run::{Conductor, run_number},
    schedule::{Schedule, due},
    shared::{Phase, Shared, add},
    tls::client_config,
    worker::{Part, PartKind, cast},
};

/// Runs a plan with rumqttc.
pub(crate) fn run(plan: &Plan, interrupt: &Interrupt) -> Result<Report, RunError> {
    let transport = match &plan.tls {
        None => Transport::tcp(),
        Some(files) => Transport::tls_with_config(client_config(files)?.into()),
    };
    let parts = cast(plan);
    let shared = Arc::new(Shared::new(plan.clone(), parts.len(), run_number()));
    let mut measured = Measured::begin(&plan.broker_pids).map_err(RunError::NoProcess)?;
    let devices = parts.len();
    let thread = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || work(&shared, &parts, &transport))
    };
    let conducted = Conductor::new(&shared, devices, interrupt).conduct(&mut measured);
    shared.enter(Phase::Stopping);
    let harvest = thread.join().map_err(|_| RunError::Panicked)??;
    conducted?;
    Ok(sum(&shared, vec![harvest], measured))
}

fn work(shared: &Arc<Shared>, parts: &[Part], transport: &Transport) -> std::io::Result<Harvest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Tally::new().map_err(std::io::Error::other)?;
    let harvest = Rc::new(RefCell::new(Harvest::new(tally)));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut lives = JoinSet::new();
        for part in parts {
            let (client, events) = open(&shared.plan, part, transport.clone());
            let device = Device { shared: Arc::clone(shared), part: *part, client };
            lives.spawn_local(device.live(events, Rc::clone(&harvest)));
        }
        lives.join_all().await;
    });
    drop(local);
    let harvest = Rc::into_inner(harvest).map(RefCell::into_inner);
    harvest.ok_or_else(|| std::io::Error::other("a device still lives"))
}

/// What a device hears.
enum Heard {
    Connected,
    Subscribed,
    Publish { dup: bool, payload: Bytes },
    Acknowledged,
    Nothing,
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

enum Events {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

fn open(plan: &Plan, part: &Part, transport: Transport) -> (Client, Events) {
    let brokers = plan.brokers.len().max(1);
    let (host, port) = plan
        .brokers
        .get(part.first % brokers)
        .map(|address| (address.host().to_owned(), address.port()))
        .unwrap_or_default();
    let name = match part.kind {
        PartKind::Publisher(number) => format!("{}-p{number}", plan.prefix),
        PartKind::Receiver(number) => format!("{}-s{number}", plan.prefix),
        PartKind::Idle(number) => format!("{}-{number}", plan.prefix),
        PartKind::Watcher => format!("{}-w", plan.prefix),
    };
    let keep_alive = Duration::from_secs(plan.keep_alive_s.into());
    let inflight = match plan.pace {
        Pace::Window(window) => u16::try_from(window).unwrap_or(u16::MAX),
        Pace::Every(_) => 1_000,
    };
    let packet_bytes = plan.payload_bytes + 70_000;
    if plan.version == Version::V5 {
        let mut options = v5::MqttOptions::new(name, host, port);
        options.set_keep_alive(keep_alive).set_transport(transport);
        if let Some(user_name) = plan.credentials.user_name() {
            options.set_credentials(user_name, plan.credentials.password().unwrap_or_default());
        }
        options.set_clean_start(!plan.persistent).set_outgoing_inflight_upper_limit(inflight);
        options.set_max_packet_size(u32::try_from(packet_bytes).ok());
        let (client, events) = v5::AsyncClient::new(options, 100);
        return (Client::V5(client), Events::V5(Box::new(events)));
    }
    let mut options = rumqttc::MqttOptions::new(name, host, port);
    options.set_keep_alive(keep_alive).set_transport(transport);
    if let Some(user_name) = plan.credentials.user_name() {
        options.set_credentials(user_name, plan.credentials.password().unwrap_or_default());
    }
    options.set_clean_session(!plan.persistent).set_inflight(inflight);
    options.set_max_packet_size(packet_bytes, packet_bytes);
    let (client, events) = rumqttc::AsyncClient::new(options, 100);
    (Client::V4(client), Events::V4(Box::new(events)))
}

impl Client {
    async fn subscribe(&self, filter: String, qos: QoS) -> Result<(), String> {
        match self {
            Self::V4(client) => {
                client.subscribe(filter, qos_4(qos)).await.map_err(|error| error.to_string())
            }
            Self::V5(client) => {
                client.subscribe(filter, qos_5(qos)).await.map_err(|error| error.to_string())
            }
        }
    }

    async fn publish(&self, topic: &str, qos: QoS, payload: Vec<u8>) -> Result<(), String> {
        match self {
            Self::V4(client) => client
                .publish(topic, qos_4(qos), false, payload)
                .await
                .map_err(|error| error.to_string()),
            Self::V5(client) => client
                .publish(topic, qos_5(qos), false, payload)
                .await
                .map_err(|error| error.to_string()),
        }
    }

    /// Asks for DISCONNECT; if that is not possible any more there is no connection either.
    async fn disconnect(&self) {
        match self {
            Self::V4(client) => drop(client.disconnect().await),
            Self::V5(client) => drop(client.disconnect().await),
        }
    }
}

impl Events {
    async fn next(&mut self) -> Result<Heard, String> {
        match self {
            Self::V4(events) => events.poll().await.map(heard_4).map_err(|error| error.to_string()),
            Self::V5(events) => events.poll().await.map(heard_5).map_err(|error| error.to_string()),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of which few variants matter")]
fn heard_4(event: rumqttc::Event) -> Heard {
    use rumqttc::{Event, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Heard::Connected,
        Event::Incoming(Packet::SubAck(_)) => Heard::Subscribed,
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Heard::Acknowledged,
        Event::Incoming(Packet::Publish(publish)) => {
            Heard::Publish { dup: publish.dup, payload: publish.payload }
        }
        _ => Heard::Nothing,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of which few variants matter")]
fn heard_5(event: v5::Event) -> Heard {
    use v5::{Event, mqttbytes::v5::Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Heard::Connected,
        Event::Incoming(Packet::SubAck(_)) => Heard::Subscribed,
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Heard::Acknowledged,
        Event::Incoming(Packet::Publish(publish)) => {
            Heard::Publish { dup: publish.dup, payload: publish.payload }
        }
        _ => Heard::Nothing,
    }
}

const fn qos_4(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

const fn qos_5(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

struct Device {
    shared: Arc<Shared>,
    part: Part,
    client: Client,
}

/// What the two halves of a publisher share.
#[derive(Debug, Default)]
struct Account {
    published: Cell<u64>,
    acknowledged: Cell<u64>,
    /// Nothing more will be published.
    done: Cell<bool>,
    settled: Cell<bool>,
}

impl Device {
    async fn live(self, mut events: Events, harvest: Rc<RefCell<Harvest>>) {
        wait_for_turn(&self.shared, self.part.place).await;
        if self.shared.phase() == Phase::Stopping {
            return;
        }
        let account = Account::default();
        let plan = &self.shared.plan;
        let mut receiving = match self.part.kind {
            PartKind::Receiver(number) => Some(Receiving::new(plan, number, self.shared.run)),
            PartKind::Publisher(_) | PartKind::Idle(_) | PartKind::Watcher => None,
        };
        {
            let listens = self.listen(&mut events, &account, &mut receiving, &harvest);
            // When the connection ends there is nobody who would empty the queue of what is to be sent.
            let ended = tokio::select! {
                ended = listens => ended,
                () = self.act(&account) => Ok(()),
            };
            if let Err(why) = ended {
                self.gone(why, &harvest);
            }
        }
        let mut harvest = harvest.borrow_mut();
        harvest.receivers.extend(receiving);
        if let PartKind::Publisher(number) = self.part.kind {
            let (published, acknowledged) = (account.published.get(), account.acknowledged.get());
            let unacknowledged = match plan.qos {
                QoS::AtMostOnce => Vec::new(),
                QoS::AtLeastOnce | QoS::ExactlyOnce => (acknowledged..published).collect(),
            };
            // It connects once, so that it sends nothing again.
            let resent = Default::default();
            let publisher = Publisher { published, acknowledged, unacknowledged, resent };
            harvest.publishers.push((number, publisher));
        }
    }

    /// The connection has ended before its time, and is not made again.
    fn gone(&self, why: String, harvest: &RefCell<Harvest>) {
        let counters = &self.shared.counters;
        if self.shared.phase() == Phase::Connecting {
            self.shared.fail(why.clone());
        } else {
            counters.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            harvest.borrow_mut().down_since_ns.push(self.shared.now_ns());
        }
        harvest.borrow_mut().ends.note(why);
    }

    /// Hears until the connection ends.
    async fn listen(
        &self,
        events: &mut Events,
        account: &Account,
        receiving: &mut Option<Receiving>,
        harvest: &RefCell<Harvest>,
    ) -> Result<(), String> {
        let counters = &self.shared.counters;
        loop {
            let heard = match events.next().await {
                Ok(heard) => heard,
                Err(_) if self.shared.phase() == Phase::Stopping => return Ok(()),
                Err(why) => {
                    account.done.set(true);
                    return Err(why);
                }
            };
            match heard {
                Heard::Connected => {
                    add(&counters.connected, 1);
                    if let PartKind::Receiver(number) = self.part.kind {
                        // There is one, because the wildcard pattern is not for this client.
                        let filter = self.shared.plan.filters(number).pop().unwrap_or_default();
                        self.client.subscribe(filter, self.shared.plan.qos).await?;
                    } else {
                        add(&counters.ready, 1);
                    }
                }
                Heard::Subscribed => add(&counters.ready, 1),
                Heard::Acknowledged => {
                    account.acknowledged.set(account.acknowledged.get() + 1);
                    add(&counters.acknowledged, 1);
                    self.settle(account);
                }
                Heard::Publish { dup, payload } => {
                    if let Some(receiving) = receiving {
                        self.take(dup, &payload, receiving, &mut harvest.borrow_mut().tally);
                    }
                }
                Heard::Nothing => {}
            }
        }
    }

    fn take(&self, dup: bool, payload: &[u8], receiving: &mut Receiving, tally: &mut Tally) {
        // rumqttc has answered already, so that nothing is left to answer here.
        let publish = Publish {
            dup,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "",
            packet_id: None,
            properties: PublishProperties::default(),
            payload,
        };
        let before = tally.delivered;
        let news = receiving.take(&publish, self.shared.now_ns(), &mut Vec::new(), tally);
        add(&self.shared.counters.delivered, tally.delivered - before);
        if let Some((publisher, next)) = news {
            self.shared.tell_seen(publisher, receiving.number(), next);
        }
    }

    /// Publishes when it is time, and leaves at the end.
    async fn act(&self, account: &Account) {
        self.wait_for(Phase::Publishing).await;
        if let PartKind::Publisher(number) = self.part.kind {
            self.publish(number, account).await;
            account.done.set(true);
            self.settle(account);
        }
        self.wait_for(Phase::Stopping).await;
        self.client.disconnect().await;
        // The other half ends when the connection does.
        std::future::pending::<()>().await;
    }

    async fn publish(&self, number: usize, account: &Account) {
        let (plan, shared) = (&self.shared.plan, &self.shared);
        let Some(topic) = plan.topics(number).into_iter().next() else { return };
        let schedule = Schedule::of(plan, number);
        for sequence in 0..due(plan, number).unwrap_or(u64::MAX) {
            let due_ns = match (plan.pace, schedule) {
                (Pace::Every(_), Some(schedule)) => {
                    let due_ns = shared.publishing_ns().saturating_add(schedule.due_ns(sequence));
                    let due = shared.started() + Duration::from_nanos(due_ns);
                    sleep_until(Instant::from_std(due)).await;
                    due_ns
                }
                (Pace::Window(window), _) => {
                    self.wait_seen(number, sequence, window).await;
                    shared.now_ns()
                }
                (Pace::Every(_), None) => shared.now_ns(),
            };
            // What is due at the very end is published; in a closed loop nothing is due.
            let now_ns = shared.now_ns();
            let late = schedule.is_none() || on_time(due_ns, now_ns) != now_ns;
            if account.done.get() || (late && shared.phase() >= Phase::Settling) {
                return;
            }
            let sent_ns = on_time(due_ns, shared.now_ns());
            let publisher = u32::try_from(number).unwrap_or(u32::MAX);
            let head = Head { run: shared.run, publisher, sequence, sent_ns };
            let mut payload = vec![b'.'; plan.payload_bytes];
            if let Some(place) = payload.get_mut(..Head::BYTES) {
                place.copy_from_slice(&head.encode());
            }
            if self.client.publish(&topic, plan.qos, payload).await.is_err() {
                return;
            }
            account.published.set(sequence + 1);
            add(&shared.counters.published, 1);
        }
    }

    /// Until the slowest receiver is less than a window behind, or publishing is over.
    async fn wait_seen(&self, number: usize, sequence: u64, window: usize) {
        let needed = (sequence + 1).saturating_sub(u64::try_from(window).unwrap_or(u64::MAX));
        let open =
            || self.shared.seen_from(number) >= needed || self.shared.phase() >= Phase::Settling;
        poll_fn(|cx| {
            if open() {
                return Poll::Ready(());
            }
            let Some(signal) = self.shared.signal(self.part.place) else { return Poll::Ready(()) };
            signal.register(cx.waker());
            signal.wait_until(needed);
            if open() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn wait_for(&self, phase: Phase) {
        poll_fn(|cx| {
            if let Some(signal) = self.shared.signal(self.part.place) {
                signal.register(cx.waker());
            }
            if self.shared.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn settle(&self, account: &Account) {
        let acknowledged = self.shared.plan.qos == QoS::AtMostOnce
            || account.acknowledged.get() >= account.published.get();
        if account.done.get() && acknowledged && !account.settled.replace(true) {
            add(&self.shared.counters.settled, 1);
        }
    }
}
