import assert from "node:assert/strict";
import type { BrokerConfig } from "../../../src/brokers/broker_type.ts";
import { SIDEKIQ } from "../../../src/brokers/sidekiq/config.ts";
import type { SidekiqBrokerOptions } from "../../../src/brokers/sidekiq/broker.ts";
import type { SqliteBrokerOptions } from "../../../src/brokers/sqlite/broker.ts";
import { SQLITE } from "../../../src/brokers/sqlite/config.ts";
import { envelope } from "../../../src/formats/envelope.ts";
import { sidekiq7, sidekiq8 } from "../../../src/formats/sidekiq.ts";
import { ConfigError } from "../../../src/config/errors.ts";
import { loadConfig, parseConfig } from "../../../src/config/load.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, problemsIn, PROCESS } from "./support.ts";

function pathOf(broker: BrokerConfig | undefined): string | undefined {
  return (broker?.settings as SqliteBrokerOptions | undefined)?.path;
}

Deno.test("parseConfig() maps every key to its place", { permissions: "none" }, async () => {
  const config = await parseConfig(
    `
      shutdown_timeout_ms = 1
      [log]
      level = "debug"
      format = "json"
      [brokers.files]
      driver = "sqlite"
      path = "data/queue.sqlite"
      format = "envelope"
      lease_ms = 1002
      busy_timeout_ms = 3
      file_mode = "0640"
      max_payload_bytes = 4
      [brokers.other]
      driver = "sqlite"
      path = "/var/lib/queue.sqlite"
      [fpm.web]
      address = "fpm:9000"
      script = "/app/a.php"
      status_path = "/status"
      status_address = "/run/status.sock"
      ping_path = "/ping"
      children = 5
      connect_timeout_ms = 6
      keepalive_ms = 11
      first_byte_timeout_ms = 8
      idle_ms = 7
      max_response_bytes = 1028
      max_header_bytes = 257
      max_stderr_bytes = 9
      params = { APP_ENV = "prod" }
      [fpm.other]
      address = "/run/other.sock"
      script = "/app/b.php"
      status_path = "/status"
      kill_on_timeout = true
      [processes.console]
      command = ["php", "", "a b"]
      payload = "environment"
      payload_variable = "DATA"
      directory = "/app"
      exit_codes = { 75 = "retry", 65 = "bury", 255 = "ack" }
      kill_after_ms = 17
      max_stderr_bytes = 18
      env = { APP_ENV = "prod", http_proxy = "" }
      [processes.other]
      command = ["/app/run"]
      exit_codes = { 0 = "bury" }
      [[consumers]]
      name = "main"
      broker = "files"
      fpm = "web"
      queues = [{ name = "mail", weight = 10 }, { name = "sms" }, "push"]
      order = "weighted"
      concurrency = 2
      timeout_ms = 11
      max_in_flight_bytes = 21
      ack_on = "status"
      payload_param = "DATA"
      stderr_level = "debug"
      fatal_after_ack = "fail"
      pause_max_ms = 12
      rate_limit = 19
      rate_period_ms = 20
      retry = { attempts = 13, delay_ms = 14, factor = 1.5, max_delay_ms = 16, jitter = 0.25 }
      [[consumers]]
      queues = ["slow"]
      broker = "files"
      executor = "process"
      process = "other"
      stderr_level = "off"
    `,
    "/etc/fervo/worker.toml",
    NO_ENVIRONMENT,
  );
  assert.equal(config.shutdownTimeoutMs, 1);
  assert.deepEqual({ ...config.log }, { level: "debug", format: "json" });
  assert.deepEqual([...config.brokers.keys()], ["files", "other"]);
  assert.deepEqual(config.brokers.get("files"), {
    type: SQLITE,
    format: envelope,
    settings: {
      path: "/etc/fervo/data/queue.sqlite",
      leaseMs: 1002,
      busyTimeoutMs: 3,
      fileMode: 0o640,
      maxPayloadBytes: 4,
    },
  });
  assert.equal(pathOf(config.brokers.get("other")), "/var/lib/queue.sqlite");
  assert.deepEqual(config.fpm.get("web"), {
    address: { transport: "tcp", hostname: "fpm", port: 9000 },
    script: "/app/a.php",
    params: { APP_ENV: "prod" },
    statusPath: "/status",
    statusAddress: { transport: "unix", path: "/run/status.sock" },
    killOnTimeout: false,
    pingPath: "/ping",
    children: 5,
    fit: { min: 1, max: Infinity, reserve: 0 },
    connectTimeoutMs: 6,
    keepaliveMs: 11,
    firstByteTimeoutMs: 8,
    idleMs: 7,
    maxResponseBytes: 1028,
    maxHeaderBytes: 257,
    maxStderrBytes: 9,
  });
  assert.equal(config.fpm.get("other")?.killOnTimeout, true);
  assert.deepEqual(config.processes.get("console"), {
    command: ["php", "", "a b"],
    payload: "environment",
    payloadVariable: "DATA",
    directory: "/app",
    env: { APP_ENV: "prod", http_proxy: "" },
    exitCodes: new Map([[0, "ack"], [65, "bury"], [75, "retry"], [255, "ack"]]),
    killAfterMs: 17,
    maxStderrBytes: 18,
  });
  assert.deepEqual(config.processes.get("other")?.exitCodes, new Map([[0, "bury"]]));
  assert.deepEqual(config.consumers[1]?.executor, {
    kind: "process",
    process: "other",
    stderrLevel: "off",
    fatalAfterAck: "warn",
  });
  assert.deepEqual(config.consumers.slice(0, 1), [{
    name: "main",
    broker: "files",
    executor: {
      kind: "fastcgi",
      fpm: "web",
      ackOn: "status",
      payloadParam: "DATA",
      stderrLevel: "debug",
      fatalAfterAck: "fail",
    },
    queues: [{ name: "mail", weight: 10 }, { name: "sms", weight: 1 }, { name: "push", weight: 1 }],
    order: "weighted",
    concurrency: 2,
    batchSize: 1,
    timeoutMs: 11,
    maxInFlightBytes: 21,
    rateLimit: { jobs: 19, periodMs: 20 },
    postMortemTimeoutMs: 10_000,
    redeliveriesMax: 2,
    pauseMaxMs: 12,
    retry: { attempts: 13, delayMs: 14, factor: 1.5, maxDelayMs: 16, jitter: 0.25 },
  }]);
});

Deno.test("parseConfig() names a consumer after its queues, its broker and pool after the only ones", async () => {
  const text = `${BROKER}${FPM}[[consumers]]\nqueues = ["mail", "sms"]\n`;
  const config = await parseConfig(text, "/etc/fervo.toml", NO_ENVIRONMENT);
  const { name, broker, executor } = config.consumers[0]!;
  assert.deepEqual({ name, broker }, { name: "mail,sms", broker: "default" });
  assert.deepEqual(executor, {
    kind: "fastcgi",
    fpm: "default",
    ackOn: "outcome",
    payloadParam: "",
    stderrLevel: "info",
    fatalAfterAck: "warn",
  });
});

Deno.test("parseConfig() reads a batch size", async () => {
  const text = `${BROKER}${FPM}${CONSUMER}batch_size = 1000\nack_on = "outcome"\npayload_param = ""\n`;
  assert.equal((await parseConfig(text, "/etc/fervo.toml", NO_ENVIRONMENT)).consumers[0]!.batchSize, 1_000);
});

Deno.test("parseConfig() needs no fpm where all jobs are processes, and takes the only process", async () => {
  const config = await parseConfig(
    `${BROKER}${PROCESS}${CONSUMER}executor = "process"\n`,
    "/etc/fervo.toml",
    NO_ENVIRONMENT,
  );
  assert.deepEqual(config.consumers[0]?.executor, {
    kind: "process",
    process: "default",
    stderrLevel: "info",
    fatalAfterAck: "warn",
  });
  assert.equal(config.fpm.size, 0);
});

Deno.test("parseConfig() takes 0 children and empty page paths for not known", async () => {
  const text =
    `${BROKER}${FPM}children = 0\nstatus_path = ""\nstatus_address = ""\nping_path = ""\n${CONSUMER}`;
  const { children, statusPath, statusAddress, pingPath } =
    (await parseConfig(text, "/etc/fervo.toml", NO_ENVIRONMENT))
      .fpm.get("default")!;
  assert.deepEqual([children, statusPath, statusAddress, pingPath], Array(4).fill(undefined));
});

Deno.test("parseConfig() takes as many jobs at once as there are children", async () => {
  const text = `${BROKER}${FPM}children = 5\n${CONSUMER}concurrency = 2\n` +
    `[[consumers]]\nqueues = ["mail"]\nconcurrency = 3\n`;
  assert.deepEqual(await problemsIn(text), []);
});

Deno.test("parseConfig() reads variables and keeps them out of messages", async () => {
  const environment = { SOCKET: "/run/a.sock", SECRET: "not an address" };
  assert.deepEqual(
    await problemsIn(`${BROKER}[fpm.a]\naddress = "\${SOCKET}"\nscript = "/a.php"\n${CONSUMER}`, environment),
    [],
  );
  assert.deepEqual(
    await problemsIn(`${BROKER}[fpm.a]\naddress = "\${SECRET}"\nscript = "/a.php"\n${CONSUMER}`, environment),
    [
      'fervo.toml:5:1: fpm.a.address is "${SECRET}": expected a socket\'s absolute path such as ' +
      '"/run/php/fervo.sock", or host and port such as "127.0.0.1:9000"',
    ],
  );
});

Deno.test("parseConfig() tells a variable that is not set, and nothing that follows from it", async () => {
  const text = `${BROKER}[fpm.a]\naddress = "\${SOCKET}"\nscript = "/a.php"\nsript = "\${SOCKET}"\n` +
    `params = { PHP_VALUE = "\${INI}" }\n${CONSUMER}broker = "\${BROKER}"\norder = "\${ORDER}"\n`;
  assert.deepEqual(await problemsIn(text), [
    'fervo.toml:5:1: the environment variable "SOCKET" is not set: ' +
    "set it, or write $${SOCKET} for the literal text",
    'fervo.toml:7:1: the environment variable "SOCKET" is not set: ' +
    "set it, or write $${SOCKET} for the literal text",
    'fervo.toml:7:1: unknown key "sript" in [fpm.a]; did you mean "script"?',
    'fervo.toml:8:12: the environment variable "INI" is not set: set it, or write $${INI} for the literal text',
    'fervo.toml:8:12: cannot use the name "PHP_VALUE" in [fpm.a.params]: it would change PHP\'s settings for ' +
    "every later request of the same child; set php_value[…] in php-fpm's pool file",
    'fervo.toml:11:1: the environment variable "BROKER" is not set: ' +
    "set it, or write $${BROKER} for the literal text",
    'fervo.toml:12:1: the environment variable "ORDER" is not set: ' +
    "set it, or write $${ORDER} for the literal text",
  ]);
});

Deno.test("parseConfig() tells where a syntax error is, and never what a key is set to: it may be a secret", async () => {
  assert.deepEqual(await problemsIn('[log]\nlevel = "s3cret'), [
    'fervo.toml:2:9: not valid TOML: unfinished string, in "level"',
  ]);
  const [outside] = await problemsIn("[log\n");
  assert.match(outside!, /^fervo\.toml:\d:\d+: not valid TOML: [^"]*$/);
  const [first] = await problemsIn("[log]\nlevel = debug\n");
  assert.equal(
    first,
    'fervo.toml:2:9: not valid TOML: invalid value, in "level"; a text needs quotes, as in key = "text"',
  );
});

Deno.test(
  "loadConfig() reads the file, and its relative paths from its folder",
  { permissions: "none" },
  async () => {
    const deps = {
      ...NO_ENVIRONMENT,
      readFile: (path: string) =>
        new TextEncoder().encode(path === "/etc/fervo.toml" ? BROKER + FPM + CONSUMER : ""),
    };
    const config = await loadConfig("/etc/fervo.toml", deps);
    assert.equal(pathOf(config.brokers.get("default")), "/etc/fervo-worker.sqlite");
  },
);

Deno.test("loadConfig() has relative paths begin where the file is, and messages name it as it was named", {
  permissions: "none",
}, async () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const deps = (text: string) => ({
    ...NO_ENVIRONMENT,
    readFile: () => bytes(text),
    placeOf: () => "/srv/f.toml",
  });
  const config = await loadConfig("/etc/link.toml", deps(BROKER + FPM + CONSUMER));
  assert.equal(pathOf(config.brokers.get("default")), "/srv/fervo-worker.sqlite");
  assert.equal(config.controlSocket, "/srv/f.sock");
  await assert.rejects(loadConfig("/etc/link.toml", deps("x = 1")), { message: /^\/etc\/link\.toml:1:1: / });
});

Deno.test("parseConfig() refuses tables and lists of any depth, by their place", async () => {
  const deep = Array.from({ length: 5_000 }, () => "a").join(".");
  const [unknown] = await problemsIn(`[log.${deep}]\n`);
  assert.match(unknown!, /^fervo\.toml:\d:\d+: unknown key "a" in \[log\]; /);
  assert.deepEqual(await problemsIn(`[log]\nlevel = ${"[".repeat(5_000)}${"]".repeat(5_000)}\n`), [
    'fervo.toml:2:1009: not valid TOML: nested too deeply, in "level"',
  ]);
});

Deno.test("loadConfig() refuses a file in another encoding, by its place: it would name another file", {
  permissions: "none",
}, async () => {
  const latin1 = new Uint8Array([...'[log]\npath = "k\u00f6"'].map((letter) => letter.charCodeAt(0)));
  await assert.rejects(loadConfig("a.toml", { ...NO_ENVIRONMENT, readFile: () => latin1 }), {
    code: "CONFIG_INVALID",
    message: "a.toml:2:10: not UTF-8: save the file in that encoding",
  });
});

Deno.test("parseConfig() takes a number, and true and false, from a variable that stands alone", async () => {
  const environment = { N: "7", YES: "true", TEN: "10", WORD: "seven" };
  const text = (consumer: string, fpm = "") => `${BROKER}${FPM}${fpm}\n${CONSUMER}${consumer}\n`;
  const config = await parseConfig(
    text(
      'concurrency = "${N}"\nretry = { attempts = "${TEN}" }',
      'kill_on_timeout = "${YES}"\nstatus_path = "/s"',
    ),
    "fervo.toml",
    { env: (name) => environment[name as keyof typeof environment] },
  );
  const { concurrency, retry } = config.consumers[0]!;
  assert.deepEqual([concurrency, retry.attempts, config.fpm.get("default")!.killOnTimeout], [7, 10, true]);
  for (const written of ["${WORD}", "${N} ", "7"]) {
    const [problem] = await problemsIn(text(`concurrency = "${written}"`), environment);
    assert.match(problem!, /^fervo\.toml:\d+:1: .*concurrency is /, written);
  }
  const [first] = await problemsIn(text("concurrency = ${N}"), environment);
  assert.match(first!, /; a variable needs quotes, also for a number, as in key = "\$\{NAME\}"$/);
});

const unreadable: [claim: string, cause: Error, message: string][] = [
  [
    "that is missing, and tells how to make one",
    new Deno.errors.NotFound("os error 2"),
    'Cannot read the configuration "/etc/fervo.toml": no such file; name another with --config or FERVO_CONFIG, or make one ' +
    "with: fervo-worker init /etc/fervo.toml",
  ],
  [
    "that may not be read",
    new Deno.errors.PermissionDenied("os error 13"),
    'Cannot read the configuration "/etc/fervo.toml": refused to somebody',
  ],
  [
    "that is a folder",
    new Deno.errors.IsADirectory("Is a directory (os error 21)"),
    'Cannot read the configuration "/etc/fervo.toml": it is a folder; give the path of a TOML file',
  ],
];
for (const [claim, cause, message] of unreadable) {
  Deno.test(`loadConfig() rejects a file ${claim}`, { permissions: "none" }, async () => {
    const readFile = () => {
      throw cause;
    };
    await assert.rejects(
      loadConfig("/etc/fervo.toml", {
        ...NO_ENVIRONMENT,
        readFile,
        whyRefused: () => Promise.resolve("refused to somebody"),
      }),
      (error) => error instanceof ConfigError && error.code === "CONFIG_INVALID" && error.message === message,
    );
  });
}

Deno.test("parseConfig() maps a Redis broker to its driver's options", { permissions: "none" }, async () => {
  const optionsOf = async (keys: string, format = sidekiq7) => {
    const config = await parseConfig(
      `[brokers.a]\ndriver = "redis"\n${keys}\n${FPM}${CONSUMER}`,
      "/etc/fervo.toml",
      NO_ENVIRONMENT,
    );
    const broker = config.brokers.get("a")!;
    assert.deepEqual([broker.type, broker.format], [SIDEKIQ, format]);
    return broker.settings as SidekiqBrokerOptions;
  };
  assert.deepEqual(
    await optionsOf(
      'url = "rediss://ann:p%40ss@[::1]:6380/2"\nformat = "sidekiq8"\nca_file = "ca.pem"\nkey_prefix = "ns:"\n' +
        "lease_ms = 5000\nconnect_timeout_ms = 7\nkeepalive_ms = 0\nmax_payload_bytes = 8",
      sidekiq8,
    ),
    {
      target: { kind: "server", endpoint: { transport: "tcp", hostname: "::1", port: 6380 } },
      username: "ann",
      password: "p@ss",
      passwordFile: undefined,
      isTls: true,
      caFile: "/etc/ca.pem",
      database: 2,
      keyPrefix: "ns:",
      leaseMs: 5_000,
      connectTimeoutMs: 7,
      keepaliveMs: 0,
      maxPayloadBytes: 8,
    },
  );
  assert.deepEqual((await optionsOf("")).target, {
    kind: "server",
    endpoint: { transport: "tcp", hostname: "127.0.0.1", port: 6379 },
  });
  const socket = await optionsOf(
    'url = "unix:///run/redis.sock?db=3"\nusername = "bob"\npassword_file = "secret"',
  );
  assert.deepEqual(socket.target, {
    kind: "server",
    endpoint: { transport: "unix", path: "/run/redis.sock" },
  });
  assert.deepEqual([socket.database, socket.username, socket.passwordFile], [3, "bob", "/etc/secret"]);
  const watched = await optionsOf('sentinels = ["s1", "s2:1"]\nmaster = "mymaster"\nsentinel_password = "x"');
  assert.deepEqual(watched.target, {
    kind: "sentinel",
    master: "mymaster",
    sentinels: [{ transport: "tcp", hostname: "s1", port: 26379 }, {
      transport: "tcp",
      hostname: "s2",
      port: 1,
    }],
    password: "x",
  });
  const spread = await optionsOf(
    'url = "redis://a"\ncluster = true\nnodes = ["b:1"]\nkey_prefix = "{jobs}:"',
  );
  assert.deepEqual(spread.target, {
    kind: "cluster",
    nodes: [{ transport: "tcp", hostname: "a", port: 6379 }, { transport: "tcp", hostname: "b", port: 1 }],
    key: "{jobs}:",
  });
});
