"""What every outside client must be able to do, whatever its library, over every transport that it speaks.

A driver (`paho_cases.py`, `gmqtt_cases.py`, `aws_cases.py`) says how its library connects, subscribes and publishes; the
cases are the same for all. One line is printed per case, after a line that names the client:

    client paho-mqtt 2.2.0
    ok 5.0 mtls retained 14
    not ok 5.0 wss will: nothing came within 20 s
    skip 3.1.1 tcp properties: the library does not offer them

The number behind `ok` is milliseconds. The exit code is 1 if a case failed. Cases wait for events; where time must pass,
the gateway tells when it has, by a will with a delay.
"""

import argparse
import dataclasses
import queue
import socket
import sys
import threading
import time
import traceback

# Seconds; shorter than the keep alive of 60, which some clients ask for.
PATIENCE = 55
MEBIBYTE = 1024 * 1024
TRANSPORTS = ("tcp", "mtls", "ws", "wss")


class Failure(Exception):
    """A case that did not go as it must."""


class Refused(Exception):
    """The gateway did not accept a connection."""


class Unsupported(Exception):
    """What a library does not offer."""


@dataclasses.dataclass
class Place:
    """Where a client connects, and with what."""

    transport: str
    host: str
    port: int
    certs: str
    certificate: bool = True

    @property
    def secure(self):
        return self.transport in ("mtls", "wss")

    @property
    def websocket(self):
        return self.transport in ("ws", "wss")

    def file(self, name):
        return f"{self.certs}/{name}"


@dataclasses.dataclass
class Will:
    topic: str
    payload: bytes
    delay_s: int = 0


@dataclasses.dataclass
class Wanted:
    """What a connection is to be. `properties` and delays are for 5.0."""

    client_id: str
    clean: bool = True
    expiry_s: int = 0
    will: Will | None = None
    user: str | None = None
    password: str | None = None


@dataclasses.dataclass
class Message:
    """A message that came. Properties have the names that `Link.publish` takes, and `subscription_ids`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict = dataclasses.field(default_factory=dict)


class Link:
    """One connection; each library has its own. Its methods wait for the gateway's answer."""

    session_present = False

    def __init__(self):
        self.messages = queue.SimpleQueue()
        self.closed = threading.Event()

    def receive(self):
        try:
            return self.messages.get(timeout=PATIENCE)
        except queue.Empty:
            raise Failure(f"nothing came within {PATIENCE} s") from None

    def wait_closed(self):
        if not self.closed.wait(PATIENCE):
            raise Failure("the connection was not ended")

    def subscribe(self, topic_filter, qos, identifier=None):
        raise NotImplementedError

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        raise NotImplementedError

    def publish_many(self, topic, payloads, qos):
        raise NotImplementedError

    def disconnect(self):
        raise NotImplementedError


class Cut:
    """A way to a gateway that can be cut, as a network does."""

    def __init__(self, place):
        self.target = (place.host, place.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.place = dataclasses.replace(place, port=self.listener.getsockname()[1])
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        near, _ = self.listener.accept()
        self.listener.close()
        far = socket.create_connection(self.target)
        self.sockets = [near, far]
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass

    def cut(self):
        for each in self.sockets:
            each.shutdown(socket.SHUT_RDWR)


class Bench:
    """One client library with one version over one transport."""

    def __init__(self, library, version, places):
        self.library = library
        self.version = version
        self.first, self.other = places
        self.name = f"{library.NAME}-{version}-{self.first.transport}"
        self.case = ""
        self.links = []

    def id(self, name):
        return f"{self.name}-{self.case}-{name}"

    def topic(self, name):
        return f"{self.name}/{self.case}/{name}"

    def open(self, name, place, **wanted):
        link = self.library.connect(place, self.version, Wanted(self.id(name), **wanted))
        self.links.append(link)
        return link

    def run(self, case):
        self.case = case.__name__
        try:
            case(self)
        finally:
            for link in self.links:
                try:
                    link.disconnect()
                except Exception:
                    pass  # It may be closed already; the case has told what matters.
            self.links.clear()

    def wait_s(self, seconds):
        """Waits until the gateway says that so much time has passed."""
        watcher = self.open("watcher", self.other)
        watcher.subscribe(self.topic("clock"), 1)
        way = Cut(self.first)
        will = Will(self.topic("clock"), b"now", delay_s=seconds)
        self.open("clock", way.place, expiry_s=3600, will=will)
        way.cut()
        check(watcher.receive().payload, b"now")


def check(got, wanted):
    if got != wanted:
        raise Failure(f"{got!r:.200} instead of {wanted!r:.200}")


def connect(bench):
    link = bench.open("a", bench.first)
    check(link.session_present, False)
    link.disconnect()


def levels(bench):
    reader = bench.open("reader", bench.other)
    top = bench.library.TOP_QOS
    reader.subscribe(bench.topic("+"), top)
    writer = bench.open("writer", bench.first)
    for qos in range(top + 1):
        writer.publish(bench.topic(qos), b"hello", qos=qos)
        message = reader.receive()
        check((message.topic, message.payload, message.qos), (bench.topic(qos), b"hello", qos))


def retained(bench):
    writer = bench.open("writer", bench.first)
    writer.publish(bench.topic("state"), b"on", retain=True)
    reader = bench.open("reader", bench.other)
    reader.subscribe(bench.topic("#"), 1)
    message = reader.receive()
    check((message.payload, message.retain), (b"on", True))
    writer.publish(bench.topic("state"), b"", retain=True)
    check(reader.receive().payload, b"")
    later = bench.open("later", bench.other)
    later.subscribe(bench.topic("#"), 1)
    writer.publish(bench.topic("mark"), b"mark")
    check(later.receive().payload, b"mark")


def will(bench):
    watcher = bench.open("watcher", bench.other)
    watcher.subscribe(bench.topic("gone"), 1)
    way = Cut(bench.first)
    bench.open("device", way.place, will=Will(bench.topic("gone"), b"bye"))
    way.cut()
    check(watcher.receive().payload, b"bye")


def resume(bench):
    device = bench.open("device", bench.first, clean=False, expiry_s=3600)
    device.subscribe(bench.topic("t"), 1)
    device.disconnect()
    writer = bench.open("writer", bench.first)
    for payload in (b"one", b"two", b"three"):
        writer.publish(bench.topic("t"), payload)
    device = bench.open("device", bench.other, clean=False, expiry_s=3600)
    check(device.session_present, True)
    check([device.receive().payload for _ in range(3)], [b"one", b"two", b"three"])


def takeover(bench):
    old = bench.open("device", bench.first)
    new = bench.open("device", bench.other)
    old.wait_closed()
    new.subscribe(bench.topic("t"), 1)
    new.publish(bench.topic("t"), b"still here")
    check(new.receive().payload, b"still here")


def large(bench):
    reader = bench.open("reader", bench.other)
    reader.subscribe(bench.topic("t"), 1)
    payload = bytes(range(256)) * (MEBIBYTE // 256)
    bench.open("writer", bench.first).publish(bench.topic("t"), payload)
    if reader.receive().payload != payload:
        raise Failure("another payload came")


def in_order(bench):
    reader = bench.open("reader", bench.other)
    reader.subscribe(bench.topic("t"), 1)
    payloads = [b"%d" % number for number in range(10_000)]
    bench.open("writer", bench.first).publish_many(bench.topic("t"), payloads, 1)
    for payload in payloads:
        check(reader.receive().payload, payload)


def shared(bench):
    taken = queue.SimpleQueue()
    for name, place in (("first", bench.first), ("second", bench.other)):
        member = bench.open(name, place)
        member.messages = taken
        member.subscribe("$share/group/" + bench.topic("jobs"), 1)
    writer = bench.open("writer", bench.first)
    for number in range(20):
        writer.publish(bench.topic("jobs"), b"%d" % number)
    jobs = sorted(int(taken.get(timeout=PATIENCE).payload) for _ in range(20))
    check(jobs, list(range(20)))


def message_expiry(bench):
    device = bench.open("device", bench.first, clean=False, expiry_s=3600)
    device.subscribe(bench.topic("t"), 1)
    device.disconnect()
    writer = bench.open("writer", bench.first)
    writer.publish(bench.topic("t"), b"short", properties={"message_expiry_s": 1})
    writer.publish(bench.topic("t"), b"long", properties={"message_expiry_s": 3600})
    bench.wait_s(2)
    device = bench.open("device", bench.other, clean=False, expiry_s=3600)
    message = device.receive()
    check(message.payload, b"long")
    left = message.properties["message_expiry_s"]
    if not 3500 < left < 3600:
        raise Failure(f"{left} s are left")


def session_expiry(bench):
    watcher = bench.open("watcher", bench.other)
    watcher.subscribe(bench.topic("gone"), 1)
    way = Cut(bench.first)
    # Published when the session ends, which is long before its delay has passed.
    last = Will(bench.topic("gone"), b"over", delay_s=3600)
    bench.open("device", way.place, clean=False, expiry_s=1, will=last)
    way.cut()
    check(watcher.receive().payload, b"over")
    device = bench.open("device", bench.other, clean=False, expiry_s=0)
    check(device.session_present, False)


def properties(bench):
    sent = {
        "content_type": "text/plain",
        "response_topic": bench.topic("answer"),
        "correlation_data": b"\x00\xff1",
        "user_properties": [("b", "1"), ("a", "2"), ("b", "1")],
        "payload_format": 1,
    }
    server = bench.open("server", bench.other)
    server.subscribe(bench.topic("ask"), 1)
    asker = bench.open("asker", bench.first)
    asker.subscribe(bench.topic("answer"), 1)
    asker.publish(bench.topic("ask"), "wie geht’s?".encode(), properties=sent)
    question = server.receive()
    check({name: question.properties.get(name) for name in sent}, sent)
    answer = {"correlation_data": question.properties["correlation_data"]}
    server.publish(question.properties["response_topic"], b"gut", properties=answer)
    check(asker.receive().properties["correlation_data"], b"\x00\xff1")


def subscription_ids(bench):
    reader = bench.open("reader", bench.other)
    reader.subscribe(bench.topic("#"), 1, identifier=7)
    reader.subscribe(bench.topic("+"), 1, identifier=268_435_455)
    bench.open("writer", bench.first).publish(bench.topic("t"), b"both")
    check(sorted(reader.receive().properties["subscription_ids"]), [7, 268_435_455])


def no_certificate(bench):
    if not bench.first.secure:
        raise Unsupported("the transport has no certificates")
    try:
        bench.open("nobody", dataclasses.replace(bench.first, certificate=False))
    except Refused:
        return
    raise Failure("a client without a certificate was accepted")


def password(bench):
    bench.open("known", bench.first, user="device", password="secret").disconnect()
    try:
        bench.open("unknown", bench.first, user="device", password="guess")
    except Refused:
        return
    raise Failure("a wrong password was accepted")


OF_BOTH = (
    connect,
    levels,
    retained,
    will,
    resume,
    takeover,
    large,
    in_order,
    shared,
    no_certificate,
    password,
)
OF_VERSION_5 = (message_expiry, session_expiry, properties, subscription_ids)


def one_line(error):
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text} ({type(error).__name__}, line {where.lineno})"


class Report:
    def __init__(self):
        self.lock = threading.Lock()
        self.failed = 0

    def run(self, bench, case):
        name = f"{bench.version} {bench.first.transport} {case.__name__}"
        began = time.monotonic()
        try:
            if reason := bench.library.lacks(bench.version, bench.first.transport, case.__name__):
                raise Unsupported(reason)
            bench.run(case)
            line = f"ok {name} {(time.monotonic() - began) * 1000:.0f}"
        except Unsupported as reason:
            line = f"skip {name}: {reason}"
        except Exception as error:
            self.failed += 1
            line = f"not ok {name}: {one_line(error)}"
        with self.lock:
            print(line, flush=True)


def places(text, certs):
    """`tcp=HOST:PORT,mtls=HOST:PORT` as places by transport."""
    found = {}
    for part in text.split(","):
        transport, address = part.split("=")
        host, port = address.rsplit(":", 1)
        found[transport] = Place(transport, host, int(port), certs)
    return found


def main(library):
    """Runs all cases of one library and exits."""
    parser = argparse.ArgumentParser(description=library.__doc__)
    parser.add_argument("--first", required=True, help="a gateway: tcp=HOST:PORT,mtls=HOST:PORT,...")
    parser.add_argument("--other", required=True, help="another gateway of its fleet")
    parser.add_argument("--certs", required=True, help="folder with ca.pem, device-1.pem, device-1.key")
    parser.add_argument("--only", default="", help="run what has this in its name, such as '5.0 mtls'")
    wanted = parser.parse_args()
    first, other = (places(text, wanted.certs) for text in (wanted.first, wanted.other))
    print(f"client {library.NAME} {library.VERSION}", flush=True)
    report = Report()

    def all_cases(version, transport):
        bench = Bench(library, version, (first[transport], other[transport]))
        for case in OF_BOTH + (OF_VERSION_5 if version == "5.0" else ()):
            if wanted.only in f"{version} {transport} {case.__name__}":
                report.run(bench, case)

    threads = [
        threading.Thread(target=all_cases, args=(version, transport))
        for version in library.VERSIONS
        for transport in library.TRANSPORTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.flush()
    sys.exit(1 if report.failed else 0)
