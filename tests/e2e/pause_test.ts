import assert from "node:assert/strict";
import { Beanstalkd } from "../support/beanstalkd.ts";
import { eventually } from "../support/eventually.ts";
import { fervoWorkerPath, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";
import { soon } from "../support/soon.ts";

const JOB = '{"class":"Suite","args":[]}';

/** Pauses the queue of a worker that waits, and resumes it. */
async function pausesAndResumes(site: Site): Promise<string> {
  await using worker = site.start(["run"]);
  await site.push(JOB);
  await eventually("the first job has run", () => site.effectCount() === 1);
  const { code, stdout, stderr } = await site.run(["pause", "jobs"]);
  assert.deepEqual([code, stdout], [0, 'Paused "jobs"\n']);
  // Until it has seen it, it runs what comes.
  let ran: number;
  await eventually("the worker has seen it", async () => {
    ran = site.effectCount();
    await site.push(JOB);
    const rows = JSON.parse(await site.runOk(["queues", "--json"]));
    assert.equal(rows[0].paused, true);
    return rows[0].ready > 0;
  });
  assert.equal(site.effectCount(), ran!);
  await using later = site.start(["run"]);
  await later.says("Consumer started");
  assert.equal(await site.runOk(["resume", "jobs"]), 'Resumed "jobs"\n');
  await eventually("the jobs have run", () => site.effectCount() > ran);
  assert.equal(await site.runOk(["resume", "jobs"]), '"jobs" was not paused\n');
  for (const one of [worker, later]) one.kill("SIGTERM");
  await Promise.all([worker.ended, later.ended]);
  return stderr;
}

Deno.test("pause and resume keep a queue's jobs from all workers, on the embedded queue", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  assert.equal(await pausesAndResumes(site), "");
});

Deno.test("pause and resume keep a queue's jobs from all workers, on Redis", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { broker: { driver: "redis", url: redis.url } });
  assert.equal(await pausesAndResumes(site), "");
});

Deno.test("pause and resume keep a queue's jobs from all workers, on beanstalkd, which may forget it", async () => {
  await using server = await Beanstalkd.start();
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    broker: { driver: "beanstalkd", address: server.addressText },
  });
  assert.match(
    await pausesAndResumes(site),
    /^fervo-worker: this broker forgets the pause when it restarts, /,
  );
});

Deno.test("A pause is kept across restarts of the worker, and over an empty queue", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { queues: ["mail", "jobs"] } });
  await site.runOk(["pause", "mail", "--for", "10h", "--reason", "moved"]);
  await site.runOk(["push", "mail", "{}"]);
  for (let run = 1; run <= 2; run++) {
    await using worker = site.start(["run"]);
    await site.push("{}");
    await eventually("the job of the other queue has run", () => site.effectCount() === run);
    assert.match(
      await site.runOk(["status"]),
      /^Queue "mail" of consumer ".*" is paused until 2.*Z: moved$/m,
    );
    worker.kill("SIGTERM");
    await worker.ended;
  }
  await site.runOk(["resume", "mail"]);
  await site.runOk(["run", "--until-empty"]);
  assert.equal(site.effectCount(), 3);
});

Deno.test("queues --watch prints a line for each queue each second, until Ctrl-C", async () => {
  await using site = await Site.create();
  await site.push("{}", 3);
  await using watching = site.start(["queues", "--watch"]);
  await eventually("it has looked twice", () => watching.stdout.includes("change_per_s"));
  watching.kill("SIGINT");
  const { code, stdout, stderr } = await watching.ended;
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^\S+Z default jobs ready=3 delayed=0 reserved=0 dead=0\n\S+Z .* change_per_s=0\n/);
});

Deno.test("queues --watch draws on a terminal until Ctrl-C, and leaves the last table there", async () => {
  await using site = await Site.create();
  await site.push("{}", 3);
  // Without the shell, which Ctrl-C would end, too.
  const command =
    `stty cols 100 rows 20; exec ${fervoWorkerPath()} queues --watch --config ${site.configFile}`;
  const terminal = new Deno.Command("script", {
    args: ["--quiet", "--flush", "--return", "--command", command, "/dev/null"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const keys = terminal.stdin.getWriter();
  let screen = "";
  const reading = (async () => {
    for await (const text of terminal.stdout.pipeThrough(new TextDecoderStream())) screen += text;
  })();
  try {
    await eventually("it has drawn twice", () => screen.split("\x1b[H").length > 2);
    await keys.write(new TextEncoder().encode("\x03"));
    assert.equal((await soon("its end", terminal.status)).code, 0);
  } finally {
    await keys.abort().catch(() => {});
    // It has ended, unless the test has failed.
    try {
      terminal.kill("SIGKILL");
    } catch {
      // It has.
    }
    await reading;
  }
  const [drawn, left] = screen.split("\x1b[?1049l") as [string, string];
  assert.ok(drawn.startsWith("\x1b[?1049h\x1b[?25l\x1b[H"), drawn);
  assert.match(drawn, /\d{4}-\S+Z {3}Ctrl-C ends/);
  assert.match(left, /^READY +DELAYED +RESERVED +DEAD +PAUSED +BROKER +QUEUE\r\n +3 .* default +jobs\r\n/);
});
