"""boto3's client of AWS's data plane, pointed at two gateways: what it asks is answered, and what is refused it raises as the
exception that its model names. It signs its requests with keys that nobody knows; the certificate says who it is."""

import argparse
import json
import os
import queue
import ssl
import time

import boto3
import paho.mqtt.client as mqtt
from botocore.config import Config

# Seconds; for what the other gateway hears of by itself.
PATIENCE = 55


def client(url, certs):
    device = os.path.join(certs, "device-1.pem"), os.path.join(certs, "device-1.key")
    config = Config(client_cert=device, retries={"total_max_attempts": 1}, read_timeout=PATIENCE)
    return boto3.client(
        "iot-data",
        endpoint_url=url,
        region_name="eu-central-1",
        verify=os.path.join(certs, "ca.pem"),
        aws_access_key_id="nobody",
        aws_secret_access_key="knows",
        config=config,
    )


def raises(name, call):
    """The call is refused with this exception of the model."""
    try:
        answer = call()
    except Exception as error:
        assert type(error).__name__ == name, f"{error!r} instead of {name}"
        assert error.response["Error"]["Message"], f"{name} without a message"
        return
    raise AssertionError(f"{answer} instead of {name}")


def eventually(call, missing):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except missing:
            assert time.monotonic() < until, "it does not come"
            time.sleep(0.02)


def patiently(call, done="none"):
    """Asks again what a busy machine had no time for; then it may be `done` already."""
    until, asked = time.monotonic() + PATIENCE, False
    while True:
        try:
            return call()
        except Exception as error:
            name = type(error).__name__
            if asked and name == done:
                return None
            if name not in ("ServiceUnavailableException", "GatewayTimeoutException"):
                raise
            assert time.monotonic() < until, f"{error!r}"
            asked = True


def publish(here):
    answer = here.publish(
        topic="boto/full topic",
        qos=1,
        retain=True,
        payload=b"\x00on",
        userProperties=[{"name": "first"}, {"name": "second"}],
        payloadFormatIndicator="UNSPECIFIED_BYTES",
        contentType="text/plain; charset=utf-8",
        responseTopic="answers/here",
        correlationData="AAE=",
        messageExpiry=600,
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200, answer
    # As AWS's pages have it: a text.
    here.publish(topic="boto/text", qos=1, retain=True, userProperties='[{"a":"b"}]', payload="x")
    here.publish(topic="boto/plain")


def retained(there):
    missing = there.exceptions.ResourceNotFoundException
    it = eventually(lambda: there.get_retained_message(topic="boto/text"), missing)
    assert it["userProperties"] == b'[{"a":"b"}]', it
    it = there.get_retained_message(topic="boto/full topic")
    assert (it["topic"], it["payload"], it["qos"]) == ("boto/full topic", b"\x00on", 1), it
    assert it["userProperties"] == b'[{"name":"first"},{"name":"second"}]', it
    pages = there.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 1})
    topics = [it["topic"] for page in pages for it in page["retainedTopics"]]
    assert topics == ["boto/full topic", "boto/text"], topics


def refusals(here):
    raises("ResourceNotFoundException", lambda: here.get_retained_message(topic="boto/none"))
    raises("InvalidRequestException", lambda: here.publish(topic="boto/#"))
    raises("InvalidRequestException", lambda: here.publish(topic="boto", userProperties=[1]))
    raises("ForbiddenException", lambda: here.publish(topic="$SYS/boto"))
    large = b"x" * 100_000
    raises("RequestEntityTooLargeException", lambda: here.publish(topic="boto", payload=large))


def read(answer):
    return json.loads(answer["payload"].read())


def shadows(here, there):
    for more in ({}, {"shadowName": "$config:1"}):
        which = {"thingName": "boto-lamp"} | more
        raises("ResourceNotFoundException", lambda: here.get_thing_shadow(**which))
        raises("ResourceNotFoundException", lambda: here.delete_thing_shadow(**which))
        change = {"state": {"desired": {"led": "on", "n": 1.0}, "reported": {"led": "off"}}}
        answer = read(here.update_thing_shadow(**which, payload=json.dumps(change | {"clientToken": "t"})))
        assert (answer["version"], answer["clientToken"]) == (1, "t"), answer
        assert answer["state"] == change["state"], answer
        # Any gateway has it.
        got = read(there.get_thing_shadow(**which))
        assert got["state"] == change["state"] | {"delta": {"led": "on", "n": 1.0}}, got
        assert sorted(got["metadata"]) == ["delta", "desired", "reported"], got
        refused = lambda payload: lambda: there.update_thing_shadow(**which, payload=payload)
        raises("ConflictException", refused(b'{"state":{},"version":7}'))
        for payload in (b"{", b"{}", b'{"state":{"delta":{}}}'):
            raises("InvalidRequestException", refused(payload))
        raises("UnsupportedDocumentEncodingException", refused(b'{"state":{"desired":{"a":"\xff"}}}'))
        raises("RequestEntityTooLargeException", refused(b'{"state":{"desired":{"a":"%s"}}}' % (b"x" * 8192)))
        answer = read(there.update_thing_shadow(**which, payload=b'{"state":{"reported":null},"version":1}'))
        assert (answer["version"], answer["state"]) == (2, {"reported": None}), answer
        assert sorted(read(here.delete_thing_shadow(**which))) == ["timestamp", "version"]
        raises("ResourceNotFoundException", lambda: there.get_thing_shadow(**which))
    names = [f"s-{number}" for number in range(5)]
    for name in names:
        here.update_thing_shadow(thingName="boto-many", shadowName=name, payload=b'{"state":{}}')
    listed, token = [], {}
    while True:
        page = there.list_named_shadows_for_thing(thingName="boto-many", pageSize=2, **token)
        assert len(page["results"]) <= 2 and abs(page["timestamp"] - time.time()) < 3600, page
        listed += page["results"]
        if not page.get("nextToken"):
            break
        token = {"nextToken": page["nextToken"]}
    assert listed == names, listed
    assert here.list_named_shadows_for_thing(thingName="boto-none")["results"] == []


class Device:
    """A client of 5.0 by paho, with a certificate; it acknowledges nothing if it is `deaf`."""

    def __init__(self, name, address, certs, deaf=False):
        self.messages, self.ended = queue.SimpleQueue(), queue.SimpleQueue()
        subscribed = queue.SimpleQueue()
        api = mqtt.CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(api, client_id=name, protocol=mqtt.MQTTv5, manual_ack=deaf)
        device = os.path.join(certs, "device-1.pem"), os.path.join(certs, "device-1.key")
        self.client.tls_set(os.path.join(certs, "ca.pem"), *device, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.on_disconnect = lambda *_: self.ended.put(None)
        host, port = address.rsplit(":", 1)
        # What is ended by an operator does not come back by itself.
        self.client.reconnect_delay_set(600, 600)
        self.client.connect(host, int(port), keepalive=60)
        self.client.loop_start()
        self.client.subscribe([("t/+", 1), ("u", 0), ("v/#", 1)])
        subscribed.get(timeout=PATIENCE)


def connections(here, there, mqtts, certs):
    raises("ResourceNotFoundException", lambda: here.get_connection(clientId="boto-nobody"))
    raises("ResourceNotFoundException", lambda: here.list_subscriptions(clientId="boto-nobody"))
    raises("ResourceNotFoundException", lambda: here.delete_connection(clientId="boto-nobody"))
    give = {"topic": "only/you", "payload": b"\x00hello"}
    raises("ResourceNotFoundException", lambda: here.send_direct_message(clientId="boto-nobody", **give))
    # One at each gateway, both asked about at the first.
    for number, address in enumerate(mqtts):
        name = f"boto/device {number}"
        device = Device(name, address, certs)
        it = here.get_connection(clientId=name, includeSocketInformation=True)
        assert (it["clientId"], it["connected"], it["cleanSession"]) == (name, True, True), it
        assert (it["keepAliveDuration"], it["sourceIp"]) == (60, "127.0.0.1"), it
        assert abs(it["connectedSince"] / 1000 - time.time()) < 3600, it
        paginator = here.get_paginator("list_subscriptions")
        pages = lambda: list(paginator.paginate(clientId=name, PaginationConfig={"PageSize": 2}))
        filters = [(it["topicFilter"], it["qos"]) for page in patiently(pages) for it in page["subscriptions"]]
        assert filters == [("t/+", 1), ("u", 0), ("v/#", 1)], filters
        full = {
            "clientId": name,
            "confirmation": True,
            "timeout": 15,
            "contentType": "text/plain",
            "responseTopic": "answers",
            "correlationData": "AAE=",
            "userProperties": [{"first": "1"}, {"second": "2"}],
            "payloadFormatIndicator": "UNSPECIFIED_BYTES",
        }
        patiently(lambda: here.send_direct_message(**full, **give))
        message = device.messages.get(timeout=PATIENCE)
        assert (message.topic, message.payload, message.qos) == ("only/you", b"\x00hello", 1), message
        properties = message.properties
        assert (properties.ContentType, properties.ResponseTopic) == ("text/plain", "answers")
        assert properties.CorrelationData == b"\x00\x01"
        assert properties.UserProperty == [("first", "1"), ("second", "2")], properties.UserProperty
        patiently(lambda: here.send_direct_message(clientId=name, topic="and/again"))
        # What was asked for again may come again.
        while (message := device.messages.get(timeout=PATIENCE)).topic == "only/you":
            pass
        assert (message.topic, message.payload, message.qos) == ("and/again", b"", 0), message
        raises("InvalidRequestException", lambda: here.send_direct_message(clientId=name, topic="a/#"))
        raises("ForbiddenException", lambda: here.send_direct_message(clientId=name, topic="$SYS/x"))
        patiently(lambda: here.delete_connection(clientId=name), "ResourceNotFoundException")
        device.ended.get(timeout=PATIENCE)
        it = there.get_connection(clientId=name)
        assert (it["connected"], it["disconnectReason"]) == (False, "API_INITIATED_DISCONNECT"), it
        assert abs(it["disconnectedSince"] / 1000 - time.time()) < 3600, it
        raises("ResourceNotFoundException", lambda: here.send_direct_message(clientId=name, **give))
        device.client.loop_stop()
    deaf = Device("boto-deaf", mqtts[1], certs, deaf=True)
    silent = lambda: here.send_direct_message(clientId="boto-deaf", confirmation=True, timeout=1, **give)
    raises("GatewayTimeoutException", silent)
    ends = {"clientId": "boto-deaf", "cleanSession": True, "preventWillMessage": True}
    patiently(lambda: here.delete_connection(**ends), "ResourceNotFoundException")
    deaf.ended.get(timeout=PATIENCE)
    deaf.client.loop_stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certs", required=True)
    parser.add_argument("--mqtts", nargs=2, required=True)
    parser.add_argument("--urls", nargs=2, required=True)
    arguments = parser.parse_args()
    # What the machine is set up for is not what is tried.
    os.environ["NO_PROXY"] = "*"
    here, there = (client(url, arguments.certs) for url in arguments.urls)
    publish(here)
    retained(there)
    refusals(here)
    shadows(here, there)
    connections(here, there, arguments.mqtts, arguments.certs)


if __name__ == "__main__":
    main()
