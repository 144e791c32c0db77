//! A device's life: dial, exchange bytes, and go on elsewhere when a connection ends.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, atomic::Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::mqtt::codec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use crate::{
    Address,
    device::{Device, End},
    ends::{Ends, why},
    receiving::Tally,
    shared::{Phase, Shared, add},
    tls::Tls,
    wire::Wire,
};

/// Dialling, TLS and CONNACK each must be done in this time.
const PATIENCE: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// So many redirects in a row are followed without waiting.
const FREE_HOPS: u32 = 4;
/// A device gives others a turn after so many rounds of reading and writing.
const ROUNDS: usize = 8;
/// No broker sends more to us.
const MAX_PACKET_BYTES: u32 = 268_435_460;

/// What the devices of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) tls: Option<Tls>,
    /// Bytes are read here, so that idle devices need no buffers.
    pub(crate) inbox: RefCell<Vec<u8>>,
    pub(crate) tally: RefCell<Tally>,
    /// How many dial at the same time.
    pub(crate) dialling: Arc<Semaphore>,
}

/// What is left of a device.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) device: Device,
    /// Redirects it went after.
    pub(crate) redirects: u64,
    pub(crate) ends: Ends,
}

/// Lives until the run is over, and leaves what it has seen.
pub(crate) async fn live(device: Device, worker: Rc<Worker>, first: usize) -> Outcome {
    let mut life = Life {
        worker,
        turn: first,
        first,
        redirect: None,
        redirects: 0,
        hops: 0,
        backoff: BACKOFF_FIRST,
        ends: Ends::default(),
    };
    let mut device = device;
    wait_for_turn(&device.shared, device.place).await;
    loop {
        if device.shared.phase() == Phase::Stopping {
            break;
        }
        let end = life.connection(&mut device).await;
        let now_ns = device.shared.now_ns();
        device.lost(now_ns);
        life.note(&device, &end);
        match end {
            Ok(End::Left) if device.is_offline_receiver() => {
                if device.shared.phase() < Phase::Returning {
                    add(&device.shared.counters.ready, 1);
                    wait_for(&device, Phase::Returning).await;
                }
            }
            Ok(End::Left) => break,
            Ok(end) if device.shared.plan.reconnect => life.go_on(&device, &end).await,
            Err(_) if device.shared.plan.reconnect => life.go_on(&device, &End::Closed).await,
            Ok(End::Refused(_, Some(reference))) if device.shared.plan.follow_redirects => {
                life.redirect(&device, &reference).await;
            }
            Ok(End::Closed | End::Silent) | Err(_) if life.has_another(&device) => life.turn += 1,
            end => {
                life.give_up(&device, &end);
                wait_for(&device, Phase::Stopping).await;
            }
        }
    }
    if device.leaves_a_session() {
        life.forget(&mut device).await;
    }
    Outcome { redirects: life.redirects, ends: life.ends, device }
}

async fn wait_for(device: &Device, phase: Phase) {
    wait_until(&device.shared, device.place, phase).await;
}

async fn wait_until(shared: &Shared, place: usize, phase: Phase) {
    poll_fn(|cx| {
        if let Some(signal) = shared.signal(place) {
            signal.register(cx.waker());
        }
        if shared.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Until a device is to connect for the first time, or the run is over.
pub(crate) async fn wait_for_turn(shared: &Shared, place: usize) {
    let after = shared.plan.connects_after(place);
    if !after.is_zero() {
        let turn = Instant::from_std(shared.started() + after);
        // Whichever comes first.
        let _ = timeout_at(turn, wait_until(shared, place, Phase::Stopping)).await;
    }
}

struct Life {
    worker: Rc<Worker>,
    /// Which broker of the list is next.
    turn: usize,
    /// Which one was asked first.
    first: usize,
    /// Or this one.
    redirect: Option<Address>,
    redirects: u64,
    /// Redirects since it was served.
    hops: u32,
    backoff: Duration,
    ends: Ends,
}

impl Life {
    fn address(&self, device: &Device) -> Option<Address> {
        let brokers = &device.shared.plan.brokers;
        self.redirect.clone().or_else(|| brokers.get(self.turn % brokers.len().max(1)).cloned())
    }

    /// One connection from dialling to its end.
    async fn connection(&mut self, device: &mut Device) -> std::io::Result<End> {
        // Nobody closes the semaphore.
        let Ok(permit) = Arc::clone(&self.worker.dialling).acquire_owned().await else {
            return Ok(End::Left);
        };
        let Some(address) = self.address(device) else { return Ok(End::Left) };
        if device.shared.phase() == Phase::Stopping {
            return Ok(End::Left);
        }
        let tls = self.worker.tls.as_ref();
        // Boxed: a handshake is large, and a device that idles for hours would carry its room along.
        let wire = Box::pin(timeout(PATIENCE, Wire::dial(&address, tls))).await??;
        let end = self.exchange(device, wire, permit, false).await;
        if device.is_ready() && device.down_since_ns().is_none() {
            self.backoff = BACKOFF_FIRST;
            self.hops = 0;
        }
        end
    }

    async fn exchange(
        &self,
        device: &mut Device,
        wire: Wire,
        permit: OwnedSemaphorePermit,
        clean: bool,
    ) -> std::io::Result<End> {
        let patience_ns = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        device.greet(device.shared.now_ns(), patience_ns, clean);
        let mut exchange = Exchange {
            worker: &self.worker,
            wire,
            permit: Some(permit),
            partial: Vec::new(),
            written: 0,
            flushed: true,
            alarm: Box::pin(sleep(PATIENCE)),
            armed_ns: 0,
            registered: false,
        };
        poll_fn(|cx| exchange.poll(device, cx)).await
    }

    /// After a connection has ended: chooses the next broker and waits a moment.
    async fn go_on(&mut self, device: &Device, end: &End) {
        if let End::Refused(_, Some(reference)) = end
            && device.shared.plan.follow_redirects
        {
            self.redirect(device, reference).await;
            return;
        }
        self.redirect = None;
        self.turn += 1;
        let brokers = device.shared.plan.brokers.len();
        let wait = self.backoff;
        // Once around the list is free.
        if self.turn.is_multiple_of(brokers) || brokers == 1 {
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
        // Spread a little by place, so that a thousand devices don't come back in one moment.
        let spread = u32::try_from(device.place % 16).unwrap_or_default();
        sleep(wait + wait / 16 * spread).await;
    }

    async fn redirect(&mut self, device: &Device, reference: &str) {
        let here = self.address(device);
        self.redirect = here.and_then(|here| here.of_reference(reference));
        self.redirects += 1;
        self.hops += 1;
        if self.hops > FREE_HOPS {
            // Brokers that point at each other must not keep us busy.
            sleep(BACKOFF_MAX).await;
        }
    }

    /// Counts an end that nobody had planned.
    fn note(&mut self, device: &Device, end: &std::io::Result<End>) {
        let phase = device.shared.phase();
        let Some(why) = why(end).filter(|_| phase != Phase::Stopping) else { return };
        if phase == Phase::Connecting {
            device.shared.trouble(self.told(device, &why));
        }
        self.ends.note(why);
    }

    /// Who could not go on where, and why.
    fn told(&self, device: &Device, why: &str) -> String {
        let address = self.address(device).map(|address| address.to_string()).unwrap_or_default();
        format!("{} at {address}: {why}", device.client_id())
    }

    /// Whether a device that was never served has brokers left that it has not asked.
    fn has_another(&self, device: &Device) -> bool {
        !device.is_ready() && self.turn + 1 < self.first + device.shared.plan.brokers.len()
    }

    fn give_up(&self, device: &Device, end: &std::io::Result<End>) {
        if let Some(why) = why(end).filter(|_| device.shared.phase() == Phase::Connecting) {
            device.shared.fail(self.told(device, &why));
        }
    }

    /// Removes a 3.x session by a clean connection; errors don't matter any more.
    async fn forget(&mut self, device: &mut Device) {
        let Some(address) = self.address(device) else { return };
        let Ok(permit) = Arc::clone(&self.worker.dialling).acquire_owned().await else { return };
        let dial =
            Box::pin(timeout(PATIENCE, Wire::dial(&address, self.worker.tls.as_ref()))).await;
        if let Ok(Ok(wire)) = dial {
            // In the last phase a device only waits for its CONNACK before it leaves; it is allowed one look.
            let _ = timeout(PATIENCE, clean_visit(device, wire, permit)).await;
        }
    }
}

/// CONNECT with clean session, CONNACK, DISCONNECT.
async fn clean_visit(
    device: &mut Device,
    mut wire: Wire,
    permit: OwnedSemaphorePermit,
) -> std::io::Result<()> {
    device.greet(0, 0, true);
    let mut sent = 0;
    poll_fn(|cx| drain(&mut wire, cx, &device.out, &mut sent)).await?;
    let mut answer = [0; 64];
    poll_fn(|cx| wire.poll_read(cx, &mut answer)).await?;
    drop(permit);
    sent = 0;
    poll_fn(|cx| drain(&mut wire, cx, &[0xE0, 0], &mut sent)).await
}

fn drain(
    wire: &mut Wire,
    cx: &mut Context<'_>,
    bytes: &[u8],
    sent: &mut usize,
) -> Poll<std::io::Result<()>> {
    while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
        match wire.poll_write(cx, rest)? {
            Poll::Ready(count) => *sent += count,
            Poll::Pending => return Poll::Pending,
        }
    }
    wire.poll_flush(cx)
}

/// One connection while bytes flow.
struct Exchange<'w> {
    worker: &'w Worker,
    wire: Wire,
    /// Held until the broker has answered.
    permit: Option<OwnedSemaphorePermit>,
    /// The beginning of a packet whose rest has not come.
    partial: Vec<u8>,
    /// Bytes of `out` that are sent.
    written: usize,
    flushed: bool,
    alarm: Pin<Box<Sleep>>,
    armed_ns: u64,
    registered: bool,
}

type Step = Result<bool, Result<End, std::io::Error>>;

impl Exchange<'_> {
    fn poll(&mut self, device: &mut Device, cx: &mut Context<'_>) -> Poll<std::io::Result<End>> {
        if !self.registered {
            self.registered = true;
            if let Some(signal) = device.shared.signal(device.place) {
                signal.register(cx.waker());
            }
        }
        for _ in 0..ROUNDS {
            match self.round(device, cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, acts, writes once; false if nothing can go on without being woken.
    fn round(&mut self, device: &mut Device, cx: &mut Context<'_>) -> Step {
        let read = self.read(device, cx)?;
        let had_out = device.out.len();
        device.act(device.shared.now_ns()).map_err(Ok)?;
        let acted = device.out.len() > had_out;
        let wrote = self.write(device, cx)?;
        let rang = self.arm(device, cx);
        Ok(read || (acted && wrote) || rang)
    }

    fn read(&mut self, device: &mut Device, cx: &mut Context<'_>) -> Step {
        let mut inbox = self.worker.inbox.borrow_mut();
        let count = match self.wire.poll_read(cx, &mut inbox) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) if device.is_leaving() => return Err(Ok(End::Left)),
            Poll::Ready(Ok(0)) => return Err(Ok(End::Closed)),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) if device.is_leaving() => return Err(Ok(End::Left)),
            Poll::Ready(Err(error)) => return Err(Err(error)),
        };
        let bytes = inbox.get(..count).unwrap_or_default();
        self.permit = None;
        let mut tally = self.worker.tally.borrow_mut();
        let before = tally.delivered;
        let now_ns = device.shared.now_ns();
        if self.partial.is_empty() {
            let used = packets(device, bytes, now_ns, &mut tally).map_err(Ok)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.partial.extend_from_slice(bytes);
            let used = packets(device, &self.partial, now_ns, &mut tally).map_err(Ok)?;
            self.partial.drain(..used);
            if self.partial.is_empty() {
                self.partial = Vec::new();
            }
        }
        device.shared.counters.delivered.fetch_add(tally.delivered - before, Ordering::Relaxed);
        Ok(true)
    }

    /// Sends what there is; true if all of it is out.
    fn write(&mut self, device: &mut Device, cx: &mut Context<'_>) -> Step {
        while let Some(rest) = device.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.wire.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.flushed = false;
                    device.sent();
                }
                Poll::Ready(Err(_)) if device.is_leaving() => return Err(Ok(End::Left)),
                Poll::Ready(Err(error)) => return Err(Err(error)),
                Poll::Pending => return Ok(false),
            }
        }
        if self.written > 0 {
            self.written = 0;
            // Publishers and receivers use it again at once; who only pings gives it back.
            if device.out.capacity() > 1_024 && device.out.len() < 512 {
                device.out = Vec::new();
            } else {
                device.out.clear();
            }
        }
        if !self.flushed {
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Ready(Err(error)) => return Err(Err(error)),
                Poll::Pending => return Ok(false),
            }
        }
        if device.is_leaving() { Err(Ok(End::Left)) } else { Ok(true) }
    }

    /// Sets the alarm; true if it has rung.
    fn arm(&mut self, device: &Device, cx: &mut Context<'_>) -> bool {
        let deadline_ns = device.deadline_ns();
        if deadline_ns != self.armed_ns {
            self.armed_ns = deadline_ns;
            let day_ns = 86_400_000_000_000;
            let after = Duration::from_nanos(deadline_ns.min(device.shared.now_ns() + day_ns));
            self.alarm.as_mut().reset(Instant::from_std(device.shared.started() + after));
        }
        let rang = self.alarm.as_mut().poll(cx).is_ready();
        if rang {
            self.armed_ns = 0;
        }
        rang
    }
}

/// Gives every whole packet to the device; returns the bytes used.
fn packets(
    device: &mut Device,
    bytes: &[u8],
    now_ns: u64,
    tally: &mut Tally,
) -> Result<usize, End> {
    let mut used = 0;
    while let Some(rest) = bytes.get(used..)
        && let Some(len) = codec::frame(rest, MAX_PACKET_BYTES).map_err(End::Broke)?
    {
        device.take(rest.get(..len).unwrap_or_default(), now_ns, tally)?;
        used += len;
    }
    Ok(used)
}
