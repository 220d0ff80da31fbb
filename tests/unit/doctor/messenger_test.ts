import assert from "node:assert/strict";
import { commandLineFindings } from "../../../src/doctor/command_line.ts";
import {
  failureFindings,
  fileFindings,
  lockFindings,
  messengerFindings,
  sharedFindings,
  type SharedStore,
  transportFindings,
} from "../../../src/doctor/messenger.ts";
import {
  failureQueueNames,
  type MessengerFacts,
  type PhpFacts,
  readMessengerFacts,
} from "../../../src/doctor/messenger_facts.ts";

const ASYNC = {
  kind: "doctrine",
  table: "messenger_messages",
  queue_name: "default",
  redeliver_timeout_ms: 3_600_000,
};

function facts(changes: Partial<MessengerFacts>): MessengerFacts {
  return {
    transports: { async: ASYNC },
    failureTransports: [],
    lock: undefined,
    php: undefined,
    files: undefined,
    ...changes,
  };
}

function store(changes: Partial<SharedStore> = {}): SharedStore {
  return {
    name: "shop",
    queues: ["async"],
    place: "db/shop/messenger_messages",
    table: "messenger_messages",
    redeliverTimeoutMs: 3_600_000,
    leaseMs: 60_000,
    nameOf: (transport) => transport === "async" ? "default" : transport,
    ...changes,
  };
}

const TRANSPORTS: readonly [
  what: string,
  Partial<SharedStore>,
  Partial<typeof ASYNC> & { error?: string },
  RegExp,
  RegExp?,
][] = [
  [
    "a queue that is no transport",
    { queues: ["mail"] },
    {},
    /"mail" of broker "shop" is no transport of the application, which has "async"/,
  ],
  [
    "another table",
    { table: "messages" },
    {},
    /its table is "messenger_messages" in the application, and "messages"/,
    /table = "messenger_messages"/,
  ],
  [
    "another queue_name",
    { nameOf: (name) => name },
    {},
    /queue_name is "default" in the application, and "async"/,
    /queue_names = \{ async = "default" \}/,
  ],
  [
    "a redeliver_timeout that is shorter than a lease",
    {},
    { redeliver_timeout_ms: 30_000 },
    /redeliver_timeout is 30 s, which is shorter than lease_ms = 60000/,
  ],
  [
    "another redeliver_timeout",
    {},
    { redeliver_timeout_ms: 7_200_000 },
    /is 7200 s in the application, and redeliver_timeout_ms is 3600000/,
    /redeliver_timeout_ms = 7200000/,
  ],
  ["a DSN that cannot be read", {}, { error: 'no "DSN"' }, /cannot be read in the pool: no "DSN"/],
];
for (const [what, broker, transport, text, fix] of TRANSPORTS) {
  Deno.test(`transportFindings() finds ${what}`, () => {
    const [finding, ...others] = transportFindings(
      facts({ transports: { async: { ...ASYNC, ...transport } } }),
      [store(broker)],
    );
    assert.deepEqual(others, []);
    assert.match(finding!.what, text);
    assert.match(finding!.fix!, fix ?? /./);
  });
}

Deno.test("transportFindings() finds a transport of another kind", () => {
  const [finding] = transportFindings(facts({ transports: { async: { kind: "in-memory" } } }), [store()]);
  assert.match(finding!.what, /"async" of the application is in-memory:\/\/, and broker "shop" has a table/);
});

Deno.test("transportFindings() says what is in order", () => {
  const [finding, ...others] = transportFindings(facts({}), [store()]);
  assert.deepEqual(others, []);
  assert.equal(finding!.severity, "ok");
});

Deno.test("sharedFindings() finds two brokers with the same messages and other settings", () => {
  const same = store({ name: "other" });
  assert.equal(sharedFindings([store(), same]).size, 0);
  assert.equal(sharedFindings([store(), { ...same, leaseMs: 1_000, place: "another" }]).size, 0);
  assert.equal(sharedFindings([store(), { ...same, leaseMs: 1_000, queues: ["mail"] }]).size, 0);
  const [finding] = sharedFindings([store(), { ...same, leaseMs: 1_000 }]).get("other")!;
  assert.match(
    finding!.what,
    /brokers "shop" and "other" take the same messages \("async"\), and differ in lease_ms$/,
  );
});

Deno.test("failureFindings() warns of a consumer that takes from a failure transport", () => {
  const found = (queues: string[]) =>
    failureFindings(facts({ failureTransports: ["failed"] }), [store({ queues })])
      .map(({ severity, what }) => `${severity}: ${what}`);
  assert.deepEqual(found(["async"]), []);
  assert.deepEqual(found(["async", "failed"]), [
    'warning: a consumer takes from "failed", which is a failure transport of the application',
  ]);
});

Deno.test("failureQueueNames() knows failure transports by their queue_name in the table", () => {
  const known = facts({
    failureTransports: ["failed", "elsewhere", "mail", "unread"],
    transports: {
      async: ASYNC,
      failed: { ...ASYNC, queue_name: "broken" },
      elsewhere: { ...ASYNC, table: "other" },
      mail: { kind: "redis" },
      unread: { kind: "unknown", error: "no DSN" },
    },
  });
  assert.deepEqual([...failureQueueNames(known, "messenger_messages")], ["broken", "unread"]);
});

Deno.test("lockFindings() finds a lock store that other machines do not see", () => {
  const severities = (lock: MessengerFacts["lock"]) =>
    lockFindings(facts({ lock })).map(({ severity }) => severity);
  assert.deepEqual(severities({ kind: "flock", isShared: false }), ["warning"]);
  assert.deepEqual(severities({ kind: "redis", isShared: true }), ["ok"]);
  assert.deepEqual(severities(undefined), []);
});

Deno.test("fileFindings() finds what the user of the pool cannot read or write", () => {
  const files = { user: "web", unreadable: ["/srv/.env.local"], unwritable: ["/srv/var/cache/prod"] };
  const [read, write] = fileFindings(facts({ files }));
  assert.match(read!.what, /^"web", the user of the pool, cannot read "\/srv\/\.env\.local"$/);
  assert.match(write!.what, /cannot write "\/srv\/var\/cache\/prod"$/);
  const [fine] = fileFindings(facts({ files: { user: "", unreadable: [], unwritable: [] } }));
  assert.equal(fine!.severity, "ok");
});

function php(settings: Record<string, string>, extensions = ["pdo"]): PhpFacts {
  return { version: "8.2.1", extensions, settings };
}

const SETTINGS: readonly [name: string, pool: string, cli: string, severities: string[]][] = [
  ["precision", "14", "17", ["warning"]],
  ["short_open_tag", "1", "On", ["ok"]],
  ["short_open_tag", "", "Off", ["ok"]],
  ["memory_limit", "128M", "-1", ["notice"]],
  ["memory_limit", "128M", "512M", ["warning"]],
  ["memory_limit", "1G", "512M", ["notice"]],
  ["memory_limit", "-1", "512M", ["warning"]],
];
for (const [name, pool, cli, severities] of SETTINGS) {
  Deno.test(`commandLineFindings() judges ${name} = ${pool} in the pool and ${cli} on the command line: ${severities}`, () => {
    const findings = commandLineFindings(php({ [name]: pool }), php({ [name]: cli }));
    assert.deepEqual(findings.map(({ severity }) => severity), severities);
  });
}

Deno.test("commandLineFindings() finds extensions that only the command line has", () => {
  const [finding] = commandLineFindings(php({}), php({}, ["intl", "pdo", "readline"]));
  assert.match(finding!.what, /not in the pool: intl$/);
});

Deno.test("commandLineFindings() says when the command line is not known", () => {
  assert.deepEqual(commandLineFindings(php({}), undefined).map(({ severity }) => severity), ["notice"]);
});

Deno.test("readMessengerFacts() reads what it knows, and leaves out what has another form", () => {
  const header = JSON.stringify({
    messenger: {
      transports: { async: { ...ASYNC, secret: 1 }, odd: 3 },
      failure_transports: ["failed", 7],
      lock: { kind: "flock", shared: false },
      php: { version: "8.2.1", extensions: ["pdo", 7], settings: { precision: "14", odd: null } },
      files: { user: "web", unreadable: "no list" },
    },
  });
  assert.deepEqual(readMessengerFacts(header), {
    transports: { async: ASYNC, odd: { kind: "unknown" } },
    failureTransports: ["failed"],
    lock: { kind: "flock", isShared: false },
    php: { version: "8.2.1", extensions: ["pdo"], settings: { precision: "14" } },
    files: { user: "web", unreadable: [], unwritable: [] },
  });
  for (const header of [undefined, "", "[]", "{}", '{"messenger":[]}', '{"messenger":{"transports":null}}']) {
    assert.equal(readMessengerFacts(header), undefined, `${header}`);
  }
});

Deno.test("messengerFindings() warns of a script that tells no transports", async () => {
  const [finding] = await messengerFindings(undefined, [store()], "");
  assert.equal(finding!.severity, "warning");
});
