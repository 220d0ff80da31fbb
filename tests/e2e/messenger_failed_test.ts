/** Symfony's commands for its failure transport, beside a running fervo-worker. */
import assert from "node:assert/strict";
import { everythingIsDone } from "../support/messenger/consume.ts";
import { WorkerAndPool } from "../support/messenger/consumers.ts";
import { startDatabases } from "../support/messenger/databases.ts";
import { Trial } from "../support/messenger/trial.ts";

const FAILED = "FROM messenger_messages WHERE queue_name = 'failed'";

Deno.test("messenger:failed:show, retry and remove work beside fervo-worker with what it has put into the failure transport", async () => {
  await using databases = await startDatabases("postgres");
  await using trial = await Trial.create(databases, { symfony: "Debian's", hasBundle: true });
  await using site = await WorkerAndPool.create(trial);
  await using worker = site.start();
  const send = (name: string, action: string) =>
    trial.dispatch([{ name, class: "Task", transport: "php", action }]);
  await send("001-later", "unrecoverable once");
  await send("002-never", "unrecoverable");
  await everythingIsDone(trial);
  const idOf = async (name: string) =>
    String((await trial.database.run(`SELECT id ${FAILED} AND body LIKE ?`, `%${name}%`))[0]!["id"]);

  const list = await trial.app.console("messenger:failed:show");
  assert.match(list, /There is no such customer yet/);
  assert.match(list, /There is no such customer +/);
  await trial.app.console("messenger:failed:remove", await idOf("002-never"), "--force");
  assert.equal(await trial.database.count(`SELECT count(*) ${FAILED}`), 1);

  await trial.app.console("messenger:failed:retry", await idOf("001-later"), "--force", "--no-interaction");
  assert.equal(await trial.database.count(`SELECT count(*) ${FAILED}`), 0);
  const runs = (await trial.ledger("001-later")).map(({ what, sapi }) => `${what} ${sapi}`);
  assert.deepEqual(runs, ["begin fpm-fcgi", "begin cli", "end cli"]);

  // The worker goes on.
  await send("003-next", "ok");
  await everythingIsDone(trial);
  assert.equal((await trial.ledger("003-next")).length, 2);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});
