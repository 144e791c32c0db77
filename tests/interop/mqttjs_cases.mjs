// MQTT.js: the cases of cases.py by the client library for JavaScript. The output is the same, line by line.
//
//   node mqttjs_cases.mjs --first tcp=HOST:PORT,mtls=HOST:PORT,... --other ... --certs DIR --libraries DIR [--only "5.0 wss"]

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { values: wanted } = parseArgs({
  options: {
    first: { type: "string" },
    other: { type: "string" },
    certs: { type: "string" },
    libraries: { type: "string" },
    only: { type: "string", default: "" },
  },
});
const require = createRequire(`${wanted.libraries}/`);
const mqtt = require("mqtt");
const { version: VERSION } = require("mqtt/package.json");

const PATIENCE_MS = 55_000;
const VERSIONS = ["3.1.1", "5.0"];
const TRANSPORTS = ["tcp", "mtls", "ws", "wss"];
const SCHEMES = { tcp: "mqtt", mtls: "mqtts", ws: "ws", wss: "wss" };

class Refused extends Error {}
class Unsupported extends Error {}

const same = (got, expected) => {
  const [a, b] = [got, expected].map((it) => JSON.stringify(it));
  if (a !== b) throw new Error(`${a} instead of ${b}`);
};

/** Fails when nothing comes of a promise in time. */
const soon = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** What came, in order, for whoever asks. */
class Inbox {
  #here = [];
  #asking = [];

  put(message) {
    const asking = this.#asking.shift();
    if (asking) asking(message);
    else this.#here.push(message);
  }

  next() {
    if (this.#here.length > 0) return this.#here.shift();
    return soon(new Promise((resolve) => this.#asking.push(resolve)), "a message");
  }
}

/** One connection. */
class Link {
  static async open(place, version, wish) {
    const { id, clean = true, expiry = 0, will, username, password, inbox = new Inbox() } = wish;
    const five = version === "5.0";
    const options = {
      clientId: id,
      clean,
      protocolVersion: five ? 5 : 4,
      reconnectPeriod: 0,
      connectTimeout: PATIENCE_MS,
      keepalive: 60,
      username,
      password,
      ...place.secrets,
    };
    if (five) options.properties = { sessionExpiryInterval: expiry };
    if (will) {
      const properties = five ? { willDelayInterval: will.delay ?? 0 } : undefined;
      options.will = { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, properties };
    }
    const link = new Link();
    link.inbox = inbox;
    link.client = mqtt.connect(place.url, options);
    link.closed = new Promise((resolve) => link.client.once("close", resolve));
    link.client.on("message", (topic, payload, packet) => inbox.put({ topic, payload, packet }));
    const answer = new Promise((resolve, reject) => {
      link.client.once("connect", resolve);
      link.client.once("error", (error) => reject(new Refused(error.message)));
      link.closed.then(() => reject(new Refused("closed")));
    });
    link.client.on("error", () => {});
    const { sessionPresent } = await soon(answer, "CONNACK");
    link.sessionPresent = sessionPresent;
    return link;
  }

  async subscribe(filter, qos, identifier) {
    const properties = identifier === undefined ? undefined : { subscriptionIdentifier: identifier };
    const granted = await soon(this.client.subscribeAsync(filter, { qos, properties }), "SUBACK");
    same(granted.map((it) => it.qos), [qos]);
  }

  publish(topic, payload, { qos = 1, retain = false, properties } = {}) {
    return soon(this.client.publishAsync(topic, payload, { qos, retain, properties }), "the answer");
  }

  receive() {
    return this.inbox.next();
  }

  /** As when the network fails. */
  cut() {
    this.client.stream.destroy();
  }

  async close() {
    if (this.client.connected) await soon(this.client.endAsync(), "the end");
    else this.client.end(true);
  }
}

/** One version over one transport, in one case. */
class Bench {
  constructor(version, transport, name) {
    Object.assign(this, { version, transport, name, links: [] });
    this.prefix = `mqttjs-${version}-${transport}`;
    [this.first, this.other] = [wanted.first, wanted.other].map((text) => place(text, transport));
  }

  topic(name) {
    return `${this.prefix}/${this.name}/${name}`;
  }

  async open(name, at, more = {}) {
    const link = await Link.open(at, this.version, { id: `${this.prefix}-${this.name}-${name}`, ...more });
    this.links.push(link);
    return link;
  }

  /** Waits until the gateway says that so much time has passed. */
  async waitSeconds(seconds) {
    const watcher = await this.open("watcher", this.other);
    await watcher.subscribe(this.topic("clock"), 1);
    const will = { topic: this.topic("clock"), payload: "now", delay: seconds };
    (await this.open("clock", this.first, { expiry: 3600, will })).cut();
    same(String((await watcher.receive()).payload), "now");
  }
}

const OF_BOTH = {
  async connect(bench) {
    const link = await bench.open("a", bench.first);
    same(link.sessionPresent, false);
  },

  async levels(bench) {
    const reader = await bench.open("reader", bench.other);
    await reader.subscribe(bench.topic("+"), 2);
    const writer = await bench.open("writer", bench.first);
    for (const qos of [0, 1, 2]) {
      await writer.publish(bench.topic(qos), "hello", { qos });
      const { topic, payload, packet } = await reader.receive();
      same([topic, String(payload), packet.qos], [bench.topic(qos), "hello", qos]);
    }
  },

  async retained(bench) {
    const writer = await bench.open("writer", bench.first);
    await writer.publish(bench.topic("state"), "on", { retain: true });
    const reader = await bench.open("reader", bench.other);
    await reader.subscribe(bench.topic("#"), 1);
    const { payload, packet } = await reader.receive();
    same([String(payload), packet.retain], ["on", true]);
    await writer.publish(bench.topic("state"), "", { retain: true });
    same(String((await reader.receive()).payload), "");
    const later = await bench.open("later", bench.other);
    await later.subscribe(bench.topic("#"), 1);
    await writer.publish(bench.topic("mark"), "mark");
    same(String((await later.receive()).payload), "mark");
  },

  async will(bench) {
    const watcher = await bench.open("watcher", bench.other);
    await watcher.subscribe(bench.topic("gone"), 1);
    const will = { topic: bench.topic("gone"), payload: "bye" };
    (await bench.open("device", bench.first, { will })).cut();
    same(String((await watcher.receive()).payload), "bye");
  },

  async resume(bench) {
    const kept = { clean: false, expiry: 3600 };
    const device = await bench.open("device", bench.first, kept);
    await device.subscribe(bench.topic("t"), 1);
    await device.close();
    const writer = await bench.open("writer", bench.first);
    for (const payload of ["one", "two", "three"]) await writer.publish(bench.topic("t"), payload);
    const again = await bench.open("device", bench.other, kept);
    same(again.sessionPresent, true);
    for (const payload of ["one", "two", "three"]) same(String((await again.receive()).payload), payload);
  },

  async takeover(bench) {
    const old = await bench.open("device", bench.first);
    const last = await bench.open("device", bench.other);
    await soon(old.closed, "the end");
    await last.subscribe(bench.topic("t"), 1);
    await last.publish(bench.topic("t"), "still here");
    same(String((await last.receive()).payload), "still here");
  },

  async large(bench) {
    const reader = await bench.open("reader", bench.other);
    await reader.subscribe(bench.topic("t"), 1);
    const payload = Buffer.alloc(1024 * 1024, "large payload ");
    await (await bench.open("writer", bench.first)).publish(bench.topic("t"), payload);
    if (!payload.equals((await reader.receive()).payload)) throw new Error("another payload came");
  },

  async in_order(bench) {
    const reader = await bench.open("reader", bench.other);
    await reader.subscribe(bench.topic("t"), 1);
    const writer = await bench.open("writer", bench.first);
    const count = 10_000;
    const sending = (async () => {
      // The library has no window of its own: a hundred at a time.
      for (let next = 0; next < count; next += 100) {
        const turn = Array.from({ length: 100 }, (_, at) => String(next + at));
        await Promise.all(turn.map((payload) => writer.publish(bench.topic("t"), payload)));
      }
    })();
    for (let next = 0; next < count; next += 1) same(String((await reader.receive()).payload), String(next));
    await sending;
  },

  async shared(bench) {
    const inbox = new Inbox();
    for (const [name, at] of [["first", bench.first], ["second", bench.other]]) {
      const member = await bench.open(name, at, { inbox });
      await member.subscribe(`$share/group/${bench.topic("jobs")}`, 1);
    }
    const writer = await bench.open("writer", bench.first);
    const jobs = Array.from({ length: 20 }, (_, number) => number);
    for (const job of jobs) await writer.publish(bench.topic("jobs"), String(job));
    const taken = [];
    for (const _ of jobs) taken.push(Number((await inbox.next()).payload));
    same(taken.sort((a, b) => a - b), jobs);
  },

  async no_certificate(bench) {
    if (!bench.first.secrets.cert) throw new Unsupported("the transport has no certificates");
    const secrets = { ca: bench.first.secrets.ca };
    try {
      await bench.open("nobody", { ...bench.first, secrets });
    } catch (error) {
      if (error instanceof Refused) return;
      throw error;
    }
    throw new Error("a client without a certificate was accepted");
  },

  async password(bench) {
    const device = (password) => ({ username: "device", password });
    await (await bench.open("known", bench.first, device("secret"))).close();
    try {
      await bench.open("unknown", bench.first, device("guess"));
    } catch (error) {
      if (error instanceof Refused) return;
      throw error;
    }
    throw new Error("a wrong password was accepted");
  },
};

const OF_VERSION_5 = {
  async message_expiry(bench) {
    const kept = { clean: false, expiry: 3600 };
    const device = await bench.open("device", bench.first, kept);
    await device.subscribe(bench.topic("t"), 1);
    await device.close();
    const writer = await bench.open("writer", bench.first);
    for (const [payload, messageExpiryInterval] of [["short", 1], ["long", 3600]]) {
      await writer.publish(bench.topic("t"), payload, { properties: { messageExpiryInterval } });
    }
    await bench.waitSeconds(2);
    const { payload, packet } = await (await bench.open("device", bench.other, kept)).receive();
    same(String(payload), "long");
    const left = packet.properties.messageExpiryInterval;
    if (!(left > 3500 && left < 3600)) throw new Error(`${left} s are left`);
  },

  async session_expiry(bench) {
    const watcher = await bench.open("watcher", bench.other);
    await watcher.subscribe(bench.topic("gone"), 1);
    // Published when the session ends, which is long before its delay has passed.
    const will = { topic: bench.topic("gone"), payload: "over", delay: 3600 };
    (await bench.open("device", bench.first, { clean: false, expiry: 1, will })).cut();
    same(String((await watcher.receive()).payload), "over");
    const device = await bench.open("device", bench.other, { clean: false });
    same(device.sessionPresent, false);
  },

  async properties(bench) {
    const server = await bench.open("server", bench.other);
    await server.subscribe(bench.topic("ask"), 1);
    const asker = await bench.open("asker", bench.first);
    await asker.subscribe(bench.topic("answer"), 1);
    const sent = {
      contentType: "text/plain",
      responseTopic: bench.topic("answer"),
      correlationData: Buffer.from([0, 255, 49]),
      userProperties: { b: ["1", "1"], a: "2" },
      payloadFormatIndicator: true,
    };
    await asker.publish(bench.topic("ask"), "wie geht’s?", { properties: sent });
    const { properties: got } = (await server.receive()).packet;
    same(Object.keys(sent).map((key) => got[key]), Object.values(sent));
    const { responseTopic, correlationData } = got;
    await server.publish(responseTopic, "gut", { properties: { correlationData } });
    same((await asker.receive()).packet.properties.correlationData, sent.correlationData);
  },

  async subscription_ids(bench) {
    const reader = await bench.open("reader", bench.other);
    await reader.subscribe(bench.topic("#"), 1, 7);
    await reader.subscribe(bench.topic("+"), 1, 268_435_455);
    await (await bench.open("writer", bench.first)).publish(bench.topic("t"), "both");
    const { subscriptionIdentifier } = (await reader.receive()).packet.properties;
    same([subscriptionIdentifier].flat().sort((a, b) => a - b), [7, 268_435_455]);
  },
};

/** `tcp=HOST:PORT,mtls=HOST:PORT` as the place of one transport. */
function place(text, transport) {
  const address = new Map(text.split(",").map((part) => part.split("="))).get(transport);
  const websocket = transport.startsWith("ws");
  const url = `${SCHEMES[transport]}://${address}${websocket ? "/mqtt" : ""}`;
  if (!["mtls", "wss"].includes(transport)) return { url, secrets: {} };
  const file = (name) => readFileSync(`${wanted.certs}/${name}`);
  return { url, secrets: { ca: file("ca.pem"), cert: file("device-1.pem"), key: file("device-1.key") } };
}

async function run(bench, body) {
  const name = `${bench.version} ${bench.transport} ${bench.name}`;
  const began = performance.now();
  try {
    await body(bench);
    console.log(`ok ${name} ${Math.round(performance.now() - began)}`);
  } catch (error) {
    const apart = error instanceof Unsupported;
    if (!apart) process.exitCode = 1;
    console.log(`${apart ? "skip" : "not ok"} ${name}: ${error.message.replace(/\s+/g, " ")}`);
  } finally {
    await Promise.allSettled(bench.links.map((link) => link.close()));
  }
}

async function allCases(version, transport) {
  const bodies = { ...OF_BOTH, ...(version === "5.0" ? OF_VERSION_5 : {}) };
  for (const [name, body] of Object.entries(bodies)) {
    if (!`${version} ${transport} ${name}`.includes(wanted.only)) continue;
    await run(new Bench(version, transport, name), body);
  }
}

console.log(`client MQTT.js ${VERSION}`);
await Promise.all(VERSIONS.flatMap((version) => TRANSPORTS.map((transport) => allCases(version, transport))));
process.exit();
