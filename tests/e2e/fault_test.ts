/** What a worker does when something goes wrong in itself that nobody has foreseen. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { type RunningCommand, Site, type SiteOptions } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Instead of the binary, which has no known fault. */
const FAULTY = `shift; exec "${Deno.execPath()}" run -A "${ROOT}tests/support/faulty_worker.ts" "$@"`;

/** A faulty worker that runs a job, which ends when it is let go. */
async function startBusy(options: SiteOptions = {}, firstFault = 0) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ children: 4 }));
  const site = opened.use(await Site.create(fpm, options));
  const gate = `${site.directory}/gate`;
  await site.push(JSON.stringify({ wait_for: gate }));
  const worker = opened.use(
    site.start(["run"], { shell: FAULTY, env: { FIRST_FAULT: String(firstFault) } }),
  );
  await eventually("the job runs", () => site.effectCount() === 1);
  const resources = opened.move();
  return {
    site,
    worker,
    letGo: () => Deno.writeTextFile(gate, ""),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** What the worker has logged; each line is JSON. */
function linesOf({ stderr }: RunningCommand): Record<string, unknown>[] {
  return stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
}

for (
  const [kind, firstFault, error] of [
    ["a promise that is rejected", 0, "a promise that nobody awaits"],
    ["an exception", 1, "an exception out of a timer"],
  ] as const
) {
  Deno.test(`${kind}, unforeseen: run takes no more jobs, lets those end that run, and exits with 1`, async () => {
    await using busy = await startBusy({}, firstFault);
    const { site, worker } = busy;
    worker.kill("SIGUSR2");
    await worker.says('"msg":"Stopping; running jobs may finish"');
    await site.push("{}");
    await busy.letGo();
    assert.equal((await worker.ended).code, 1);
    const fault = linesOf(worker).find(({ level }) => level === "error");
    assert.equal(fault?.["error"], error);
    assert.match(String(fault?.["stack"]), /faulty_worker\.ts/);
    assert.match(String(fault?.["msg"]), /^This is a fault in fervo-worker itself; please report it/);
    const [queue] = JSON.parse(await site.runOk(["queues", "--json"]));
    assert.deepEqual([queue.ready, queue.reserved, queue.dead], [1, 0, 0]);
    assert.equal(site.effectCount(), 1);
  });
}

Deno.test("a second fault ends run at once, whatever runs, and the log stays a log", async () => {
  await using busy = await startBusy();
  const { worker } = busy;
  worker.kill("SIGUSR2");
  await worker.says('"msg":"Stopping; running jobs may finish"');
  worker.kill("SIGUSR2");
  assert.equal((await worker.ended).code, 1);
  assert.match(String(linesOf(worker).at(-1)?.["msg"]), /^This is another fault in fervo-worker itself/);
  await busy.letGo();
});

Deno.test("a fault is told in the log's own format on a terminal, too", async () => {
  await using busy = await startBusy({ log: { format: "pretty" } });
  const { worker } = busy;
  worker.kill("SIGUSR2");
  await worker.says("This is a fault in fervo-worker itself; please report it");
  await busy.letGo();
  const { code, stderr } = await worker.ended;
  assert.equal(code, 1);
  assert.match(stderr, /Stopped/);
  assert.doesNotMatch(stderr, /Uncaught/);
});
