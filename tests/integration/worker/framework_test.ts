/**
 * The messages of a framework on a real php-fpm: every way to die is told to it, and what it never
 * took up is not.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import type { Broker } from "../../../src/core/broker.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../../../src/brokers/sqlite/broker.ts";
import { AwkwardBroker, AwkwardServer } from "../../support/brokers/awkward.ts";
import { eventually } from "../../support/eventually.ts";
import { FRAMEWORK } from "../../support/framework_format.ts";
import { FRAMEWORK_FILE, QUEUE, startFrameworkSite } from "../../support/framework_site.ts";

const BROKERS: Readonly<Record<string, (folder: string) => Broker>> = {
  "the embedded queue": (folder) =>
    SqliteBroker.open({ clock: systemClock, owner: "test", format: FRAMEWORK }, {
      ...DEFAULT_SQLITE_OPTIONS,
      path: `${folder}/queue.sqlite`,
    }),
  "an awkward broker": () => new AwkwardBroker(new AwkwardServer(systemClock), FRAMEWORK),
};

/** A front controller of a batch handler, which runs its messages when it has all of them. */
const BATCH_HANDLER = `<?php require '${FRAMEWORK_FILE}';
  if (!isset($_SERVER['FERVO_BATCH'])) { serve(__DIR__); return; }
  header('X-Fervo-Outcome: batch');
  while (ob_get_level() > 0) ob_end_clean();
  $say = static function (string $id, string $outcome): void {
    echo "\\x1e", json_encode(['id' => $id, 'outcome' => $outcome]), "\\n";
    flush();
  };
  $reader = new Fervo\\Runner\\BatchReader(fopen('php://input', 'r'));
  for ($jobs = []; count($jobs) < (int) $_SERVER['FERVO_BATCH']; $jobs[] = $job) {
    $job = $reader->next();
    $say($job->id, 'begun');
  }
  (new Framework(__DIR__))->flush(...$jobs);
  foreach (array_reverse($jobs) as $job) $say($job->id, 'ack');`;

type Way = "kill" | "segv" | "memory" | "exit" | "sleep";
/** How each way to die is told. */
const WAYS: Readonly<Record<Way, string>> = {
  kill: "JOB_CRASHED",
  segv: "JOB_CRASHED",
  memory: "JOB_NO_OUTCOME",
  exit: "JOB_NO_OUTCOME",
  sleep: "JOB_TIMEOUT",
};

for (const [broker, open] of Object.entries(BROKERS)) {
  Deno.test(`On ${broker} a framework is told of each message that dies, in whichever way, and decides each time`, async () => {
    await using t = await startFrameworkSite(open, { consumer: { concurrency: 4, timeoutMs: 2_000 } });
    await t.push({ name: "well" });
    for (const way of Object.keys(WAYS) as Way[]) {
      await t.push({ name: `always-${way}`, do: [way, way, way] }, { name: `once-${way}`, do: [way] });
    }
    void t.run();
    const ways = Object.entries(WAYS);
    await t.ended(1 + 2 * ways.length);
    const tries = (
      [way]: [string, string],
    ) => [`always-${way} 0`, `always-${way} 1`, `always-${way} 2`, `once-${way} 0`];
    assert.deepEqual(
      (await t.runs()).sort(),
      [...ways.flatMap(tries), ...ways.map(([way]) => `once-${way} 1`), "well 0"].sort(),
    );
    assert.deepEqual(
      (await t.deaths()).sort(),
      ways.flatMap((way) => tries(way).map((one) => `${one} ${way[1]}`)).sort(),
    );
    assert.deepEqual((await t.failed()).sort(), ways.map(([way]) => `always-${way}`).sort());
    const settles = t.settles();
    const countOf = (settle: string) => settles.filter((one) => one === settle).length;
    assert.deepEqual(
      ["ack", "handled JOB_FAILED", "replace JOB_FAILED"].map(countOf),
      [1 + ways.length, ways.length, 3 * ways.length],
    );
    assert.equal(settles.length, 1 + 5 * ways.length);
  });

  Deno.test(`On ${broker} a message that ran when php-fpm was stopped runs again, and its framework hears nothing`, async () => {
    await using t = await startFrameworkSite(open, { consumer: { concurrency: 1 } });
    await t.push({ name: "held", do: ["hold"] });
    void t.run();
    await eventually("it runs", async () => (await t.runs()).length === 1);
    await t.fpm.stop();
    await t.log.next("consumer_paused");
    await Deno.writeTextFile(t.file("go"), "");
    await t.fpm.restart();
    await t.ended(1);
    assert.deepEqual([await t.runs(), await t.deaths()], [["held 0", "held 0"], []]);
    assert.deepEqual(t.settles().filter((settle) => settle !== "release FASTCGI_CONNECTION_LOST"), ["ack"]);
  });

  Deno.test(`On ${broker} a death that php-fpm could not hear of is told, the same, when php-fpm is back`, async () => {
    await using t = await startFrameworkSite(open, { consumer: { concurrency: 1 } });
    await t.push({ name: "poison", do: ["hold"] });
    void t.run();
    await eventually("it runs", async () => (await t.runs()).length === 1);
    // From now on nothing starts; and then its process dies.
    await Deno.writeTextFile(t.file("broken"), "");
    const { processes } = (await t.fpm.control().status())!;
    Deno.kill(processes.find(({ requestUri }) => requestUri.startsWith(`/${QUEUE}/`))!.pid, "SIGKILL");
    const paused = await t.log.next("consumer_paused");
    assert.equal(paused.error.code, "APPLICATION_NOT_STARTED");
    await Deno.writeTextFile(t.file("go"), "");
    await Deno.remove(t.file("broken"));
    await t.ended(1);
    assert.deepEqual([await t.runs(), await t.deaths()], [["poison 0", "poison 1"], [
      "poison 0 JOB_CRASHED",
    ]]);
    assert.deepEqual(t.settles(), ["replace JOB_FAILED", "ack"]);
  });

  Deno.test(`On ${broker} a death whose telling dies is told once more, and the message retried as any other then`, async () => {
    await using t = await startFrameworkSite(open, { consumer: { concurrency: 1 } });
    await t.push({ name: "poison", do: ["kill"], died: ["kill"] });
    void t.run();
    await t.log.count("post_mortem_died", 2);
    const ids = await t.failureIds();
    assert.deepEqual([ids.length, new Set(ids).size], [2, 1]);
    await t.log.count("job_settled", 1);
    assert.deepEqual(t.settles().slice(0, 1), ["retry JOB_CRASHED"]);
    await Deno.writeTextFile(t.file("well"), "");
    await t.ended(1);
  });

  for (const size of broker === "the embedded queue" ? [1, 7, 20] : [7]) {
    Deno.test(`On ${broker} a framework is told of all ${size} messages whose batch handler dies as it runs them`, async () => {
      await using t = await startFrameworkSite(open, {
        consumer: { concurrency: 1, batchSize: size },
        code: BATCH_HANDLER,
      });
      const names = Array.from({ length: size }, (_, at) => `m${at}`);
      await t.push(...names.map((name, at) => ({ name, ...(at === size - 1 && { do: ["kill"] as const }) })));
      void t.run();
      await t.ended(size);
      assert.deepEqual((await t.deaths()).sort(), names.map((name) => `${name} 0 JOB_CRASHED`).sort());
      assert.deepEqual((await t.runs()).sort(), names.flatMap((name) => [`${name} 0`, `${name} 1`]).sort());
      assert.deepEqual(t.settles(), [...names.map(() => "replace JOB_FAILED"), ...names.map(() => "ack")]);
    });
  }

  Deno.test(`On ${broker} a broken deployment under load counts nothing, and all runs when it is mended`, async () => {
    await using t = await startFrameworkSite(open, { consumer: { concurrency: 2, pauseMaxMs: 100 } });
    const names = Array.from({ length: 50 }, (_, at) => `m${at}`);
    await t.push(...names.slice(0, 25).map((name) => ({ name })));
    void t.run();
    await t.ended(10);
    await Deno.writeTextFile(t.file("broken"), "");
    await t.push(...names.slice(25).map((name) => ({ name })));
    const { error } = await t.log.next("consumer_paused");
    assert.equal(error.code, "APPLICATION_NOT_STARTED");
    assert.match(error.details.stderr ?? "", /The deployment is broken/);
    await eventually("it is a lasting fault", () => t.consumer.lastingFault !== undefined);
    assert.equal(t.consumer.fault?.code, "APPLICATION_NOT_STARTED");
    await Deno.remove(t.file("broken"));
    await t.ended(50);
    assert.equal(t.consumer.fault, undefined);
    assert.deepEqual((await t.runs()).sort(), names.map((name) => `${name} 0`).sort());
    assert.deepEqual([await t.deaths(), await t.failed()], [[], []]);
    assert.deepEqual(
      new Set(t.settles().filter((settle) => !settle.startsWith("release"))),
      new Set(["ack"]),
    );
  });
}

Deno.test("An application that starts when its worker has given up on it runs no message, which runs elsewhere", async () => {
  await using t = await startFrameworkSite(BROKERS["the embedded queue"]!, {
    consumer: { concurrency: 1, timeoutMs: 500 },
    executor: { killOnTimeout: false },
    fpm: { children: 2 },
    // The first one waits.
    code: `<?php require '${FRAMEWORK_FILE}';
      Fervo\\Runner\\Runner::serve(static function (): Framework {
        if (isset($_SERVER['FERVO_BATCH']) && @mkdir(__DIR__.'/first')) {
          while (!is_file(__DIR__.'/go')) { clearstatcache(); usleep(1000); }
          register_shutdown_function(fn () => touch(__DIR__.'/over'));
        }
        return new Framework(__DIR__);
      });`,
  });
  await t.push({ name: "m" });
  void t.run();
  await t.ended(1);
  await Deno.writeTextFile(t.file("go"), "");
  await eventually("the first one has ended", () => Deno.stat(t.file("over")).then(() => true, () => false));
  assert.deepEqual(await t.runs(), ["m 0"]);
});
