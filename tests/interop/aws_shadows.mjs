// The shadow clients of AWS IoT Device SDK v2 for JavaScript as they are: the older one and the one that asks and waits, each
// over 3.1.1 and over 5.0, for classic and for named shadows. The output is that of aws_shadows.py.
//
//   node aws_shadows.mjs --first HOST:PORT --other HOST:PORT --certs DIR --libraries DIR

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { values: wanted } = parseArgs({
  options: {
    first: { type: "string" },
    other: { type: "string" },
    certs: { type: "string" },
    libraries: { type: "string" },
  },
});
const require = createRequire(`${wanted.libraries}/`);
const { iot, iotshadow, mqtt, mqtt5 } = require("aws-iot-device-sdk-v2");

const PATIENCE_S = 55;
const SHADOW = "$config:1";
const QOS = mqtt.QoS.AtLeastOnce;

class Rejected extends Error {
  constructor(error) {
    super(`${error.code} ${error.message}`);
    this.error = error;
  }
}

const same = (got, expected) => {
  const [a, b] = [got, expected].map((it) => JSON.stringify(it));
  if (a !== b) throw new Error(`${a} instead of ${b}`);
};

/** Fails when nothing comes of a promise in time. */
const soon = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE_S * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** What came, in order, for whoever asks. */
class Inbox {
  #here = [];
  #asking = [];

  put(it) {
    const asking = this.#asking.shift();
    if (asking) asking(it);
    else this.#here.push(it);
  }

  next() {
    if (this.#here.length > 0) return this.#here.shift();
    return soon(new Promise((resolve) => this.#asking.push(resolve)), "an event");
  }
}

const file = (name) => `${wanted.certs}/${name}`;

/** A connection of 3.1.1, as the SDK's pages show it. */
const connect3 = async (address, id) => {
  const [host, port] = address.split(":");
  const builder = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(
    file("device-1.pem"),
    file("device-1.key"),
  );
  builder.with_certificate_authority_from_path(undefined, file("ca.pem"));
  builder.with_endpoint(host).with_port(Number(port)).with_client_id(id).with_clean_session(true);
  builder.with_ping_timeout_ms(PATIENCE_S * 1000);
  const connection = new mqtt.MqttClient().new_connection(builder.build());
  await soon(connection.connect(), "CONNACK");
  return { connection, end: () => connection.disconnect() };
};

/** A client of 5.0, as the SDK's pages show it. */
const connect5 = async (address, id) => {
  const [host, port] = address.split(":");
  const builder = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(
    host,
    file("device-1.pem"),
    file("device-1.key"),
  );
  builder.withCertificateAuthorityFromPath(undefined, file("ca.pem")).withPort(Number(port));
  builder.withConnectProperties({ clientId: id, keepAliveIntervalSeconds: 60 });
  builder.withConnackTimeoutMs(PATIENCE_S * 1000).withPingTimeoutMs(PATIENCE_S * 1000);
  const client = new mqtt5.Mqtt5Client(builder.build());
  const connected = once(client, mqtt5.Mqtt5Client.CONNECTION_SUCCESS);
  client.start();
  await soon(connected, "CONNACK");
  const end = async () => {
    const stopped = once(client, mqtt5.Mqtt5Client.STOPPED);
    client.stop();
    await soon(stopped, "the end");
    client.close();
  };
  return { client, end };
};

/** `get`, with `Named` in it if the shadow has a name: getShadow, getNamedShadow. */
const method = (names, before, after = "") =>
  `${before}${names.shadowName ? "NamedShadow" : "Shadow"}${after}`;

/** The older client: it subscribes to answers and publishes requests. */
class V1 {
  static called = "v1";
  #answers = new Map();

  constructor(link) {
    this.client = link.connection
      ? new iotshadow.IotShadowClient(link.connection)
      : iotshadow.IotShadowClient.newFromMqtt5Client(link.client);
  }

  async ask(names, operation, more = {}) {
    const key = JSON.stringify([names, operation]);
    if (!this.#answers.has(key)) {
      const inbox = new Inbox();
      this.#answers.set(key, inbox);
      for (const kind of ["Accepted", "Rejected"]) {
        const subscribe = method(names, `subscribeTo${operation}`, kind);
        const put = (error, answer) => inbox.put({ kind, error, answer });
        await soon(this.client[subscribe]({ ...names }, QOS, put), "SUBACK");
      }
    }
    const clientToken = randomUUID();
    const publish = this.client[method(names, `publish${operation}`)];
    await soon(publish.call(this.client, { ...names, ...more, clientToken }, QOS), "PUBACK");
    // Whoever asks of the same shadow is answered on the same topics.
    for (;;) {
      const { kind, error, answer } = await this.#answers.get(key).next();
      if (error) throw error;
      if (answer.clientToken !== clientToken) continue;
      if (kind === "Rejected") throw new Rejected(answer);
      return answer;
    }
  }

  async watch(names, what) {
    const inbox = new Inbox();
    const subscribe = method(names, "subscribeTo", `${what}Events`);
    const put = (error, event) => inbox.put(error ?? event);
    await soon(this.client[subscribe]({ ...names }, QOS, put), "SUBACK");
    return inbox;
  }

  close() {}
}

/** The client that asks and waits. */
class V2 {
  static called = "v2";
  #streams = [];

  constructor(link) {
    const options = {
      maxRequestResponseSubscriptions: 4,
      maxStreamingSubscriptions: 8,
      operationTimeoutInSeconds: PATIENCE_S,
    };
    this.client = link.connection
      ? iotshadow.IotShadowClientv2.newFromMqtt311(link.connection, options)
      : iotshadow.IotShadowClientv2.newFromMqtt5(link.client, options);
  }

  async ask(names, operation, more = {}) {
    const ask = this.client[method(names, operation.toLowerCase())];
    try {
      return await ask.call(this.client, { ...names, ...more });
    } catch (error) {
      throw error.modeledError ? new Rejected(error.modeledError) : error;
    }
  }

  async watch(names, what) {
    const inbox = new Inbox();
    const stream = this.client[method(names, "create", `${what}Stream`)]({ ...names });
    stream.addListener("incomingPublish", (it) => inbox.put(it.message));
    const status = once(stream, "subscriptionStatus");
    stream.open();
    same((await soon(status, "SUBACK"))[0].type, 0);
    this.#streams.push(stream);
    return inbox;
  }

  close() {
    this.#streams.forEach((it) => it.close());
    this.client.close();
  }
}

const get = (ask, names) => ask.ask(names, "Get");
const update = (ask, names, state, version) => ask.ask(names, "Update", { state, version });

const rejected = async (code, message, promise) => {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    if (!(error instanceof Rejected)) throw error;
    same([error.error.code, error.error.message], [code, message]);
    return;
  }
  throw new Error(`${JSON.stringify(answer)} instead of ${code} ${message}`);
};

const CASES = {
  async of_nothing(ask, there, names) {
    const missing = `No shadow exists with name: ${names.shadowName ?? names.thingName}`;
    await rejected(404, missing, get(ask, names));
    await rejected(404, missing, ask.ask(names, "Delete"));
  },

  async made(ask, there, names) {
    const state = { desired: { led: "on", n: { x: 1.5 } }, reported: { led: "off", text: "ä漢😀" } };
    const answer = await update(ask, names, state);
    same([answer.version, answer.state], [1, state]);
    // Whole seconds: this SDK makes no date of them.
    same(Number.isInteger(answer.timestamp), true);
    same(Math.abs(answer.timestamp - Date.now() / 1000) < 3600, true);
    const got = await get(there, names);
    same([got.version, got.state.desired, got.state.reported], [1, state.desired, state.reported]);
    same(got.state.delta, { led: "on", n: { x: 1.5 } });
    same(Object.keys(got.metadata.desired.n.x), ["timestamp"]);
  },

  async merged(ask, there, names) {
    await update(ask, names, { reported: { a: 1, deep: { x: 1, y: 2 }, list: [1, 2] } });
    const change = { a: null, deep: { y: 3 }, list: [4] };
    same((await update(there, names, { reported: change })).state.reported, change);
    same((await get(ask, names)).state.reported, { deep: { x: 1, y: 3 }, list: [4] });
    same((await update(ask, names, { reported: null })).state.reported, null);
    same((await get(ask, names)).version, 3);
  },

  async delta(ask, there, names) {
    const [here, elsewhere] = [await ask.watch(names, "DeltaUpdated"), await there.watch(names, "DeltaUpdated")];
    const { version } = await update(ask, names, { desired: { a: 1, b: { c: 2 } }, reported: { a: 1 } });
    for (const inbox of [here, elsewhere]) {
      const event = await inbox.next();
      same([event.version, event.state], [version, { b: { c: 2 } }]);
    }
  },

  async documents(ask, there, names) {
    const inbox = await ask.watch(names, "Updated");
    await update(ask, names, { desired: { a: 1 } });
    await inbox.next();
    await update(ask, names, { reported: { b: 2 } });
    const { previous, current } = await inbox.next();
    same([previous.version, previous.state.desired], [1, { a: 1 }]);
    same([current.version, current.state.desired, current.state.reported], [2, { a: 1 }, { b: 2 }]);
  },

  async version_conflict(ask, there, names) {
    same((await update(ask, names, { reported: { a: 1 } })).version, 1);
    await rejected(409, "Version conflict", update(there, names, { reported: { a: 2 } }, 7));
    same((await update(there, names, { reported: { a: 2 } }, 1)).version, 2);
  },

  async deleted(ask, there, names) {
    await update(ask, names, { reported: { a: 1 } });
    same((await there.ask(names, "Delete")).version, 1);
    const missing = `No shadow exists with name: ${names.shadowName ?? names.thingName}`;
    await rejected(404, missing, get(ask, names));
    same((await update(ask, names, { reported: { a: 1 } })).version > 1, true);
  },

  async errors(ask, there, names) {
    await rejected(400, "Missing required node: state", ask.ask(names, "Update", { version: 1 }));
    const large = { reported: { a: "x".repeat(8192) } };
    await rejected(413, "The payload exceeds the maximum size allowed", update(ask, names, large));
    const null_in = { desired: { a: [null] } };
    await rejected(400, "Invalid JSON: null is not allowed in an array", update(ask, names, null_in));
    same((await update(ask, names, {})).version, 1);
  },
};

const run = async (kind, version) => {
  const id = `js-shadows-${kind.called}-${version.replaceAll(".", "-")}`;
  const connect = version === "5.0" ? connect5 : connect3;
  const links = [];
  for (const [number, address] of [wanted.first, wanted.other].entries()) {
    links.push(await connect(address, `${id}-${number}`));
  }
  const [ask, there] = links.map((link) => new kind(link));
  const results = [];
  for (const shadowName of [undefined, SHADOW]) {
    for (const [name, act] of Object.entries(CASES)) {
      const what = `${kind.called} ${version} ${shadowName ? "named" : "classic"} ${name}`;
      const thingName = `${id}-${name}`;
      try {
        await act(ask, there, shadowName ? { thingName, shadowName } : { thingName });
        results.push(true);
        console.log(`ok ${what}`);
      } catch (error) {
        results.push(false);
        console.log(`not ok ${what}: ${error.message}`);
        console.error(error);
      }
    }
  }
  [ask, there].forEach((it) => it.close());
  for (const link of links) await soon(link.end(), "the end");
  return results;
};

const results = [];
for (const kind of [V1, V2]) {
  for (const version of ["3.1.1", "5.0"]) results.push(...(await run(kind, version)));
}
const passed = results.filter((it) => it).length;
console.log(`${results.length} cases, ${passed} passed`);
process.exit(passed === results.length ? 0 : 1);
