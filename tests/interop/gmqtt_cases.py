"""gmqtt: the cases by a client library for asyncio that speaks 5.0 by itself."""

import asyncio
import importlib.metadata
import logging
import ssl
import sys
import threading

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.storage import PersistentStorage

import cases

NAME = "gmqtt"
VERSION = importlib.metadata.version("gmqtt")
VERSIONS = ("3.1.1", "5.0")
TRANSPORTS = ("tcp", "mtls")
TOP_QOS = 2

# Ours and the library's names of properties.
PROPERTIES = {
    "content_type": "content_type",
    "response_topic": "response_topic",
    "correlation_data": "correlation_data",
    "user_properties": "user_property",
    "payload_format": "payload_format_id",
    "message_expiry_s": "message_expiry_interval",
    "subscription_ids": "subscription_identifier",
}
MANY = ("user_properties", "subscription_ids")

logging.disable(logging.CRITICAL)
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def wait(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(cases.PATIENCE)


def lacks(version, transport, case):
    return None


class Link(cases.Link):
    def __init__(self, place, version, wanted):
        super().__init__()
        self.five = version == "5.0"
        wait(self.connect(place, wanted))

    async def connect(self, place, wanted):
        more = {}
        if self.five:
            more["session_expiry_interval"] = wanted.expiry_s
        if wanted.will:
            delay = {"will_delay_interval": wanted.will.delay_s} if self.five else {}
            last = wanted.will
            more["will_message"] = gmqtt.Message(last.topic, last.payload, qos=1, **delay)
        self.storage = PersistentStorage()
        self.client = gmqtt.Client(
            wanted.client_id, clean_session=wanted.clean, persistent_storage=self.storage, **more
        )
        self.client.set_config({"reconnect_retries": 0})
        self.subscribed = asyncio.Queue()
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_disconnect = lambda *_: self.closed.set()
        self.client.on_subscribe = lambda _c, _mid, codes, _p: self.subscribed.put_nowait(codes)
        if wanted.user is not None:
            self.client.set_auth_credentials(wanted.user, wanted.password)
        context = False
        if place.secure:
            context = ssl.create_default_context(cafile=place.file("ca.pem"))
            if place.certificate:
                context.load_cert_chain(place.file("device-1.pem"), place.file("device-1.key"))
        version = MQTTv50 if self.five else MQTTv311
        connecting = self.client.connect(
            place.host, place.port, ssl=context, keepalive=60, version=version
        )
        lost = asyncio.ensure_future(asyncio.to_thread(self.closed.wait))
        connecting = asyncio.ensure_future(connecting)
        try:
            await asyncio.wait({connecting, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise cases.Refused("the connection was closed")
            connecting.result()
        except (OSError, gmqtt.mqtt.handler.MQTTConnectError) as error:
            raise cases.Refused(str(error)) from error
        finally:
            connecting.cancel()

    def on_connect(self, _client, flags, _code, _properties):
        self.session_present = bool(flags & 1)

    def on_message(self, _client, topic, payload, qos, properties):
        got = {}
        for ours, theirs in PROPERTIES.items():
            if theirs in properties:
                value = properties[theirs]
                got[ours] = value if ours in MANY else value[0]
        retain = bool(properties["retain"])
        self.messages.put(cases.Message(topic, bytes(payload), qos, retain, got))
        return 0

    def subscribe(self, topic_filter, qos, identifier=None):
        async def subscribe():
            more = {} if identifier is None else {"subscription_identifier": identifier}
            self.client.subscribe(topic_filter, qos=qos, **more)
            return await self.subscribed.get()

        cases.check(list(wait(subscribe())), [qos])

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        async def publish():
            more = {PROPERTIES[name]: value for name, value in (properties or {}).items()}
            self.client.publish(topic, payload, qos=qos, retain=retain, **more)
            await self.storage.wait_empty()

        wait(publish())

    def publish_many(self, topic, payloads, qos):
        async def publish():
            # The library has no window of its own: a hundred at a time.
            for start in range(0, len(payloads), 100):
                for payload in payloads[start : start + 100]:
                    self.client.publish(topic, payload, qos=qos)
                await self.storage.wait_empty()

        wait(publish())

    def disconnect(self):
        wait(self.client.disconnect())
        self.closed.set()


connect = Link

if __name__ == "__main__":
    cases.main(sys.modules[__name__])
