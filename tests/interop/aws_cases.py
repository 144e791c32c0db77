"""AWS IoT Device SDK v2: the cases by its clients of 3.1.1 and of 5.0, which send `?SDK=...` as user name."""

import importlib.metadata
import queue
import sys
from concurrent.futures import Future

from awscrt import io, mqtt, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder, mqtt_connection_builder

import cases

NAME = "awsiotsdk"
VERSION = importlib.metadata.version("awsiotsdk")
VERSIONS = ("3.1.1", "5.0")
TRANSPORTS = cases.TRANSPORTS
TOP_QOS = 1
# Longer than a case: what is closed stays closed.
LATER_S = 600
PATIENCE_MS = cases.PATIENCE * 1000


def lacks(version, transport, case):
    return None


def tls(place):
    """What the SDK's builders do not offer: a certificate with WebSocket, and no certificate."""
    if not place.secure:
        return None
    if place.certificate:
        files = place.file("device-1.pem"), place.file("device-1.key")
        options = io.TlsContextOptions.create_client_with_mtls_from_path(*files)
    else:
        options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, place.file("ca.pem"))
    if place.transport == "mtls":
        options.alpn_list = ["x-amzn-mqtt-ca"]
    return io.ClientTlsContext(options)


def by_builder(place):
    """The way that the SDK's pages show."""
    return {
        "endpoint": place.host,
        "port": place.port,
        "cert_filepath": place.file("device-1.pem"),
        "pri_key_filepath": place.file("device-1.key"),
        "ca_filepath": place.file("ca.pem"),
        "tcp_connect_timeout_ms": PATIENCE_MS,
    }


def socket_options():
    """With more patience than five seconds, which are little on a machine that builds meanwhile."""
    options = io.SocketOptions()
    options.connect_timeout_ms = PATIENCE_MS
    return options


class Link3(cases.Link):
    """The client of 3.1.1."""

    def __init__(self, place, wanted):
        super().__init__()
        last = wanted.will
        more = {
            "client_id": wanted.client_id,
            "clean_session": wanted.clean,
            "username": wanted.user,
            "password": wanted.password,
            "keep_alive_secs": 60,
            # Also how long it waits for CONNACK: three seconds are little on a machine that builds meanwhile.
            "ping_timeout_ms": PATIENCE_MS,
            "reconnect_min_timeout_secs": LATER_S,
            "reconnect_max_timeout_secs": LATER_S,
            "will": last and mqtt.Will(last.topic, mqtt.QoS.AT_LEAST_ONCE, last.payload, False),
            "on_connection_interrupted": lambda *_, **__: self.closed.set(),
        }
        if place.transport == "mtls" and place.certificate:
            self.connection = mqtt_connection_builder.mtls_from_path(**by_builder(place), **more)
        else:
            self.connection = mqtt.Connection(
                client=mqtt.Client(tls_ctx=tls(place)),
                host_name=place.host,
                port=place.port,
                use_websockets=place.websocket,
                socket_options=socket_options(),
                **more,
            )
        self.connection.on_message(self.on_message)
        try:
            answer = self.connection.connect().result(cases.PATIENCE)
        except AwsCrtError as error:
            raise cases.Refused(str(error)) from error
        self.session_present = answer["session_present"]

    def on_message(self, topic, payload, dup, qos, retain, **_):
        self.messages.put(cases.Message(topic, bytes(payload), int(qos), retain))

    def subscribe(self, topic_filter, qos, identifier=None):
        started, _ = self.connection.subscribe(topic_filter, mqtt.QoS(qos))
        cases.check(int(started.result(cases.PATIENCE)["qos"]), qos)

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        started, _ = self.connection.publish(topic, payload, mqtt.QoS(qos), retain)
        started.result(cases.PATIENCE)

    def publish_many(self, topic, payloads, qos):
        started = [self.connection.publish(topic, each, mqtt.QoS(qos))[0] for each in payloads]
        for each in started:
            each.result(cases.PATIENCE)

    def disconnect(self):
        stopping = self.connection.disconnect()
        # A connection that was lost is stopped when its next try to connect is due.
        if not self.closed.is_set():
            stopping.result(cases.PATIENCE)


class Link5(cases.Link):
    """The client of 5.0."""

    def __init__(self, place, wanted):
        super().__init__()
        self.connected = queue.SimpleQueue()
        self.stopped = Future()
        last = wanted.will
        packet = mqtt5.ConnectPacket(
            keep_alive_interval_sec=60,
            client_id=wanted.client_id,
            username=wanted.user,
            password=wanted.password,
            session_expiry_interval_sec=wanted.expiry_s,
            will_delay_interval_sec=last.delay_s if last else None,
            will=last and mqtt5.PublishPacket(topic=last.topic, payload=last.payload, qos=mqtt5.QoS(1)),
        )
        behavior = mqtt5.ClientSessionBehaviorType
        more = {
            "connect_options": packet,
            "session_behavior": behavior.CLEAN if wanted.clean else behavior.REJOIN_ALWAYS,
            "min_reconnect_delay_ms": LATER_S * 1000,
            "max_reconnect_delay_ms": LATER_S * 1000,
            "connack_timeout_ms": PATIENCE_MS,
            "ping_timeout_ms": PATIENCE_MS,
            # By itself the builder's client sends 100 messages a second, which is the limit of AWS.
            "extended_validation_and_flow_control_options": (
                mqtt5.ExtendedValidationAndFlowControlOptions.NONE
            ),
            "on_publish_callback_fn": self.on_publish,
            "on_lifecycle_event_connection_success_fn": self.on_success,
            "on_lifecycle_event_connection_failure_fn": self.on_failure,
            "on_lifecycle_event_disconnection_fn": lambda _: self.closed.set(),
            "on_lifecycle_event_stopped_fn": lambda _: self.stopped.set_result(None),
        }
        self.client = self.build(place, more)
        self.client.start()
        answer = self.connected.get(timeout=cases.PATIENCE)
        if isinstance(answer, cases.Refused):
            self.client.stop()
            raise answer
        self.session_present = answer.session_present

    @staticmethod
    def build(place, more):
        if place.transport == "mtls" and place.certificate:
            names = {
                "on_publish_callback_fn": "on_publish_received",
                "on_lifecycle_event_connection_success_fn": "on_lifecycle_connection_success",
                "on_lifecycle_event_connection_failure_fn": "on_lifecycle_connection_failure",
                "on_lifecycle_event_disconnection_fn": "on_lifecycle_disconnection",
                "on_lifecycle_event_stopped_fn": "on_lifecycle_stopped",
            }
            more = {names.get(name, name): value for name, value in more.items()}
            # The builder has a user name of its own, whatever the packet has.
            more["username"] = more["connect_options"].username or ""
            return mqtt5_client_builder.mtls_from_path(**by_builder(place), **more)
        shake = (lambda transform_args: transform_args.set_done()) if place.websocket else None
        return mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=place.host,
                port=place.port,
                tls_ctx=tls(place),
                socket_options=socket_options(),
                websocket_handshake_transform=shake,
                **more,
            )
        )

    def on_success(self, data):
        self.connected.put(data.connack_packet)

    def on_failure(self, data):
        self.connected.put(cases.Refused(str(data.exception)))

    def on_publish(self, data):
        packet = data.publish_packet
        properties = {
            "content_type": packet.content_type,
            "response_topic": packet.response_topic,
            "correlation_data": packet.correlation_data_bytes,
            "payload_format": packet.payload_format_indicator,
            "message_expiry_s": packet.message_expiry_interval_sec,
            "user_properties": [(each.name, each.value) for each in packet.user_properties or ()],
            "subscription_ids": packet.subscription_identifiers,
        }
        message = (packet.topic, bytes(packet.payload or b""), int(packet.qos), packet.retain)
        self.messages.put(cases.Message(*message, properties))

    def subscribe(self, topic_filter, qos, identifier=None):
        one = mqtt5.Subscription(topic_filter, mqtt5.QoS(qos))
        packet = mqtt5.SubscribePacket([one], subscription_identifier=identifier)
        answer = self.client.subscribe(packet).result(cases.PATIENCE)
        cases.check([int(code) for code in answer.reason_codes], [qos])

    def start(self, topic, payload, qos, retain=False, properties=None):
        sent = properties or {}
        packet = mqtt5.PublishPacket(
            topic=topic,
            payload=payload,
            qos=mqtt5.QoS(qos),
            retain=retain,
            content_type=sent.get("content_type"),
            response_topic=sent.get("response_topic"),
            correlation_data_bytes=sent.get("correlation_data"),
            payload_format_indicator=sent.get("payload_format"),
            message_expiry_interval_sec=sent.get("message_expiry_s"),
            user_properties=[mqtt5.UserProperty(*each) for each in sent.get("user_properties", ())],
        )
        return self.client.publish(packet)

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        self.start(topic, payload, qos, retain, properties).result(cases.PATIENCE)

    def publish_many(self, topic, payloads, qos):
        for started in [self.start(topic, payload, qos) for payload in payloads]:
            started.result(cases.PATIENCE)

    def disconnect(self):
        if not self.stopped.done():
            self.client.stop()
            self.stopped.result(cases.PATIENCE)


def connect(place, version, wanted):
    return Link5(place, wanted) if version == "5.0" else Link3(place, wanted)


if __name__ == "__main__":
    cases.main(sys.modules[__name__])
