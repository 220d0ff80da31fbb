/** Messenger's transport fervo:// on the binary: what a controller dispatches is handled on php-fpm, on each kind of queue. */
import assert from "node:assert/strict";
import type { SiteOptions } from "../support/fervo_worker.ts";
import { BROKER_KINDS, type BrokerKind, type Message, SymfonySite } from "./symfony_site.ts";

/** Messenger's configuration, messages, and the handler. */
const OVERLAY = new URL("./symfony_messenger", import.meta.url).pathname;

/** What the handler has written of one message. */
interface Handled {
  readonly name: string;
  readonly data: string;
  readonly attempt: string;
  readonly ageMs: number;
  readonly sinceReset: number;
  readonly batch: number;
  readonly sapi: string;
}

function create(kind: BrokerKind, options: SiteOptions = {}): Promise<SymfonySite> {
  return SymfonySite.create(kind, options, [OVERLAY]);
}

function options(more: SiteOptions = {}): SiteOptions {
  return { retry: { delay_ms: 10 }, ...more, consumer: { queues: ["messages"], ...more.consumer } };
}

async function send(site: SymfonySite, ...messages: Message[]): Promise<void> {
  await site.post("/messages", messages);
}

async function handled(site: SymfonySite): Promise<Handled[]> {
  const pattern =
    /^message (.+), data "(.*)", queue messages, attempt (\d+ of \d+), (\d+) ms .*, (\d+) since a reset, in a batch of (\d+)$/;
  return (await site.journal()).flatMap(({ text, sapi }) => {
    const found = pattern.exec(text);
    if (found === null) return [];
    const [, name, data, attempt, ageMs, sinceReset, batch] = found as unknown as string[];
    return [{
      name: name!,
      data: data!,
      attempt: attempt!,
      ageMs: Number(ageMs),
      sinceReset: Number(sinceReset),
      batch: Number(batch),
      sapi,
    }];
  });
}

async function attempts(site: SymfonySite): Promise<string[]> {
  return (await handled(site)).map(({ name, attempt }) => `${name}: ${attempt}`).sort();
}

for (const kind of BROKER_KINDS) {
  Deno.test(`What Messenger sends by fervo:// is handled on php-fpm, with any bytes and after its delay, by ${kind}`, async () => {
    await using site = await create(kind, options());
    const data = new Uint8Array(256).map((_, i) => i);
    await send(site, { name: "late", delayMs: 1_500 }, { name: "now", data: data.toBase64() });
    assert.deepEqual(await handled(site), []);

    await site.runAll();
    const [now, late] = await handled(site);
    assert.deepEqual([now?.name, now?.data, now?.attempt, now?.sapi], [
      "now",
      data.toHex(),
      "1 of 2",
      "fpm-fcgi",
    ]);
    assert.equal(late?.name, "late");
    assert.ok(late.ageMs >= 1_500, `it was handled after ${late.ageMs} ms`);
    assert.deepEqual(await site.deadLetters(), []);
  });

  Deno.test(`A message that fails is tried again as Messenger says, and ends as a dead letter with its exception, by ${kind}`, async () => {
    await using site = await create(kind, options());
    await send(
      site,
      { name: "throws", action: "throw" },
      { name: "throws first", action: "throw first" },
      { name: "buries", action: "bury" },
    );
    const log = await site.runAll();
    // Each try is a job of its own.
    assert.deepEqual(await attempts(site), [
      "buries: 1 of 2",
      "throws first: 1 of 2",
      "throws first: 1 of 2",
      "throws: 1 of 2",
      "throws: 1 of 2",
      "throws: 1 of 2",
    ]);
    const waits = (await handled(site)).filter(({ name }) => name === "throws").map(({ ageMs }) => ageMs);
    assert.ok(waits[2]! >= 300, `the third try came after ${waits[2]} ms`);

    const dead = log.filter(({ msg }) => msg === "Job is dead").map(({ error }) => error);
    assert.deepEqual(dead.sort(), [
      "The job failed: DomainException: The printer is on fire",
      "The job failed: Symfony\\Component\\Messenger\\Exception\\UnrecoverableMessageHandlingException: There is no such customer",
    ]);
    const letters = await site.deadLetters();
    assert.deepEqual(letters.map(({ attempts }) => attempts), [1, 1]);
    if (kind === "beanstalkd") return; // It keeps no errors.
    const thrown = letters.find(({ error }) => error.message.includes("fire"))!;
    assert.match(thrown.error.stderr ?? "", /DomainException: The printer is on fire in .*DoWork\.php:\d+/);

    // Messenger counts on: what comes back from the dead letters has one more try.
    await site.worker.runOk(["dead", "retry", thrown.id]);
    await site.runAll();
    assert.equal((await handled(site)).filter(({ name }) => name === "throws").length, 4);
    assert.equal((await site.deadLetters()).length, 2);
  });
}

// Sidekiq's waits between a job's attempts are too long for this.
for (const kind of BROKER_KINDS.filter((kind) => kind !== "redis")) {
  Deno.test(`A message whose PHP exits or dies costs an attempt of its job, by ${kind}`, async () => {
    await using site = await create(kind, options());
    await send(
      site,
      { name: "exits", action: "exit" },
      { name: "exits first", action: "exit first" },
      { name: "dies", action: "kill" },
    );
    const log = await site.runAll();
    // A child that dies at once may have left between two requests: then the worker sends it once more, uncounted.
    assert.deepEqual([...new Set(await attempts(site))], [
      "dies: 1 of 2",
      "dies: 2 of 2",
      "exits first: 1 of 2",
      "exits first: 2 of 2",
      "exits: 1 of 2",
      "exits: 2 of 2",
    ]);
    const dead = log.filter(({ msg }) => msg === "Job is dead").map(({ code }) => code);
    assert.deepEqual(dead.sort(), ["JOB_CRASHED", "JOB_NO_OUTCOME"]);
  });
}

Deno.test("A message that fails for good goes to its failure transport, and is no dead letter", async () => {
  await using site = await create("redis", options());
  await send(
    site,
    { name: "throws", action: "throw", isPayment: true },
    { name: "buries", action: "bury", isPayment: true },
  );
  await site.runAll();
  assert.equal((await handled(site)).length, 4);
  assert.deepEqual(await site.deadLetters(), []);
  assert.equal(Number(await site.redis!.cli("XLEN", "failed")), 2);
  const kept = await site.redis!.cli("XRANGE", "failed", "-", "+");
  assert.match(kept, /The printer is on fire/);
  assert.match(kept, /SentToFailureTransportStamp/);
});

Deno.test("A message whose failure transport is away stays in the queue, as its job's next attempt", async () => {
  await using site = await create("sqlite", options());
  const env = await Deno.readTextFile(`${site.app.directory}/.env.local`);
  await site.app.write(".env.local", `${env}APP_FAILED='redis://127.0.0.1:1/failed'\n`);
  await site.deployed();
  await send(site, { name: "buries", action: "bury", isPayment: true });
  await site.runAll();
  assert.deepEqual(await attempts(site), ["buries: 1 of 2", "buries: 2 of 2"]);
  const [letter] = await site.deadLetters();
  assert.equal(letter?.attempts, 2);
  assert.match(letter.error.message, /Connection refused/);
});

Deno.test("PHP that dies between the copy for the next try and its answer costs one attempt, and leaves no second message", async () => {
  await using site = await create("sqlite", options());
  await send(site, { name: "dies behind its copy", action: "throw first" });
  await site.runAll();
  assert.deepEqual(await attempts(site), [
    "dies behind its copy: 1 of 2",
    "dies behind its copy: 2 of 2",
  ]);
  assert.deepEqual(await site.deadLetters(), []);
});

Deno.test("A batch of messages: each has its own outcome, and services are reset between them", async () => {
  const BATCH = 20;
  await using site = await create("sqlite", options({ consumer: { concurrency: 1, batch_size: BATCH } }));
  const names = Array.from({ length: 2 * BATCH }, (_, i) => String(i));
  const special: Record<string, NonNullable<Message["action"]>> = {
    "3": "bury",
    "5": "exit first",
    "7": "throw first",
  };
  await send(site, ...names.map((name): Message => ({ name, action: special[name] ?? "work" })));
  await site.runAll();
  const runs = await handled(site);
  assert.deepEqual(runs.map(({ name }) => name).sort(), [...names, "5", "7"].sort());
  assert.ok(runs.some(({ batch }) => batch === BATCH), "a whole batch was one request");
  assert.ok(runs.every(({ sinceReset }) => sinceReset === 1), "each found its services as new");
  assert.deepEqual((await site.deadLetters()).map(({ error }) => error.code), ["JOB_FAILED"]);
});

Deno.test("Messages are handled by console processes, too", async () => {
  await using site = await create("sqlite", options());
  await site.configure({
    process: { command: ["php", `${site.app.directory}/bin/console`, "fervo:deferred-event:dispatch", "-"] },
    exitCodes: { 100: "bury" },
    ...options(),
  });
  await send(
    site,
    { name: "works" },
    { name: "throws first", action: "throw first" },
    { name: "buries", action: "bury" },
    { name: "exits first", action: "exit first" },
  );
  await site.runAll();
  assert.ok((await handled(site)).every(({ sapi }) => sapi === "cli"));
  assert.deepEqual(await attempts(site), [
    "buries: 1 of 2",
    "exits first: 1 of 2",
    "exits first: 2 of 2",
    "throws first: 1 of 2",
    "throws first: 1 of 2",
    "works: 1 of 2",
  ]);
  assert.deepEqual((await site.deadLetters()).map(({ attempts }) => attempts), [1]);
});
