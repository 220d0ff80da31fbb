/** `concurrency = "auto"`, as the binary does it. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const JOBS = 1_500;
/** A look at the pool is up to six seconds away where there is no work. */
const LIMIT_MS = 30_000;

Deno.test("With concurrency auto the slots follow a php-fpm that is reloaded, and a configuration that is, and no attempt is lost", async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await using site = await Site.create(fpm);
  const configure = async (bounds: string) => {
    await site.configure({
      fpm: { address: fpm.address, status_path: fpm.statusPath, status_address: fpm.statusAddress },
      consumer: { concurrency: "auto" },
    });
    await Deno.writeTextFile(site.configFile, `[fpm.default.auto]\n${bounds}\n`, { append: true });
  };
  const slotsAre = (count: number) =>
    eventually(`there are ${count} slots`, async () => {
      const { consumers } = JSON.parse(await site.runOk(["status", "--json"]));
      return consumers[0].slots === count;
    }, LIMIT_MS);

  await configure("");
  await using worker = site.start(["run"]);
  await worker.says('"msg":"Listening for commands"');
  await slotsAre(4);
  const ids = await site.push('{"sleep_ms":5}', JOBS);
  await eventually("jobs run", () => site.effectCount() >= 50);
  await fpm.reload({ children: 2 });
  await slotsAre(2);
  await configure("max = 1");
  worker.kill("SIGHUP");
  await slotsAre(1);
  await configure("");
  worker.kill("SIGHUP");
  await slotsAre(2);

  await eventually(
    "all jobs are done",
    () => site.queueRows("SELECT 1 FROM fervo_jobs").length === 0,
    LIMIT_MS,
  );
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  const effects = site.effects();
  assert.deepEqual(new Set(effects.map(({ job }) => job)), new Set(ids));
  assert.deepEqual(effects.filter(({ attempt }) => attempt !== 1), []);
});
