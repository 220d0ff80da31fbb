/** The Symfony example on the binary: what a controller defers runs on php-fpm, on each kind of queue. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { signed } from "./symfony_payload.ts";
import { BROKER_KINDS, SymfonySite, type Task } from "./symfony_site.ts";

for (const kind of BROKER_KINDS) {
  Deno.test(`What a Symfony controller defers runs in another process, by ${kind}`, async () => {
    await using site = await SymfonySite.create(kind);
    const answer = await site.post("/orders/7") as { process: number };
    const before = await site.journal();
    assert.deepEqual(before, [{
      process: answer.process,
      sapi: "cli-server",
      text: "order 7: stock reserved",
    }]);

    await site.runAll();
    const later = (await site.journal()).slice(1);
    assert.deepEqual(later.map(({ text, sapi }) => `${text} by ${sapi}`).sort(), [
      "order 7: confirmation sent by fpm-fcgi",
      "order 7: invoice written by fpm-fcgi",
    ], "the deferred event, and of the other event the deferred listener alone");
    assert.ok(later.every(({ process }) => process !== answer.process));
  });

  Deno.test(`Delay, queue, priority and attempts of a deferred event count, by ${kind}`, async () => {
    await using site = await SymfonySite.create(kind, { consumer: { concurrency: 1 } });
    await site.defer(
      { name: "mail", options: { queue: "mail" } },
      { name: "first" },
      { name: "limited", options: { attempts: 3 } },
      { name: "urgent", options: { priority: 5 } },
      { name: "late", options: { delay: 1.5 } },
    );
    await site.runAll();
    const runs = await site.runs();
    const order = kind === "redis" ? ["first", "limited", "urgent"] : ["urgent", "first", "limited"];
    assert.deepEqual(runs.map(({ name }) => name), [...order, "mail", "late"]);
    const of = (name: string) => runs.find((run) => run.name === name)!;
    assert.deepEqual([of("mail").queue, of("first").queue], ["mail", "default"]);
    assert.deepEqual([of("limited").attempt, of("limited").attempts], [1, 3]);
    const wait = of("late").ageMs;
    assert.ok(wait >= 1_500, `it ran after ${wait} ms`);
  });

  Deno.test(`A listener that throws, gives up or exits is never taken for done, by ${kind}`, async () => {
    await using site = await SymfonySite.create(kind);
    const options = { attempts: 1 };
    await site.defer(
      { name: "1", action: "throw", options },
      { name: "2", action: "bury" },
      { name: "3", action: "exit", options },
      { name: "4" },
    );
    const log = await site.runAll();
    const dead = log.filter(({ msg }) => msg === "Job is dead");
    assert.deepEqual(
      dead.map(({ code, error }) => `${code} ${String(error).replace(/: it answered.*/, "")}`).sort(),
      [
        "JOB_FAILED The job failed: DomainException: The printer is on fire",
        "JOB_FAILED The job failed: Fervo\\DeferredEventBundle\\Exception\\UnrecoverableException: There is no such customer",
        "JOB_NO_OUTCOME The script ended without an outcome",
      ],
    );
    assert.deepEqual((await site.runs()).map(({ name }) => name).sort(), ["1", "2", "3", "4"]);
    assert.equal((await site.deadLetters()).length, 3);
  });
}

Deno.test("A deferred event is tried again after an exception or an exit, and is a dead letter with class, message and trace", async () => {
  await using site = await SymfonySite.create("sqlite", { retry: { attempts: 2, delay_ms: 10 } });
  await site.defer({ name: "1", action: "throw" }, { name: "2", action: "exit" }, {
    name: "3",
    action: "bury",
  });
  await site.runAll();
  const tries = (await site.runs()).map(({ name, attempt }) => `${name}/${attempt}`);
  assert.deepEqual(tries.sort(), ["1/1", "1/2", "2/1", "2/2", "3/1"]);
  const letters = await site.deadLetters();
  assert.deepEqual(letters.map(({ id, attempts }) => `${id}: ${attempts}`).sort(), ["1: 2", "2: 2", "3: 1"]);
  const thrown = letters.find(({ id }) => id === "1")!.error;
  assert.equal(thrown.message, "The job failed: DomainException: The printer is on fire");
  assert.match(thrown.stderr ?? "", /DomainException: The printer is on fire in .*DoTask\.php:\d+/);
  const shown = await site.worker.runOk(["dead", "show", "1"]);
  assert.match(shown, /DomainException: The printer is on fire/);

  // Once it is mended.
  await site.app.write(
    "src/EventListener/DoTask.php",
    `<?php
    namespace App\\EventListener;
    #[\\Symfony\\Component\\EventDispatcher\\Attribute\\AsEventListener('task')]
    final class DoTask {
      public function __construct(private readonly \\App\\Journal $journal) {}
      public function __invoke(\\App\\Event\\Task $task): void { $this->journal->write('mended '.$task->name); }
    }`,
  );
  await site.deployed();
  await site.worker.runOk(["dead", "retry", "1"]);
  await site.runAll();
  assert.equal((await site.journal()).at(-1)?.text, "mended 1");
});

Deno.test("A payload that this application has not signed, or that nothing can be made of, is buried and nothing runs, at once or after its tries", async () => {
  await using site = await SymfonySite.create("sqlite");
  await site.defer({ name: "1" });
  const good = takePayload(site.app.queueFile);
  const secret = "change-me-in-env-local";
  const event = { event: "task", class: "App\\Event\\Task", format: "php" };
  // A deployment, or a secret that comes late, may heal these.
  const all = 5;
  const bad: [payload: string, error: RegExp, attempts?: number][] = [
    [good.replace('"event":"task"', '"event":"tusk"'), /The payload's signature is wrong/],
    [good.slice(good.indexOf("\n") + 1), /The payload of \d+ bytes has no signature/],
    [good.slice(0, 50), /has no signature/],
    [signed("a guessed secret", event), /The payload was signed with another key/, all],
    [
      signed(secret, { ...event, class: "App\\Event\\Gone", data: "" }),
      /The class "App\\Event\\Gone" .* is not there/,
      all,
    ],
    [
      signed(secret, { ...event, data: btoa('O:14:"App\\Event\\Gone":0:{}') }),
      /the class "App\\Event\\Gone", which is not there/,
      all,
    ],
    [signed(secret, { ...event, data: "broken" }), /UndecodablePayloadException/],
    [signed(secret, [1]), /is no deferred event/],
  ];
  for (const [payload, error, attempts = 1] of bad) {
    await site.worker.runOk(["push", "default", "-"], { stdin: payload });
    await site.runAll();
    const [letter] = await site.deadLetters();
    assert.match(letter?.error.message ?? "", error);
    assert.equal(letter?.attempts, attempts, String(error));
    await site.worker.runOk(["dead", "remove", "--all", "--yes"]);
  }
  assert.deepEqual(await site.runs(), []);

  await site.worker.runOk(["push", "default", "-"], { stdin: good });
  await site.runAll();
  assert.deepEqual((await site.runs()).map(({ name }) => name), ["1"], "the signature is not what was wrong");
});

Deno.test("A kernel that fails to boot costs tries, and its dead letter tells why", async () => {
  await using site = await SymfonySite.create("sqlite", { retry: { attempts: 2, delay_ms: 10 } });
  await site.defer({ name: "1" });
  await site.app.write("config/packages/mistake.yaml", "framwork: { secret: typo }\n");
  await Deno.remove(`${site.app.directory}/var/cache`, { recursive: true });
  await site.runAll();
  const [{ attempts, error }] = await site.deadLetters() as [
    Awaited<ReturnType<typeof site.deadLetters>>[number],
  ];
  assert.equal(attempts, 2);
  assert.match(
    error.message,
    /^The job failed: Symfony.*Exception: There is no extension able to load .*"framwork"/,
  );
  assert.match(error.stderr ?? "", /YamlFileLoader\.php/);

  await Deno.remove(`${site.app.directory}/config/packages/mistake.yaml`);
  await site.deployed();
  await site.worker.runOk(["dead", "retry", "--all", "--yes"]);
  await site.runAll();
  assert.deepEqual((await site.runs()).map(({ name }) => name), ["1"]);
});

Deno.test("With symfony/runtime, jobs on php-fpm run by it and its options, alone and in batches", async () => {
  await using site = await SymfonySite.create("sqlite", { retry: { attempts: 1 } });
  await site.defer({ name: "1" });
  await site.app.addRuntime({ dotenv_path: "gone.env" });
  await site.runAll();
  const [dead] = await site.deadLetters();
  assert.match(dead?.error.message ?? "", /^The job failed: .*PathException: .*gone\.env/);

  await site.app.addRuntime({ dotenv_path: "config/shop.env" });
  await Deno.copyFile(`${site.app.directory}/.env.local`, `${site.app.directory}/config/shop.env.local`);
  await Deno.copyFile(`${site.app.directory}/.env`, `${site.app.directory}/config/shop.env`);
  await site.deployed();
  await site.worker.runOk(["dead", "retry", "--all", "--yes"]);
  await site.runAll();
  await site.configure({ consumer: { concurrency: 1, batch_size: 2 } });
  await site.defer({ name: "2" }, { name: "3", action: "exit", options: { attempts: 1 } }, { name: "4" });
  await site.runAll();
  assert.deepEqual((await site.runs()).map(({ name, batch }) => `${name} of ${batch}`), [
    "1 of 0",
    "2 of 2",
    "3 of 2",
    "4 of 1",
  ]);
  const died = await site.deadLetters();
  assert.deepEqual(died.map(({ error }) => error.code), ["JOB_NO_OUTCOME"]);
});

Deno.test("What the bundle of 2013 left in Redis is refused as unsigned, and run once the application says that it may", async () => {
  await using site = await SymfonySite.create("redis", { consumer: { payload_param: "DEFERRED_DATA" } });
  const redis = site.redis!;
  const data = btoa(
    'O:14:"App\\Event\\Task":3:{s:4:"name";s:3:"old";s:6:"action";s:4:"work";s:10:"deferredAt";d:0;}',
  );
  const left = () =>
    redis.cli("LPUSH", "queue:default", JSON.stringify({ class: "DeferEvent", args: [data], retry: false }));
  await left();
  await site.runAll();
  const [letter] = await site.deadLetters();
  assert.match(
    letter?.error.message ?? "",
    /InvalidSignatureException: The payload of \d+ bytes has no signature/,
  );
  assert.deepEqual(await site.runs(), []);

  const allow = "fervo_deferred_event: { legacy: { accept_unsigned: true } }\n";
  await site.app.write("config/packages/fervo_deferred_event.yaml", allow);
  await site.deployed();
  await left();
  await site.runAll();
  assert.deepEqual((await site.runs()).map(({ name }) => name), ["old"]);
});

Deno.test("Deferred events run as console processes, and exit codes tell what became of them", async () => {
  await using site = await SymfonySite.create("sqlite", { retry: { attempts: 2, delay_ms: 10 } });
  await site.configure({
    process: { command: ["php", `${site.app.directory}/bin/console`, "fervo:deferred-event:dispatch", "-"] },
    exitCodes: { 100: "bury" },
    retry: { attempts: 2, delay_ms: 10 },
  });
  await site.defer({ name: "1" }, { name: "2", action: "throw" }, { name: "3", action: "bury" });
  await site.post("/orders/7");
  await site.runAll();
  const tries = (await site.runs()).map(({ name, attempt, attempts }) =>
    `${name}: ${attempt} of ${attempts}`
  );
  assert.deepEqual(tries.sort(), ["1: 1 of 2", "2: 1 of 2", "2: 2 of 2", "3: 1 of 2"]);
  const order = (await site.journal()).filter(({ text }) => text.startsWith("order")).slice(1);
  assert.deepEqual(order.map(({ text, sapi }) => `${text} by ${sapi}`).sort(), [
    "order 7: confirmation sent by cli",
    "order 7: invoice written by cli",
  ]);
  const [buried, failed] = (await site.deadLetters()).toSorted((a, b) => a.attempts - b.attempts);
  assert.deepEqual([buried?.attempts, failed?.attempts], [1, 2]);
  assert.match(buried?.error.stderr ?? "", /^bury: .*UnrecoverableException: There is no such customer$/m);
  assert.match(failed?.error.stderr ?? "", /^retry: DomainException: The printer is on fire$/m);
});

for (const kind of BROKER_KINDS) {
  Deno.test(`A batch of deferred events: one that exits fails alone, the others run once, by ${kind}`, async () => {
    const BATCH = 20;
    await using site = await SymfonySite.create(kind, { consumer: { concurrency: 1, batch_size: BATCH } });
    const names = Array.from({ length: 2 * BATCH }, (_, i) => String(i));
    const special: Record<string, Task["action"]> = { "5": "exit", "7": "bury", "25": "throw" };
    const options = { attempts: 1 };
    await site.defer(...names.map((name): Task => ({ name, action: special[name] ?? "work", options })));
    const log = await site.runAll();
    const runs = await site.runs();
    assert.deepEqual(runs.map(({ name }) => name).sort(), names.toSorted(), "each one once");
    assert.ok(
      runs.every(({ attempt, attempts, queue }) => attempt === 1 && attempts === 1 && queue === "default"),
    );
    const dead = log.filter(({ msg }) => msg === "Job is dead").map(({ code, error }) => `${code} ${error}`);
    assert.match(
      dead.sort().join("\n"),
      /^JOB_FAILED .*The printer.*\nJOB_FAILED .*no such customer\nJOB_NO_OUTCOME .*$/,
    );

    assert.ok(runs.some(({ batch }) => batch === BATCH), "a whole batch was one request");
  });
}

/** Takes the only job out of an embedded queue, as it is; returns its payload. */
function takePayload(queueFile: string): string {
  using db = new DatabaseSync(queueFile, { timeout: 10_000 });
  const { payload } = db.prepare("DELETE FROM fervo_jobs RETURNING payload").get()!;
  return new TextDecoder().decode(payload as Uint8Array);
}
