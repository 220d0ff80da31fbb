/**
 * Connections that end without an answer, as an operator meets them: nothing has run, so that nothing is counted, however
 * long it lasts and however few attempts there are.
 */
import assert from "node:assert/strict";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { eventually } from "../../support/eventually.ts";
import { fervoWorker, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { Forwarder } from "../../support/forwarder.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { type Script, ScriptedServer } from "../../support/scripted_server.ts";

const QUEUE = "SELECT state, attempts FROM fervo_jobs ORDER BY id";
/** One attempt, short pauses: whatever counts shows at once. */
const ONCE: SiteOptions = { consumer: { pause_max_ms: 50 }, retry: { attempts: 1 } };

function assertUntouched(site: Site, count: number, said: string): void {
  const jobs = site.queueRows(QUEUE).map(({ state, attempts }) => `${state} ${attempts}`);
  assert.deepEqual(jobs, Array(count).fill("ready 0"), said);
}

/** Connections after which any job that is counted has died. */
const MANY = 20;

/** Runs the worker until it has connected often, and stops it. */
async function runAWhile(site: Site, connections: () => number | Promise<number>): Promise<string> {
  await using worker = site.start(["run"]);
  await eventually("the worker has connected often", async () => {
    assert.equal(worker.hasEnded, false, worker.stderr);
    return await connections() > MANY;
  }, 60_000);
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0);
  return stderr;
}

/** What a peer that has no php-fpm behind it does with a connection. */
const NOBODY: Record<string, Script> = {
  "closes it at once": (peer) => peer.close(),
  "closes it after the first bytes": async (peer) => void await peer.readRecord(),
  "closes it after the request": async (peer) => void await peer.readRequest(),
  "answers in HTTP": async (peer) => {
    await peer.readRecord();
    await peer.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
  },
};

for (const [what, script] of Object.entries(NOBODY)) {
  for (const transport of ["unix", "tcp"] as const) {
    Deno.test(`run puts jobs back uncounted while what accepts the connection ${what} (${transport}), and runs them later`, async () => {
      await using fpm = await PhpFpm.start();
      await using proxy = await ScriptedServer.start(script, { transport });
      await using site = await Site.create(fpm, { ...ONCE, fpm: { address: proxy.address } });
      await site.push("{}", 3);
      const said = await runAWhile(site, () => proxy.connections);
      assertUntouched(site, 3, said);
      assert.doesNotMatch(said, /WORKER_FAULT/);
      await site.configure(ONCE);
      await site.runOk(["run", "--until-empty"]);
      assert.deepEqual([site.effectCount(), site.queueRows(QUEUE)], [3, []]);
    });
  }
}

for (const status of [true, false]) {
  const page = status ? "with its status page elsewhere" : "without a status page";
  Deno.test(`run puts jobs back uncounted while listen.allowed_clients of php-fpm, ${page}, does not have the worker`, async () => {
    await using fpm = await PhpFpm.start({ transport: "tcp", statusListen: true });
    await fpm.reload({ poolLines: ["listen.allowed_clients = 192.0.2.1"] });
    await using between = await Forwarder.start(parseAddress(fpm.address));
    const options = {
      ...ONCE,
      consumer: { ...ONCE.consumer, concurrency: 2 },
      fpm: {
        address: between.address,
        ...(status && { status_path: fpm.statusPath, status_address: fpm.statusAddress }),
      },
    };
    await using site = await Site.create(fpm, options);
    await site.push("{}", 3);
    const said = await runAWhile(site, () => between.connections);
    assertUntouched(site, 3, said);
    assert.equal(site.effectCount(), 0);
    assert.match(said, /allowed_clients/);
    await fpm.reload({ poolLines: [] });
    await site.runOk(["run", "--until-empty"]);
    assert.deepEqual([site.effectCount(), site.queueRows(QUEUE)], [3, []]);
  });
}

Deno.test("call says that the other side has closed the connection, and does not call that its own fault", async () => {
  for (const transport of ["unix", "tcp"] as const) {
    await using proxy = await ScriptedServer.start((peer) => peer.close(), { transport });
    for (let i = 0; i < 5; i++) {
      const { code, stderr } = await fervoWorker(["call", proxy.address, "--script", "/srv/app/x.php"]);
      assert.match(
        stderr,
        /^fervo-worker: (Cannot connect to php-fpm at ".*": it accepted the connection and closed it at once|Lost the connection to)/,
      );
      assert.ok(code === 4 || code === 1, `it exits with ${code}`);
    }
  }
});

/** Notes each run of a job and whether it was told that it may be a repeat; runs the payload as code. */
const NOTE_AND_EVALUATE = `<?php
  $note = ($_SERVER['FERVO_JOB_ID'] ?? '-') . ' ' . ($_SERVER['FERVO_ATTEMPT'] ?? '-') . ' ' . ($_SERVER['FERVO_REPEAT'] ?? '0');
  file_put_contents(__DIR__ . '/runs', "$note\\n", FILE_APPEND);
  eval(file_get_contents('php://input'));
  header('X-Fervo-Outcome: ack');`;
const DIE = "posix_kill(getmypid(), 9); usleep(1000000);";

for (const [attempts, page] of [[1, false], [1, true], [2, true]] as const) {
  const title = `attempts = ${attempts}, ${page ? "with" : "without"} a status page`;
  Deno.test(`run runs a job once in each attempt that kills PHP at once on a connection that was used before (${title})`, async () => {
    await using fpm = await PhpFpm.start({ children: 2, statusListen: true });
    const script = await fpm.writeScript("job.php", NOTE_AND_EVALUATE);
    await using site = await Site.create(fpm, {
      consumer: { concurrency: 1 },
      retry: { attempts },
      fpm: { script, ...(page && { status_path: fpm.statusPath, status_address: fpm.statusAddress }) },
    });
    // Within its first second or two php-fpm itself is taken for the cause.
    await eventually("php-fpm is old enough", async () => (await fpm.control().status())!.uptimeS > 2);
    await site.push("", 2);
    const [bad] = await site.push(DIE);
    const { stderr } = await site.run(["run", "--until-empty"]);
    const runs = (await Deno.readTextFile(`${fpm.directory}/runs`)).split("\n").filter((line) =>
      line.startsWith(`${bad} `)
    );
    assert.deepEqual(runs, Array.from({ length: attempts }, (_, i) => `${bad} ${i + 1} 0`), stderr);
    assert.match(stderr, /"code":"JOB_CRASHED"/);
  });
}
