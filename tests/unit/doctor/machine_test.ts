import { BEANSTALKD } from "../../../src/brokers/beanstalkd/config.ts";
import { SIDEKIQ } from "../../../src/brokers/sidekiq/config.ts";
import { SQLITE } from "../../../src/brokers/sqlite/config.ts";
import assert from "node:assert/strict";
import { descriptorsNeeded, openFilesFinding } from "../../../src/doctor/open_files.ts";
import { checkSocket, portFinding, socketFinding } from "../../../src/doctor/socket.ts";

Deno.test("socketFinding() warns of a socket that every user can write to and reach", () => {
  const severity = (mode: number, isReachable = true) =>
    socketFinding({ path: "/s", mode, isReachable }).severity;
  assert.equal(severity(0o140666), "warning");
  assert.equal(severity(0o140602), "warning");
  assert.equal(severity(0o140666, false), "ok");
  assert.equal(severity(0o140660), "ok");
  assert.equal(severity(0o140664), "ok");
});

Deno.test("checkSocket() does not know who can connect to a TCP port", async () => {
  const finding = await checkSocket({ transport: "tcp", hostname: "127.0.0.1", port: 9_000 }, "listen");
  assert.deepEqual([finding.id, finding.severity], ["fpm.tcp", "notice"]);
});

Deno.test("descriptorsNeeded() counts connections to php-fpm and brokers, and the pipes of processes", () => {
  const none = descriptorsNeeded([]);
  const needed = (user: Parameters<typeof descriptorsNeeded>[0][number]) => descriptorsNeeded([user]) - none;
  assert.equal(needed({ broker: SQLITE, executor: "fastcgi", concurrency: 10, queues: 3 }), 10);
  assert.equal(needed({ broker: SQLITE, executor: "process", concurrency: 10, queues: 3 }), 60);
  assert.equal(needed({ broker: SIDEKIQ, executor: "fastcgi", concurrency: 10, queues: 40 }), 26);
  assert.equal(needed({ broker: BEANSTALKD, executor: "fastcgi", concurrency: 10, queues: 3 }), 21);
});

Deno.test("openFilesFinding() warns where the limit is below the need, and knows nothing without a limit", () => {
  assert.equal(openFilesFinding(100, 100).severity, "ok");
  assert.equal(openFilesFinding(100, 99).severity, "warning");
  assert.match(openFilesFinding(100, 99).fix ?? "", /LimitNOFILE=200/);
  assert.equal(openFilesFinding(100, undefined).severity, "notice");
});

const PORTS: readonly [listen: string, allowed: string | undefined, severity: string][] = [
  ["9000", undefined, "error"],
  ["0.0.0.0:9000", undefined, "error"],
  ["*:9000", undefined, "error"],
  ["[::]:9000", undefined, "error"],
  ["192.0.2.7:9000", undefined, "error"],
  ["php:9000", undefined, "error"],
  ["[2001:db8::1]:9000", undefined, "error"],
  ["127.0.0.1:9000", undefined, "notice"],
  ["127.8.9.10:9000", undefined, "notice"],
  ["localhost:9000", undefined, "notice"],
  ["[::1]:9000", undefined, "notice"],
  ["9000", "192.0.2.8", "ok"],
  ["0.0.0.0:9000", "192.0.2.8, 2001:db8::2", "ok"],
  // php-fpm takes neither for "anybody": it closes every connection.
  ["9000", "", "error"],
  ["127.0.0.1:9000", "any", "error"],
];
for (const [listen, allowed, severity] of PORTS) {
  Deno.test(`portFinding() takes listen = ${listen} with allowed_clients ${allowed ?? "not set"} for ${severity}`, () => {
    assert.equal(portFinding("listen", listen, allowed).severity, severity);
  });
}
