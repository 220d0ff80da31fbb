import assert from "node:assert/strict";
import { systemClock } from "../../src/core/time/clock.ts";
import { parseAddress } from "../../src/fastcgi/address.ts";
import { ask, statusRequest } from "../../src/fpm/status.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

Deno.test("run with a batch size runs each pushed job once, in few requests", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, {
    consumer: { concurrency: 2, batch_size: 20 },
  });
  const ids = await site.push("{}", 200);
  await site.runOk(["run", "--until-empty"]);
  const byId = (a: string, b: string) => Number(a) - Number(b);
  assert.deepEqual(site.effects().map(({ job }) => job).sort(byId), ids.toSorted(byId));
  assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), []);
  const page = await ask(parseAddress(fpm.statusAddress), systemClock, statusRequest(fpm.statusPath));
  const { processes } = JSON.parse(new TextDecoder().decode(page.body)) as {
    processes: { requests: number }[];
  };
  const requests = processes.reduce((sum, child) => sum + child.requests, 0);
  assert.ok(requests < 100, `there were ${requests} requests`);
});

Deno.test("check refuses a batch size that does not go with other options", async () => {
  await using site = await Site.create(undefined, { consumer: { batch_size: 2, ack_on: "status" } });
  const { code, stderr } = await site.run(["check"]);
  assert.equal(code, 3);
  assert.match(stderr, /batch_size is 2, and one HTTP status cannot report several jobs/);
});

Deno.test("check --call-script calls the script of a consumer with batches as that of any other", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    fpm: { status_path: fpm.statusPath, status_address: fpm.statusAddress },
    consumer: { concurrency: 2, batch_size: 10 },
  });
  await site.runOk(["check", "--call-script"]);
});
