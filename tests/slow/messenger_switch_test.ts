/**
 * messenger:consume and fervo-worker on one table, one after the other and at once, and deployments, while an application dispatches.
 * The ledger that handlers write knows each run: no message is lost, none runs twice, and none fails for good.
 *
 * FERVO_MESSAGES is the number of messages in each test.
 */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import type { RunningCommand } from "../support/fervo_worker.ts";
import type { Message } from "../support/messenger/cases.ts";
import { everythingIsDone, IS_NOT_DONE } from "../support/messenger/consume.ts";
import { MessengerConsumers, WorkerAndPool } from "../support/messenger/consumers.ts";
import { DATABASE_KINDS, startDatabases } from "../support/messenger/databases.ts";
import { MessengerApp } from "../support/messenger/messenger_app.ts";
import { Trial } from "../support/messenger/trial.ts";

const COUNT = Number(Deno.env.get("FERVO_MESSAGES") ?? 400);
/** Of one request of the application. */
const WAVE = 40;
const SYMFONY = "Debian's";

/** One of ten fails twice, so that there are retries at any time. */
function load(kinds: readonly Message["class"][]): Message[] {
  return Array.from({ length: COUNT }, (_, index) => ({
    name: `${String(index).padStart(3, "0")}-load`,
    class: kinds[index % kinds.length]!,
    transport: index % 3 === 0 ? "json" : "php",
    action: index % 10 === 0 ? "fails twice" : "ok",
  }));
}

async function dispatch(trial: Trial, messages: readonly Message[]): Promise<void> {
  for (let at = 0; at < messages.length; at += WAVE) await trial.dispatch(messages.slice(at, at + WAVE));
}

/** Resolves when handlers have begun with this part of the messages. */
async function share(trial: Trial, part: number): Promise<void> {
  await eventually(`${part} of the messages`, async () => await trial.begun() >= part * COUNT, 120_000);
}

async function end(worker: RunningCommand): Promise<void> {
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0, stderr);
}

/** @returns Where each run was: "cli" is messenger:consume's. */
async function mustBeWhole(trial: Trial, messages: readonly Message[]): Promise<Set<string>> {
  const places = new Set<string>();
  for (const { name, action } of messages) {
    const lines = await trial.ledger(name);
    const count = (what: string) => lines.filter((line) => line.what === what).length;
    const said = `${name}: ${JSON.stringify(lines)}`;
    assert.equal(count("begin"), action === "ok" ? 1 : 3, said);
    assert.equal(count("end"), 1, said);
    for (const { sapi } of lines) places.add(sapi);
  }
  assert.equal(await trial.database.count(`SELECT count(*) FROM messenger_messages WHERE ${IS_NOT_DONE}`), 0);
  return places;
}

for (const kind of DATABASE_KINDS) {
  Deno.test(`messenger:consume and fervo-worker share a table on ${kind}: each of ${COUNT} messages runs once`, async () => {
    await using databases = await startDatabases(kind);
    await using trial = await Trial.create(databases, { symfony: SYMFONY, hasBundle: true });
    await using site = await WorkerAndPool.create(trial);
    const messages = load(["Task"]);
    {
      await using _consumers = new MessengerConsumers(trial, 1);
      await using worker = site.start();
      await dispatch(trial, messages);
      await everythingIsDone(trial);
      await end(worker);
    }
    assert.deepEqual(await mustBeWhole(trial, messages), new Set(["cli", "fpm-fcgi"]));
  });

  Deno.test(`From messenger:consume to fervo-worker, back and over again under load on ${kind}: each of ${COUNT} messages runs once`, async () => {
    await using databases = await startDatabases(kind);
    await using trial = await Trial.create(databases, { symfony: SYMFONY, hasBundle: true });
    await using site = await WorkerAndPool.create(trial);
    const messages = load(["Task"]);
    const dispatched = dispatch(trial, messages);
    for (const part of [0.2, 0.6]) {
      {
        await using _consumers = new MessengerConsumers(trial, 1);
        await share(trial, part);
      }
      await using worker = site.start();
      await share(trial, part + 0.2);
      await end(worker);
    }
    await using worker = site.start();
    await dispatched;
    await everythingIsDone(trial);
    await end(worker);
    assert.deepEqual(await mustBeWhole(trial, messages), new Set(["cli", "fpm-fcgi"]));
  });
}

Deno.test("A deployment under load: messages that the old code does not know wait as dead letters, and reloads of php-fpm cost nothing", async () => {
  await using databases = await startDatabases("postgres");
  // Its code is what is deployed, and the producer has it first.
  await using trial = await Trial.create(databases, { symfony: SYMFONY, hasBundle: true });
  await using old = await MessengerApp.create({
    symfony: SYMFONY,
    hasBundle: true,
    env: trial.app.env,
    without: ["src/Message/Signed.php", "src/Handler/DoSigned.php"],
  });
  const current = `${trial.app.directory}/var/current`;
  const deploy = async (app: MessengerApp) => {
    await Deno.symlink(app.directory, `${current}.next`);
    await Deno.rename(`${current}.next`, current);
  };
  await deploy(old);
  await using site = await WorkerAndPool.create(trial, {
    script: `${current}/vendor/fervo/deferred-event-bundle/bin/fervo-run.php`,
  });
  await using worker = site.start();
  const messages = load(["Task", "Task", "Signed"]);
  const dispatched = dispatch(trial, messages);
  await share(trial, 0.2);
  await site.fpm.reload();
  await share(trial, 0.3);
  await deploy(trial.app);
  await site.fpm.reload();
  await share(trial, 0.5);
  await site.fpm.reload();
  await dispatched;
  await everythingIsDone(trial);

  const dead: { error: { code: string } }[] = JSON.parse(await site.run("dead", "list", "--json"));
  assert.ok(dead.length > 0, "there were new messages before there was new code");
  await site.run("dead", "retry", "--all", "--yes");
  await eventually("no dead letter is left", async () => await site.run("dead", "list", "--json") === "[]\n");
  await everythingIsDone(trial);
  await end(worker);
  assert.deepEqual(await mustBeWhole(trial, messages), new Set(["fpm-fcgi"]));
});
