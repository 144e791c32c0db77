"""The shadow clients of AWS IoT Device SDK v2 as they are: the older one, which subscribes and publishes itself, and the one
that asks and waits, each over 3.1.1 and over 5.0, for classic and for named shadows. What they ask is asked at one gateway.

One line is printed per case, and at the end how many there are:

    ok v2 5.0 named delta
    not ok v1 3.1.1 classic merge: {'a': 1} instead of {'a': 2}
    112 cases, 112 passed
"""

import argparse
import json
import queue
import sys
import time
import traceback
import uuid

from awscrt import mqtt, mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotshadow

import aws_cases
import cases
from cases import PATIENCE, check

QOS = mqtt.QoS.AT_LEAST_ONCE
KINDS = ("classic", "named")
SHADOW = "$config:1"


class Rejected(Exception):
    """What the fleet answers to a request that it does not do."""

    def __init__(self, error):
        super().__init__(f"{error.code} {error.message}")
        self.code, self.message, self.token = error.code, error.message, error.client_token
        # Whole seconds, which the SDK makes a date of.
        self.at = error.timestamp


class Names:
    """One shadow of one thing, and the classes by which the SDK asks about it."""

    def __init__(self, thing, kind):
        self.thing, self.named = thing, kind == "named"
        self.name = SHADOW if self.named else thing
        prefix = f"$aws/things/{thing}/shadow"
        self.prefix = f"{prefix}/name/{SHADOW}" if self.named else prefix
        self.which = {"thing_name": thing} | ({"shadow_name": SHADOW} if self.named else {})

    def request(self, operation, **more):
        name = f"{operation}NamedShadowRequest" if self.named else f"{operation}ShadowRequest"
        return getattr(iotshadow, name)(**self.which, **more)

    def subscription(self, what):
        name = f"NamedShadow{what}SubscriptionRequest" if self.named else f"Shadow{what}SubscriptionRequest"
        return getattr(iotshadow, name)(**self.which)

    def answers(self, operation):
        kind = "NamedShadow" if self.named else "Shadow"
        return getattr(iotshadow, f"{operation}{kind}SubscriptionRequest")(**self.which)

    def method(self, classic):
        """The name of a method, which has `named` before `shadow` if the shadow has a name."""
        return classic.replace("shadow", "named_shadow", 1) if self.named else classic


class Asker:
    """One of the clients, at one gateway."""

    tokens = False

    def __init__(self, link):
        self.link = link

    def ask(self, names, operation, **more):
        raise NotImplementedError

    def watch(self, names, what):
        """A queue of events: `Updated` or `DeltaUpdated`. It is subscribed to when this returns."""
        raise NotImplementedError

    def get(self, names, **more):
        return self.ask(names, "Get", **more)

    def delete(self, names, **more):
        return self.ask(names, "Delete", **more)

    def update(self, names, version=None, **sections):
        state = iotshadow.ShadowState(**sections)
        # A section that is given as None is one that is to go.
        state.desired_is_nullable, state.reported_is_nullable = ("desired" in sections, "reported" in sections)
        return self.ask(names, "Update", state=state, version=version)


class V1(Asker):
    """The older client: it subscribes to answers and publishes requests, and people match them by token."""

    name, tokens = "v1", True

    def __init__(self, link):
        super().__init__(link)
        connection = getattr(link, "connection", None) or link.client
        self.client = iotshadow.IotShadowClient(connection)
        # The shadow client makes a connection of its own of a client of 5.0.
        self.connection = self.client.mqtt_connection
        self.answers = {}

    def listen(self, names, operation):
        """The answers about a shadow come to one queue, however often it is asked for."""
        key = (names.prefix, operation)
        if key not in self.answers:
            self.answers[key] = answers = queue.SimpleQueue()
            for kind in ("accepted", "rejected"):
                method = names.method(f"subscribe_to_{operation.lower()}_shadow_{kind}")
                put = lambda answer, kind=kind: answers.put((kind, answer))
                done, _ = getattr(self.client, method)(names.answers(operation), QOS, put)
                done.result(PATIENCE)
        return self.answers[key]

    def ask(self, names, operation, client_token=None, **more):
        answers = self.listen(names, operation)
        token = client_token or str(uuid.uuid4())
        request = names.request(operation, client_token=token, **more)
        method = names.method(f"publish_{operation.lower()}_shadow")
        getattr(self.client, method)(request, QOS).result(PATIENCE)
        return self.answer(answers, token)

    def ask_raw(self, names, operation, payload):
        """What this client does not send by itself: the answer to any bytes, without a token."""
        answers = self.listen(names, operation)
        started, _ = self.connection.publish(f"{names.prefix}/{operation.lower()}", payload, QOS)
        started.result(PATIENCE)
        return self.answer(answers, None)

    @staticmethod
    def answer(answers, token):
        """The answer with this token: whoever asks of the same shadow is answered on the same topics."""
        while True:
            kind, answer = answers.get(timeout=PATIENCE)
            if answer is None:
                raise cases.Failure("an answer that the SDK cannot read")
            if answer.client_token == token:
                break
        if kind == "rejected":
            raise Rejected(answer)
        return answer

    def watch(self, names, what):
        events = queue.SimpleQueue()
        kind = {"Updated": "updated", "DeltaUpdated": "delta_updated"}[what]
        method = f"subscribe_to_{'named_' if names.named else ''}shadow_{kind}_events"
        done, _ = getattr(self.client, method)(names.subscription(what), QOS, events.put)
        done.result(PATIENCE)
        return events


class V2(Asker):
    """The client that asks and waits: it makes its tokens itself, and knows its answers by them."""

    name = "v2"

    def __init__(self, link):
        super().__init__(link)
        connection = getattr(link, "connection", None) or link.client
        options = mqtt_request_response.ClientOptions(4, 8, PATIENCE)
        self.client = iotshadow.IotShadowClientV2(connection, options)
        self.streams = []

    def ask(self, names, operation, **more):
        method = names.method(f"{operation.lower()}_shadow")
        try:
            return getattr(self.client, method)(names.request(operation, **more)).result(PATIENCE + 5)
        except V2ServiceException as error:
            if error.modeled_error is None:
                raise cases.Failure(f"{error.message}: {error.inner_error}") from error
            raise Rejected(error.modeled_error) from error

    def watch(self, names, what):
        events, subscribed = queue.SimpleQueue(), queue.SimpleQueue()
        options = ServiceStreamOptions(
            incoming_event_listener=events.put,
            subscription_status_listener=subscribed.put,
            deserialization_failure_listener=lambda it: events.put(None),
        )
        kind = {"Updated": "updated", "DeltaUpdated": "delta_updated"}[what]
        method = f"create_{'named_' if names.named else ''}shadow_{kind}_stream"
        stream = getattr(self.client, method)(names.subscription(what), options)
        stream.open()
        self.streams.append(stream)
        status = subscribed.get(timeout=PATIENCE)
        check(status.type, mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED)
        return events


def rejected(code, message, call):
    try:
        answer = call()
    except Rejected as error:
        check((error.code, error.message), (code, message))
        check(abs(error.at.timestamp() - time.time()) < 3600, True)
        return error
    raise cases.Failure(f"{answer!r:.200} instead of {code} {message}")


def event(events):
    it = events.get(timeout=PATIENCE)
    if it is None:
        raise cases.Failure("an event that the SDK cannot read")
    return it


def of_nothing(ask, there, names):
    """There is no shadow: 404, which names the shadow, or the thing of the classic one."""
    missing = f"No shadow exists with name: {names.name}"
    rejected(404, missing, lambda: ask.get(names))
    rejected(404, missing, lambda: ask.delete(names))


def made(ask, there, names):
    """The first update makes it in version 1; what is answered, and what is there then."""
    answer = ask.update(names, desired={"led": "on", "n": {"x": 1}}, reported={"led": "off"})
    check(answer.version, 1)
    check(answer.state.to_payload(), {"desired": {"led": "on", "n": {"x": 1}}, "reported": {"led": "off"}})
    at = int(answer.timestamp.timestamp())
    check(answer.metadata.desired, {"led": {"timestamp": at}, "n": {"x": {"timestamp": at}}})
    check(answer.metadata.reported, {"led": {"timestamp": at}})
    got = ask.get(names)
    check((got.version, got.state.desired), (1, {"led": "on", "n": {"x": 1}}))
    check((got.state.reported, got.state.delta), ({"led": "off"}, {"led": "on", "n": {"x": 1}}))
    check(got.metadata.desired, answer.metadata.desired)


def from_the_other_gateway(ask, there, names):
    """Any gateway takes any request, and each update is one version."""
    check(ask.update(names, reported={"a": 1}).version, 1)
    check(there.get(names).state.reported, {"a": 1})
    check(there.update(names, reported={"b": 2}).version, 2)
    check(ask.update(names, reported={"c": 3}).version, 3)
    check(there.get(names).state.reported, {"a": 1, "b": 2, "c": 3})


def merged(ask, there, names):
    """Objects are merged, null takes away, lists and all else take the place of what was there."""
    ask.update(names, reported={"a": 1, "deep": {"x": 1, "y": {"z": 2}}, "list": [1, 2, 3], "kind": 1})
    change = {"a": None, "deep": {"x": 5, "y": {"w": 3}}, "list": [4], "kind": {"now": "object"}}
    answer = ask.update(names, reported=change)
    check(answer.state.to_payload(), {"reported": change})
    left = {"deep": {"x": 5, "y": {"z": 2, "w": 3}}, "list": [4], "kind": {"now": "object"}}
    got = ask.get(names)
    check((got.state.reported, got.state.desired, got.state.delta), (left, None, None))
    check(sorted(got.metadata.reported), ["deep", "kind", "list"])
    check([sorted(it) for it in got.metadata.reported["list"]], [["timestamp"]])


def section_taken_away(ask, there, names):
    """null in the place of a section takes all of it away, and is answered as it was sent."""
    ask.update(names, desired={"a": 1}, reported={"b": 2})
    answer = ask.update(names, desired=None)
    check(answer.state.to_payload(), {"desired": None})
    got = ask.get(names)
    check((got.version, got.state.desired, got.state.reported), (2, None, {"b": 2}))
    check(ask.update(names, reported=None).version, 3)
    got = ask.get(names)
    check((got.version, got.state.desired, got.state.reported, got.state.delta), (3, None, None, None))


def nothing_changed(ask, there, names):
    """An update that says nothing, or nothing new, is a version of its own."""
    check(ask.update(names).version, 1)
    check(ask.update(names, desired={"a": 1}).version, 2)
    check(ask.update(names, desired={"a": 1}).version, 3)
    check(ask.update(names, desired={}).version, 4)


def values(ask, there, names):
    """What was sent comes back as it was sent."""
    sent = {
        "big": 123456789012345678901234567890,
        "negative": -(2**63),
        "fraction": 0.1,
        "whole": 1.0,
        "text": "ä 漢 \U0001f600 \"\\/\n\t",
        "empty": "",
        "no": False,
        "yes": True,
        "list": [[], [1, "two", False, {"three": [3]}]],
        "key with blanks ä": 1,
    }
    check(ask.update(names, reported=sent).state.reported, sent)
    got = ask.get(names).state.reported
    check(got, sent)
    check(type(got["whole"]), float)


def delta(ask, there, names):
    """After each update while the sections differ: all of what differs, in the version of the update."""
    events = ask.watch(names, "DeltaUpdated")
    answer = ask.update(names, desired={"a": 1, "deep": {"x": 1, "y": 2}, "list": [1]}, reported={"deep": {"x": 1}})
    it = event(events)
    check((it.version, it.state), (answer.version, {"a": 1, "deep": {"y": 2}, "list": [1]}))
    check(it.metadata["deep"], {"y": {"timestamp": int(it.timestamp.timestamp())}})
    # Also after what changes nothing of it, and in full.
    answer = ask.update(names, reported={"other": 1})
    it = event(events)
    check((it.version, it.state), (answer.version, {"a": 1, "deep": {"y": 2}, "list": [1]}))
    # No difference, no delta: the next one is of the version after.
    ask.update(names, reported={"a": 1.0, "deep": {"y": 2}, "list": [1]})
    check(ask.get(names).state.delta, None)
    answer = ask.update(names, desired={"list": [1, 2]})
    it = event(events)
    check((it.version, it.state), (answer.version, {"list": [1, 2]}))


def delta_elsewhere(ask, there, names):
    """Who watches at another gateway is told too."""
    events = there.watch(names, "DeltaUpdated")
    for number in range(1, 4):
        check(ask.update(names, desired={"n": number}).version, number)
        it = event(events)
        check((it.version, it.state), (number, {"n": number}))


def documents(ask, there, names):
    """After each update: what was there and what is, each with its version and its times."""
    events = ask.watch(names, "Updated")
    ask.update(names, desired={"a": 1})
    it = event(events)
    check((it.current.version, it.current.state.to_payload()), (1, {"desired": {"a": 1}}))
    at = int(it.timestamp.timestamp())
    check(it.current.metadata.desired, {"a": {"timestamp": at}})
    ask.update(names, desired={"b": 2}, reported={"c": 3})
    it = event(events)
    check((it.previous.version, it.previous.state.to_payload()), (1, {"desired": {"a": 1}}))
    now = {"desired": {"a": 1, "b": 2}, "reported": {"c": 3}}
    check((it.current.version, it.current.state.to_payload()), (2, now))


def version_conflict(ask, there, names):
    """An update of a version that is not the one there is not done."""
    check(ask.update(names, version=1, reported={"a": 1}).version, 1)
    check(ask.update(names, version=1, reported={"a": 2}).version, 2)
    for version in (1, 3):
        change = lambda: ask.update(names, version=version, reported={"a": 9})
        rejected(409, "Version conflict", change)
        rejected(409, "Version conflict", lambda: there.update(names, version=version, reported={"a": 9}))
    check(ask.get(names).state.reported, {"a": 2})


def deleted(ask, there, names):
    """It is gone, with the version that it had, and its version goes on when it is made again."""
    ask.update(names, reported={"a": 1})
    ask.update(names, reported={"a": 2})
    answer = ask.delete(names)
    check(answer.version, 2)
    check(abs(answer.timestamp.timestamp() - time.time()) < 3600, True)
    missing = f"No shadow exists with name: {names.name}"
    rejected(404, missing, lambda: ask.get(names))
    rejected(404, missing, lambda: there.delete(names))
    again = ask.update(names, reported={"b": 1})
    check(again.version > 2, True)
    check(ask.get(names).state.reported, {"b": 1})


def errors(ask, there, names):
    """What cannot be meant is refused in AWS's words, and nothing of it is done."""
    rejected(400, "Missing required node: state", lambda: ask.ask(names, "Update", version=1))
    deep = 1
    for _ in range(10):
        deep = {"a": deep}
    too_deep = "JSON contains too many levels of nesting; maximum is 8"
    rejected(400, too_deep, lambda: ask.update(names, desired=deep))
    null = "Invalid JSON: null is not allowed in an array"
    rejected(400, null, lambda: ask.update(names, desired={"a": [1, None]}))
    large = "The payload exceeds the maximum size allowed"
    rejected(413, large, lambda: ask.update(names, desired={"a": "x" * 8192}))
    check(ask.update(names, desired={"a": "x" * 8000}).version, 1)
    rejected(413, large, lambda: ask.update(names, reported={"b": "x" * 8000}))
    check(ask.get(names).version, 1)


def raw_errors(ask, there, names):
    """What no client of the SDK sends by itself: each has one answer, and the connection stays."""
    for payload, code, message in (
        (b"{", 400, "Invalid JSON"),
        (b"[]", 400, "Invalid JSON"),
        (b"", 400, "Invalid JSON"),
        (b"{}", 400, "Missing required node: state"),
        (b'{"state":1}', 400, "State node must be an object"),
        (b'{"state":{"desired":1}}', 400, "Desired node must be an object"),
        (b'{"state":{"reported":[]}}', 400, "Reported node must be an object"),
        (b'{"state":{"delta":{}}}', 400, "State contains an invalid node: 'delta'"),
        (b'{"state":{},"version":"1"}', 400, "Invalid version"),
        (b'{"state":{},"clientToken":1}', 400, "Invalid clientToken"),
        (b'{"state":{},"clientToken":"%s"}' % (b"x" * 65), 400, "Invalid clientToken"),
        (b'{"state":{"desired":{"a":"\xff"}}}', 415, "Unsupported documented encoding; supported encoding is UTF-8"),
    ):
        rejected(code, message, lambda: ask.ask_raw(names, "Update", payload))
    check(ask.update(names, reported={"a": 1}).version, 1)


def empty_bodies(ask, there, names):
    """A get and a delete without a body, as older clients send them, are answered without a token."""
    ask.update(names, reported={"a": 1})
    check(ask.ask_raw(names, "Get", b"").state.reported, {"a": 1})
    check(ask.ask_raw(names, "Delete", b"").version, 1)


def tokens(ask, there, names):
    """The token of a request comes back with its answer, and with what follows it."""
    events = ask.watch(names, "DeltaUpdated")
    token = "t" * 64
    ask.ask(names, "Update", client_token=token, state=iotshadow.ShadowState(desired={"a": 1}))
    check(event(events).client_token, token)
    ask.get(names, client_token=token)
    error = rejected(
        409,
        "Version conflict",
        lambda: ask.ask(names, "Update", client_token=token, state=iotshadow.ShadowState(), version=7),
    )
    check(error.token, token)
    ask.delete(names, client_token=token)


def state_cleared(ask, there, names):
    """`state: null` clears both sections; the shadow stays, in its next version."""
    ask.update(names, desired={"a": 1}, reported={"b": 1})
    check(ask.ask_raw(names, "Update", b'{"state":null}').version, 2)
    got = ask.get(names)
    check((got.version, got.state and (got.state.desired, got.state.reported, got.state.delta)), (2, (None,) * 3))


def one_answer_each(ask, there, names):
    """Requests beyond the pace of AWS are refused with 429, and each has exactly one answer."""
    ask.update(names, reported={"a": 1})
    answers, count = ask.listen(names, "Get"), 60
    wanted = {f"token-{number}" for number in range(count)}
    method = getattr(ask.client, names.method("publish_get_shadow"))
    sent = [method(names.request("Get", client_token=token), QOS) for token in sorted(wanted)]
    for each in sent:
        each.result(PATIENCE)
    got = [answers.get(timeout=PATIENCE) for _ in range(count)]
    check({answer.client_token for _, answer in got}, wanted)
    codes = {answer.code for kind, answer in got if kind == "rejected"}
    check(codes <= {429}, True)
    # The next answer is that to the next request.
    while True:
        try:
            ask.get(names)
            return
        except Rejected as error:
            check(error.code, 429)


OF_BOTH = (
    of_nothing,
    made,
    from_the_other_gateway,
    merged,
    section_taken_away,
    nothing_changed,
    values,
    delta,
    delta_elsewhere,
    documents,
    version_conflict,
    deleted,
    errors,
)
# What only a client does that publishes itself, or makes its tokens itself.
OF_V1 = (raw_errors, empty_bodies, tokens, state_cleared, one_answer_each)


def places(text, certs):
    host, port = text.rsplit(":", 1)
    return cases.Place("mtls", host, int(port), certs)


def run(kind, version, arguments):
    """All cases of one client with one version, on one connection at each gateway."""
    name = f"shadows-{kind.name}-{version}".replace(".", "-")
    links = []
    for number, address in enumerate((arguments.first, arguments.other)):
        wanted = cases.Wanted(f"{name}-{number}")
        links.append(aws_cases.connect(places(address, arguments.certs), version, wanted))
    ask, there = (kind(link) for link in links)
    results = []
    for shadow in KINDS:
        for case in OF_BOTH + (OF_V1 if kind is V1 else ()):
            what = f"{kind.name} {version} {shadow} {case.__name__}"
            names = Names(f"{name}-{case.__name__}", shadow)
            try:
                case(ask, there, names)
                results.append(True)
                print(f"ok {what}", flush=True)
            except Exception as error:
                results.append(False)
                print(f"not ok {what}: {cases.one_line(error)}", flush=True)
                traceback.print_exc()
    for each in (ask, there):
        # Streams end before their connection.
        getattr(each, "streams", []).clear()
        del each.client
    for link in links:
        link.disconnect()
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certs", required=True)
    parser.add_argument("--first", required=True)
    parser.add_argument("--other", required=True)
    arguments = parser.parse_args()
    results = []
    for kind in (V1, V2):
        for version in ("3.1.1", "5.0"):
            results += run(kind, version, arguments)
    print(f"{len(results)} cases, {sum(results)} passed", flush=True)
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
