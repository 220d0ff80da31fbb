import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import { liveness, readiness } from "../../../src/monitor/health.ts";
import { unavailable } from "../../support/fake_broker.ts";
import { viewOf } from "./fake_view.ts";

const WELL = { isWell: true, problems: [] };
const FPM_AWAY = new FervoError(
  "FASTCGI_CONNECT_FAILED",
  `Cannot connect to php-fpm at "/run/fpm.sock": no such socket`,
);
const FAULT = new FervoError("FPM_MISCONFIGURED", `php-fpm cannot find the script "/x.php"`);

Deno.test("liveness() is well while every loop gets on, whatever is away", { permissions: "none" }, () => {
  assert.deepEqual(liveness(viewOf()), WELL);
  assert.deepEqual(liveness(viewOf({ state: "stopping", fpm: { isUp: false, error: FPM_AWAY } })), WELL);
});

Deno.test("liveness() names a consumer whose loop is stuck, and in what", { permissions: "none" }, () => {
  const view = viewOf({
    consumer: { stall: "its receive has gone on for 151 s and should have ended after 30 s" },
  });
  assert.deepEqual(liveness(view), {
    isWell: false,
    problems: ['consumer "main": its receive has gone on for 151 s and should have ended after 30 s'],
  });
});

Deno.test(
  "readiness() is well when the worker takes jobs and all is there",
  { permissions: "none" },
  async () => {
    assert.deepEqual(await readiness(viewOf()), WELL);
  },
);

Deno.test(
  "readiness() says which broker and which php-fpm is away, and why",
  { permissions: "none" },
  async () => {
    const view = viewOf({
      broker: { isUp: false, error: unavailable() },
      fpm: { isUp: false, error: FPM_AWAY },
    });
    assert.deepEqual(await readiness(view), {
      isWell: false,
      problems: [
        'broker "queue" is unavailable: QUEUE_UNAVAILABLE: Cannot use the queue "fake": it is away',
        'php-fpm "default" is unavailable: FASTCGI_CONNECT_FAILED: Cannot connect to php-fpm at "/run/fpm.sock": no such socket',
      ],
    });
  },
);

for (const state of ["quiet", "stopping"] as const) {
  Deno.test(`readiness() is not well while the worker is ${state}`, { permissions: "none" }, async () => {
    assert.deepEqual(await readiness(viewOf({ state })), {
      isWell: false,
      problems: [`the worker takes no jobs: it is ${state}`],
    });
  });
}

Deno.test("readiness() names a consumer that can run no jobs", { permissions: "none" }, async () => {
  assert.deepEqual((await readiness(viewOf({ consumer: { fault: FAULT } }))).problems, [
    'consumer "main" cannot run jobs: FPM_MISCONFIGURED: php-fpm cannot find the script "/x.php"',
  ]);
});

Deno.test(
  "readiness() tells of jobs that have been stuck for half a minute",
  { permissions: "none" },
  async () => {
    const stuck = (forMs: number) =>
      viewOf({
        stuck: [
          { kind: "starved", broker: "redis", consumer: "main", queues: ["a", "b"], jobs: 12, forMs },
          { kind: "orphaned", broker: "redis", jobs: 1, forMs },
        ],
      });
    assert.deepEqual(await readiness(stuck(29_999)), WELL);
    assert.deepEqual(await readiness(stuck(45_000)), {
      isWell: false,
      problems: [
        'consumer "main": no job has been taken for 45 s, though slots are free and "a", "b" have jobs ready: 12',
        'broker "redis": it counts 1 job in flight that this worker does not have, for 45 s',
      ],
    });
    assert.deepEqual(liveness(stuck(45_000)), WELL, "a restart is a person's decision");
  },
);
