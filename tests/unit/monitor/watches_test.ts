import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import type { PoolStats } from "../../../src/fastcgi/pool.ts";
import type { FpmStatus } from "../../../src/fpm/status.ts";
import { BrokerWatch } from "../../../src/monitor/broker_watch.ts";
import { FpmWatch } from "../../../src/monitor/fpm_watch.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeBroker, unavailable } from "../../support/fake_broker.ts";

// --- brokers

Deno.test("BrokerWatch counts the jobs of each queue", { permissions: "none" }, async () => {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  broker.depths.set("a", { ready: 3, dead: 1 });
  const watch = new BrokerWatch({ clock, broker }, { name: "default", queues: ["a", "b"] });
  assert.deepEqual(await watch.state(), {
    isUp: true,
    depths: [
      ["a", { ready: 3, delayed: 0, reserved: 0, dead: 1 }, undefined],
      ["b", { ready: 0, delayed: 0, reserved: 0, dead: 0 }, undefined],
    ],
  });
});

Deno.test("BrokerWatch tells why a broker is away", { permissions: "none" }, async () => {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock);
  const error = broker.outage = unavailable();
  const watch = new BrokerWatch({ clock, broker }, { name: "default", queues: ["a"] });
  assert.deepEqual(await watch.state(), { isUp: false, error });
});

Deno.test(
  "BrokerWatch takes a broker that does not answer in 2 s for away",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    const broker = {
      admin: {
        depth: () => new Promise<never>(() => {}),
        latencyMs: () => new Promise<never>(() => {}),
      },
    };
    const watch = new BrokerWatch({ clock, broker }, { name: "default", queues: ["a"] });
    const state = watch.state();
    await clock.advance(2_000);
    const { isUp, ...rest } = await state;
    assert.equal(isUp, false);
    assert.match("error" in rest ? rest.error.message : "", /has not counted its jobs in 2000 ms/);
  },
);

// --- php-fpm

const STATUS = { pool: "www", idleProcesses: 3 } as FpmStatus;
const STATS: PoolStats = { busy: 0, idle: 0, waiting: 0, opened: 0, answered: 0, resent: 0 };

function watchOf(
  control: { status?: () => Promise<FpmStatus | undefined>; ping?: () => Promise<void> },
  { busy = 0, hasStatusAddress = false } = {},
) {
  const calls: string[] = [];
  const clock = new FakeClock();
  const watch = new FpmWatch({
    clock,
    pool: { stats: { ...STATS, busy }, maxConnections: 4 },
    control: {
      status: () => {
        calls.push("status");
        return control.status?.() ?? Promise.resolve(STATUS);
      },
      ping: () => {
        calls.push("ping");
        return control.ping?.() ?? Promise.resolve();
      },
    },
  }, { name: "default", hasStatusAddress });
  return { watch, clock, calls };
}

Deno.test("FpmWatch tells what the status page says", { permissions: "none" }, async () => {
  const { watch, calls } = watchOf({});
  assert.deepEqual(await watch.state(), { isUp: true, status: STATUS });
  assert.deepEqual(calls, ["status"]);
});

Deno.test("FpmWatch pings a pool without a status page", { permissions: "none" }, async () => {
  const { watch, calls } = watchOf({ status: () => Promise.resolve(undefined) });
  assert.deepEqual(await watch.state(), { isUp: true, status: undefined });
  assert.deepEqual(calls, ["status", "ping"]);
});

for (const code of ["FASTCGI_CONNECT_FAILED", "FASTCGI_CONNECTION_LOST"] as const) {
  Deno.test(`FpmWatch takes php-fpm for away on ${code}`, { permissions: "none" }, async () => {
    const error = new FervoError(code, "no such socket");
    assert.deepEqual(await watchOf({ status: () => Promise.reject(error) }).watch.state(), {
      isUp: false,
      error,
    });
  });
}

for (const code of ["FASTCGI_OVERLOADED", "FASTCGI_PROTOCOL"] as const) {
  Deno.test(`FpmWatch takes php-fpm for there on ${code}`, { permissions: "none" }, async () => {
    const status = () => Promise.reject(new FervoError(code, "busy"));
    assert.deepEqual(await watchOf({ status }).watch.state(), { isUp: true, status: undefined });
  });
}

Deno.test(
  "FpmWatch takes php-fpm for busy when it does not answer in 2 s",
  { permissions: "none" },
  async () => {
    const { watch, clock } = watchOf({ status: () => new Promise(() => {}) });
    const state = watch.state();
    await clock.advance(2_000);
    assert.deepEqual(await state, { isUp: true, status: undefined });
  },
);

Deno.test(
  "FpmWatch asks nothing while all children may be busy with our jobs, unless the page has its own address",
  {
    permissions: "none",
  },
  async () => {
    const busy = watchOf({}, { busy: 4 });
    assert.deepEqual(await busy.watch.state(), { isUp: true, status: undefined });
    assert.deepEqual(busy.calls, []);
    assert.deepEqual(await watchOf({}, { busy: 3 }).watch.state(), { isUp: true, status: STATUS });
    const apart = watchOf({}, { busy: 4, hasStatusAddress: true });
    assert.deepEqual(await apart.watch.state(), { isUp: true, status: STATUS });
  },
);
