"""paho-mqtt: the cases by the client library of Eclipse for Python."""

import importlib.metadata
import queue
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import cases

NAME = "paho-mqtt"
VERSION = importlib.metadata.version("paho-mqtt")
VERSIONS = ("3.1.1", "5.0")
TRANSPORTS = cases.TRANSPORTS
TOP_QOS = 2
WINDOW = 200

# Ours and the library's names of properties.
PROPERTIES = {
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "user_properties": "UserProperty",
    "payload_format": "PayloadFormatIndicator",
    "message_expiry_s": "MessageExpiryInterval",
    "subscription_ids": "SubscriptionIdentifier",
}


def lacks(version, transport, case):
    return None


class Link(cases.Link):
    def __init__(self, place, version, wanted):
        super().__init__()
        self.five = version == "5.0"
        self.answers = queue.SimpleQueue()
        self.connected = queue.SimpleQueue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=wanted.client_id,
            clean_session=None if self.five else wanted.clean,
            protocol=mqtt.MQTTv5 if self.five else mqtt.MQTTv311,
            transport="websockets" if place.websocket else "tcp",
            reconnect_on_failure=False,
        )
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_disconnect = self.on_disconnect
        self.client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.answers.put(codes)
        self.client.max_inflight_messages_set(WINDOW)
        if place.secure:
            context = ssl.create_default_context(cafile=place.file("ca.pem"))
            if place.certificate:
                context.load_cert_chain(place.file("device-1.pem"), place.file("device-1.key"))
            self.client.tls_set_context(context)
        if wanted.user is not None:
            self.client.username_pw_set(wanted.user, wanted.password)
        if wanted.will:
            self.set_will(wanted.will)
        self.connect(place, wanted)

    def set_will(self, will):
        properties = None
        if self.five:
            properties = Properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = will.delay_s
        self.client.will_set(will.topic, will.payload, qos=1, properties=properties)

    def connect(self, place, wanted):
        more = {}
        if self.five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = wanted.expiry_s
            more = {"clean_start": wanted.clean, "properties": properties}
        # Its own five seconds are little on a machine that builds meanwhile.
        self.client.connect_timeout = cases.PATIENCE
        try:
            self.client.connect(place.host, place.port, keepalive=60, **more)
        except (OSError, mqtt.WebsocketConnectionError) as error:
            raise cases.Refused(str(error)) from error
        self.client.loop_start()
        try:
            answer = self.connected.get(timeout=cases.PATIENCE)
        except queue.Empty:
            raise cases.Failure("no CONNACK came") from None
        if isinstance(answer, cases.Refused):
            self.client.loop_stop()
            raise answer
        self.session_present = answer.session_present

    def on_connect(self, _client, _userdata, flags, reason, _properties):
        self.connected.put(cases.Refused(str(reason)) if reason.is_failure else flags)

    def on_disconnect(self, _client, _userdata, _flags, reason, _properties):
        self.connected.put(cases.Refused(str(reason)))
        self.closed.set()

    def on_message(self, _client, _userdata, message):
        properties = {}
        for ours, theirs in PROPERTIES.items():
            if message.properties is not None and hasattr(message.properties, theirs):
                properties[ours] = getattr(message.properties, theirs)
        got = (message.topic, message.payload, message.qos, bool(message.retain), properties)
        self.messages.put(cases.Message(*got))

    def subscribe(self, topic_filter, qos, identifier=None):
        properties = None
        if identifier is not None:
            properties = Properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = identifier
        self.client.subscribe(topic_filter, qos, properties=properties)
        codes = self.answers.get(timeout=cases.PATIENCE)
        cases.check([code.value for code in codes], [qos])

    def start(self, topic, payload, qos, retain=False, properties=None):
        packed = None
        if properties:
            packed = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(packed, PROPERTIES[name], value)
        return self.client.publish(topic, payload, qos, retain, packed)

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        self.start(topic, payload, qos, retain, properties).wait_for_publish(cases.PATIENCE)

    def publish_many(self, topic, payloads, qos):
        # The library looks through all that wait for their turn each time one has had it.
        for start in range(0, len(payloads), WINDOW):
            turn = payloads[start : start + WINDOW]
            for started in [self.start(topic, payload, qos) for payload in turn]:
                started.wait_for_publish(cases.PATIENCE)

    def disconnect(self):
        self.client.disconnect()
        self.client.loop_stop()


connect = Link

if __name__ == "__main__":
    cases.main(sys.modules[__name__])
