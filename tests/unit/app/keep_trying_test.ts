import assert from "node:assert/strict";
import { keepTrying } from "../../../src/app/keep_trying.ts";
import { FervoError } from "../../../src/core/errors.ts";
import type { Log } from "../../../src/telemetry/log.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

const IN_USE = new FervoError("LISTEN_FAILED", "the port is in use");

function setUp({ mayLast = false } = {}) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const writeAs = (level: string) => (facts: Record<string, unknown>, text: string) =>
    void lines.push(`${level} ${text}${facts["error"] === undefined ? "" : `: ${facts["error"]}`}`);
  const [debug, info, warn, error] = ["debug", "info", "warn", "error"].map(writeAs);
  const log = { debug, info, warn, error } as Log;
  const t = {
    clock,
    failure: undefined as Error | undefined,
    starts: 0,
    told: () => lines.filter((line) => !line.startsWith("debug")),
  };
  const begin = () =>
    keepTrying({ clock, log, random: () => 0.5 }, {
      start: () => {
        t.starts++;
        return t.failure === undefined ? Promise.resolve("started") : Promise.reject(t.failure);
      },
      facts: {},
      started: "Serving",
      failed: "Cannot serve",
      mayLast: () => mayLast,
    });
  return Object.assign(t, { begin });
}

Deno.test("keepTrying() gives what has been started at once, and tries no more", async () => {
  const t = setUp();
  const trying = await t.begin();
  assert.equal(await trying.end(), "started");
  assert.deepEqual([t.starts, t.told(), t.clock.pendingTimers], [1, ["info Serving"], 0]);
});

Deno.test("keepTrying() tries until it has been started, and tells the failure, once a minute, and the end", async () => {
  const t = setUp();
  t.failure = IN_USE;
  const trying = await t.begin();
  await t.clock.advance(65_000);
  assert.deepEqual(t.told(), Array(2).fill("error Cannot serve: the port is in use"));
  t.failure = undefined;
  await t.clock.advance(5_000);
  assert.equal(t.told().at(-1), "info Serving");
  assert.equal(await trying.end(), "started");
});

Deno.test("keepTrying() tells a failure that may last once, as a warning", async () => {
  const t = setUp({ mayLast: true });
  t.failure = IN_USE;
  const trying = await t.begin();
  await t.clock.advance(600_000);
  assert.deepEqual(t.told(), ["warn Cannot serve: the port is in use"]);
  assert.equal(await trying.end(), undefined);
});

Deno.test("keepTrying() ends between two tries, and hands over what a try has started meanwhile", async () => {
  const t = setUp();
  t.failure = new Error("unforeseen");
  const trying = await t.begin();
  assert.equal(await trying.end(), undefined);
  await settlePromises();
  assert.deepEqual([t.starts, t.clock.pendingTimers], [1, 0]);
});
