import assert from "node:assert/strict";
import type { SilentRequest } from "../../../src/fastcgi/connection.ts";
import { FastCgiError } from "../../../src/fastcgi/errors.ts";
import type { Pool } from "../../../src/fastcgi/pool.ts";
import type { FpmStatus } from "../../../src/fpm/status.ts";
import { LingerWatch } from "../../../src/fpm/linger_watch.ts";
import { EventLog } from "../../support/event_log.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

type PoolPart = Pick<Pool, "onSilence" | "onLateOutput" | "keepNone">;

const named = (uri: string) => [["SCRIPT_NAME", uri]] as const;

/** A watch on a pool whose children run the requests for `running`; undefined: the pool has no status page. */
function build(running: readonly string[] | undefined | Error) {
  const clock = new FakeClock();
  const log = new EventLog();
  const calls = { looks: 0, keepNone: 0 };
  const told: string[] = [];
  const pool: PoolPart = {
    onSilence: undefined,
    onLateOutput: undefined,
    keepNone: () => void calls.keepNone++,
  };
  const state = { running };
  const fpm = {
    status: () => {
      calls.looks++;
      if (state.running instanceof Error) return Promise.reject(state.running);
      const processes = state.running?.map((requestUri) => ({
        isBusy: true,
        requestUri,
        requestDurationUs: 1,
      }));
      return Promise.resolve(processes && { processes } as unknown as FpmStatus);
    },
  };
  new LingerWatch({ pool, fpm, clock, observe: log.observe }, "default");
  const silent = (uri: string, previous: string): SilentRequest => ({
    params: named(uri),
    previousParams: named(previous),
    setBegun: (hasBegun) => void told.push(`${uri} ${hasBegun ? "begun" : "waits"}`),
  });
  return {
    clock,
    log,
    calls,
    told,
    pool,
    state,
    async silence(...pairs: [uri: string, previous: string][]) {
      pool.onSilence!(pairs.map(([uri, previous]) => silent(uri, previous)));
      await settlePromises();
    },
  };
}

Deno.test("LingerWatch takes a silent request for begun while a child runs it", async () => {
  const t = build(["/mail/2", "/mail/1"]);
  await t.silence(["/mail/2", "/mail/1"]);
  assert.deepEqual([t.told, t.calls.keepNone, t.log.types], [["/mail/2 begun"], 0, []]);
});

Deno.test("LingerWatch finds a request that waits for the script of the one before, keeps no connections, and tells it once", async () => {
  const t = build(["/mail/1", "/mail/4"]);
  await t.silence(["/mail/2", "/mail/1"], ["/mail/4", "/mail/3"]);
  assert.deepEqual(t.told, ["/mail/2 waits", "/mail/4 begun"]);
  assert.deepEqual(t.log.events, [{ type: "connections_not_kept", fpm: "default", uri: "/mail/1" }]);
  await t.clock.advance(100);
  await t.silence(["/mail/2", "/mail/1"]);
  assert.deepEqual([t.told.at(-1), t.calls.keepNone, t.log.events.length], ["/mail/2 waits", 2, 1]);
});

Deno.test("LingerWatch says nothing where the page shows neither of the two, or cannot tell them apart", async () => {
  const long = `/mail/${"x".repeat(200)}`;
  const cases: [uri: string, previous: string, running: string[]][] = [
    ["/mail/2", "/mail/1", ["-"]],
    ["/mail/1", "/mail/1", ["/mail/1"]],
    [long, "/mail/1", ["/mail/1"]],
    ["/mail/2", long, [long.slice(0, 127)]],
  ];
  for (const [uri, previous, running] of cases) {
    const t = build(running);
    await t.silence([uri, previous]);
    assert.deepEqual([t.told, t.calls.keepNone], [[], 0]);
  }
});

Deno.test("LingerWatch asks at most once a second, and again at once while a request waits", async () => {
  const t = build(["/mail/2"]);
  for (let i = 0; i < 10; i++) {
    await t.silence(["/mail/2", "/mail/1"]);
    await t.clock.advance(99);
  }
  assert.equal(t.calls.looks, 1);
  t.state.running = ["/mail/1"];
  await t.clock.advance(100);
  for (let i = 0; i < 5; i++) {
    await t.silence(["/mail/2", "/mail/1"]);
    await t.clock.advance(100);
  }
  assert.equal(t.calls.looks, 6);
});

Deno.test("LingerWatch goes on when php-fpm cannot be asked, or has no status page", async () => {
  for (const running of [undefined, new FastCgiError("FASTCGI_OVERLOADED", "no answer")]) {
    const t = build(running);
    await t.silence(["/mail/2", "/mail/1"]);
    assert.deepEqual([t.told, t.calls], [[], { looks: 1, keepNone: 0 }]);
    t.state.running = ["/mail/1"];
    await t.clock.advance(1_000);
    await t.silence(["/mail/2", "/mail/1"]);
    assert.equal(t.calls.keepNone, 1);
  }
});

Deno.test("LingerWatch needs no status page for output that comes after the answer", () => {
  const t = build(undefined);
  t.pool.onLateOutput!(named("/mail/1"));
  assert.deepEqual([t.calls, t.log.types], [{ looks: 0, keepNone: 1 }, ["connections_not_kept"]]);
});
