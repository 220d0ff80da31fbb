import assert from "node:assert/strict";
import type { FastCgiRequest } from "../../../../src/fastcgi/connection.ts";
import type { FpmStatus } from "../../../../src/fpm/status.ts";
import { DEFAULT_FIT_BOUNDS, PoolFit, type PoolFitOptions } from "../../../../src/fpm/autoscale/pool_fit.ts";
import { EventLog } from "../../../support/event_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { page } from "../../../support/status_page.ts";

const OPTIONS: PoolFitOptions = {
  ...DEFAULT_FIT_BOUNDS,
  name: "default",
  children: undefined,
  statusPath: "/status",
  hasStatusAddress: true,
  fixed: 0,
};

/** A pool in numbers, a consumer that has all its slots in use, and what is done with them. */
class Site {
  readonly clock = new FakeClock();
  readonly log = new EventLog();
  readonly sizes: number[] = [];
  /** What each child shows; undefined for a page that cannot be had. */
  children: string[] | undefined = [];
  page: Partial<FpmStatus> = {};
  asked = 0;
  askedThrough: unknown;
  readonly user = {
    busySlots: 0,
    ran: { jobs: 0, ms: 0 },
    changes: 0,
    limitChanged: () => void this.user.changes++,
  };
  readonly pool = {
    stats: { busy: 0, idle: 0, waiting: 0, opened: 0, answered: 0, resent: 0 },
    overloads: 0,
    maxConnections: 0,
    underWay: new Set<FastCgiRequest>(),
    watch: () => ({ requests: this.#shown(), [Symbol.dispose]: () => {} }),
    resize: (size: number) => {
      this.pool.maxConnections = size;
      this.sizes.push(size);
    },
    request: () => Promise.reject(new Error("not asked here")),
  };

  async start(options: Partial<PoolFitOptions> = {}) {
    const control = {
      status: (through: unknown) => {
        this.asked++;
        this.askedThrough = through;
        return Promise.resolve(this.#status());
      },
    };
    const deps = {
      clock: this.clock,
      observe: this.log.observe,
      pool: this.pool,
      control,
      random: () => 0.5,
    };
    const starting = PoolFit.start(deps, { ...OPTIONS, ...options });
    // It looks once more where others are there.
    if (this.#shown().size > 0) await this.clock.advance(100);
    return await starting;
  }

  /** Of ours are those that `busy()` names. */
  #shown(): Set<FastCgiRequest> {
    const uris = (this.children ?? []).filter((uri) => uri.startsWith("/q/"));
    return new Set(uris.map((uri) => ({ params: [["SCRIPT_NAME", uri]], body: new Uint8Array(0) })));
  }

  #status(): FpmStatus | undefined {
    return this.children && page(this.children, this.page);
  }
}

const idle = (count: number) => Array<string>(count).fill("");
const busy = (count: number) => Array.from({ length: count }, (_, i) => `/q/${i}`);

Deno.test("PoolFit starts with the idle children of the page, tells so, and gives the pool as many connections", async () => {
  const t = new Site();
  t.children = [...idle(5), ...busy(3)];
  using fit = await t.start({ reserve: 1 });
  const limit = fit.join(() => t.user);
  assert.deepEqual([fit.slots, limit.slots, t.sizes], [4, 4, [4]]);
  assert.deepEqual(t.log.of("slots_changed"), [
    { type: "slots_changed", fpm: "default", slots: 4, before: 0, reason: "start" },
  ]);
});

Deno.test("PoolFit looks once more at the start when others are there: a child may have just answered", async () => {
  const t = new Site();
  t.children = [...idle(1), ...busy(3)];
  t.clock.setTimer(() => t.children = [...idle(3), ...busy(1)], 50);
  using fit = await t.start();
  assert.deepEqual([fit.slots, t.asked], [3, 2]);
});

Deno.test("PoolFit counts the child that answers the page as idle, where that has no address of its own", async () => {
  const t = new Site();
  t.children = [...idle(3), "/status?json&full"];
  using fit = await t.start({ hasStatusAddress: false });
  assert.deepEqual([fit.slots, t.askedThrough], [4, undefined]);
  // From then on the jobs may have all children.
  await t.clock.advance(500);
  assert.deepEqual([t.asked, t.askedThrough], [2, t.pool]);
});

Deno.test("PoolFit goes by the configuration when there is no page", async () => {
  const t = new Site();
  t.children = undefined;
  using fit = await t.start({ statusPath: undefined, children: 6, fixed: 2, reserve: 1 });
  assert.deepEqual([fit.slots, t.sizes], [3, [5]]);
  using unknown = await t.start({ statusPath: undefined, max: 9, min: 2 });
  assert.equal(unknown.slots, 2);
});

Deno.test("PoolFit looks twice a second while there is work, and hardly ever while there is none", async () => {
  const t = new Site();
  t.children = idle(4);
  using fit = await t.start();
  fit.join(() => t.user);
  await t.clock.advance(500);
  assert.equal(t.asked, 2);
  await t.clock.advance(5_000);
  assert.equal(t.asked, 2);
  t.user.busySlots = 1;
  await t.clock.advance(100);
  assert.equal(t.asked, 3);
  await t.clock.advance(2_000);
  assert.equal(t.asked, 7);
});

Deno.test("PoolFit follows a pool that has fewer children, and tells its consumers and the log", async () => {
  const t = new Site();
  t.children = idle(8);
  using fit = await t.start();
  const limit = fit.join(() => t.user);
  t.children = idle(3);
  await t.clock.advance(500);
  assert.deepEqual([limit.slots, t.sizes, t.user.changes], [3, [8, 3], 1]);
  const { before, slots, reason } = t.log.of("slots_changed").at(-1)!;
  assert.deepEqual([before, slots, reason], [8, 3, "children"]);
});

Deno.test("PoolFit sets fixed consumers aside: theirs is neither given away nor taken for others'", async () => {
  const t = new Site();
  t.children = idle(8);
  using fit = await t.start({ fixed: 3 });
  const limit = fit.join(() => t.user);
  assert.deepEqual([limit.slots, t.sizes], [5, [8]]);
  t.children = [...busy(2), ...idle(6)];
  t.pool.stats.busy = 2;
  await t.clock.advance(500);
  assert.equal(limit.slots, 5);
});

Deno.test("PoolFit halves after an overload also when the page cannot be read, and does not grow blindly", async () => {
  const t = new Site();
  t.children = idle(8);
  using fit = await t.start();
  const limit = fit.join(() => t.user);
  t.children = undefined;
  t.pool.overloads = 1;
  t.user.busySlots = 8;
  await t.clock.advance(500);
  assert.equal(limit.slots, 4);
  await t.clock.advance(60_000);
  assert.equal(limit.slots, 4);
});

Deno.test("PoolFit learns how many children a pool has that makes them as they are needed, once it wanted more", async () => {
  const t = new Site();
  t.page = { processManager: "ondemand" };
  t.children = [];
  using fit = await t.start({ max: 20 });
  const limit = fit.join(() => t.user);
  assert.equal(limit.slots, 1);
  // Each look finds all children in use, and one more is made.
  for (let look = 0; look < 4; look++) {
    t.user.busySlots = limit.slots;
    t.children = busy(limit.slots);
    t.pool.stats.busy = limit.slots;
    await t.clock.advance(500);
  }
  assert.equal(limit.slots, 5);
  t.children = busy(4);
  t.page = { processManager: "ondemand", maxChildrenReached: 1 };
  await t.clock.advance(500);
  assert.equal(limit.slots, 4);
});

Deno.test("PoolFit leaves no timer behind", async () => {
  const t = new Site();
  t.children = idle(2);
  const fit = await t.start();
  await t.clock.advance(500);
  fit[Symbol.dispose]();
  assert.equal(t.clock.pendingTimers, 0);
});
