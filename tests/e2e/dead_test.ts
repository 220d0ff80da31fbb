/** Dead letters by filters, and many at once; the rest is in commands_test.ts. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../support/beanstalkd.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const HOUR_MS = 3_600_000;

/** Dead letters with the ids 1 to 6: `jobs` and `mail` in turn, each an hour older than the next, of three codes. */
async function siteWithDeadLetters(): Promise<Site> {
  const site = await Site.create();
  await site.push("{}", 6);
  const codes = ["JOB_TIMEOUT", "JOB_FAILED", "JOB_CRASHED"];
  for (let id = 1; id <= 6; id++) {
    const error = { code: codes[id % 3], message: id === 5 ? "no such user: ann" : "It went wrong" };
    site.queueRows(
      "UPDATE fervo_jobs SET state = 'dead', attempts = 3, queue = ?, payload = ?, due_at = ?, error = ? WHERE id = ?",
      id % 2 === 0 ? "mail" : "jobs",
      `{"to":"${id === 2 ? "ann" : "bob"}@example.org"}`,
      Date.now() - (6 - id) * HOUR_MS - HOUR_MS / 2,
      JSON.stringify(error),
      id,
    );
  }
  return site;
}

const FILTERS: readonly [args: string[], ids: string[]][] = [
  [["--queue", "mail"], ["6", "4", "2"]],
  [["--code", "JOB_TIMEOUT"], ["6", "3"]],
  [["--since", "2h"], ["6", "5"]],
  [["--since", new Date(Date.now() - 2 * HOUR_MS).toISOString()], ["6", "5"]],
  [["--since", "2020-01-31"], ["6", "5", "4", "3", "2", "1"]],
  [["--match", "ann"], ["5", "2"]],
  [["--match", "ann", "--queue", "mail"], ["2"]],
  [["--queue", "jobs", "--code", "JOB_CRASHED", "--since", "100m"], ["5"]],
  [["--match", "nobody"], []],
];

const idsOf = (json: string) => (JSON.parse(json) as { id: string }[]).map(({ id }) => id);

Deno.test("dead list lists those that its filters let through, in pages", async () => {
  await using site = await siteWithDeadLetters();
  for (const [args, ids] of FILTERS) {
    assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json", ...args])), ids, args.join(" "));
  }
  const first = await site.run(["dead", "list", "--queue", "mail", "--limit", "2"]);
  assert.match(first.stdout, /^ID .*\n6 .*\n4 .*\n$/);
  const [, place] = /^There may be more: continue with --after (\d+:4)\n$/.exec(first.stderr)!;
  const next = (after: string) =>
    site.run(["dead", "list", "--queue", "mail", "--limit", "2", "--after", after]);
  for (const after of [place!, "4"]) {
    const second = await next(after);
    assert.match(second.stdout, /^ID .*\n2 .*\n$/);
    assert.equal(second.stderr, "");
  }
  // What was on a page is dealt with, and then the next page is wanted.
  await site.runOk(["dead", "remove", "6", "4"]);
  assert.match((await next(place!)).stdout, /^ID .*\n2 .*\n$/);
  const unknown = await next("4");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /^fervo-worker: Cannot continue after "4": no dead letter has that id/);
});

for (const verb of ["retry", "remove"]) {
  Deno.test(`dead ${verb} changes those that its filters let through, after --yes, and no others`, async () => {
    for (const [args, ids] of FILTERS.filter(([args]) => /mail|100m|nobody/.test(args.join(" ")))) {
      await using site = await siteWithDeadLetters();
      const asked = await site.run(["dead", verb, ...args]);
      assert.equal(asked.code, 2);
      assert.match(asked.stderr, /^fervo-worker: Not an interactive terminal; pass --yes to confirm\n/);
      const dry = JSON.parse(await site.runOk(["dead", verb, ...args, "--dry-run", "--json"]));
      assert.deepEqual(dry, { count: ids.length, ids });
      assert.equal(idsOf(await site.runOk(["dead", "list", "--json"])).length, 6, "nothing was changed");
      const told = await site.runOk(["dead", verb, ...args, "--yes", "--json"]);
      assert.deepEqual(JSON.parse(told), { count: ids.length });
      const left = ["6", "5", "4", "3", "2", "1"].filter((id) => !ids.includes(id));
      assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json"])), left, args.join(" "));
      const [alive] = site.queueRows("SELECT count(*) AS n FROM fervo_jobs WHERE state = 'ready'");
      assert.equal(alive!["n"], verb === "retry" ? ids.length : 0);
    }
  });
}

Deno.test("dead retry --dry-run shows the jobs, of filters, of ids and of all", async () => {
  await using site = await siteWithDeadLetters();
  const text = await site.runOk(["dead", "retry", "--code", "JOB_TIMEOUT", "--dry-run"]);
  assert.match(text, /^ID .*\n6 .*\n3 .*\nWould retry 2 jobs; nothing was changed\n$/);
  const named = await site.run(["dead", "retry", "4", "99", "--dry-run"]);
  assert.match(named.stdout, /^ID .*\n4 .*\nWould retry 1 job; nothing was changed\n$/);
  assert.equal(named.code, 1);
  const all = JSON.parse(await site.runOk(["dead", "retry", "--all", "--dry-run", "--json"]));
  assert.equal(all.count, 6);
  assert.equal(
    await site.runOk(["dead", "remove", "--match", "nobody", "--dry-run"]),
    "Would remove 0 jobs; nothing was changed\n",
  );
});

Deno.test("dead remove asks at a terminal, and does nothing without a yes", async () => {
  await using site = await siteWithDeadLetters();
  const shell = (answer: string) =>
    `printf '${answer}\\n' | script --quiet --return --command "$1 dead remove --queue mail --config ${site.configFile}" /dev/null`;
  const no = await site.run([], { shell: shell("n") });
  assert.match(no.stdout, /Remove 3 dead jobs\? \[y\/N\] /);
  assert.match(no.stdout, /Nothing was changed/);
  assert.equal(no.code, 1);
  assert.equal(idsOf(await site.runOk(["dead", "list", "--json"])).length, 6);
  const yes = await site.run([], { shell: shell("y") });
  assert.match(yes.stdout, /Removed 3 jobs/);
  assert.equal(yes.code, 0);
  assert.deepEqual(idsOf(await site.runOk(["dead", "list", "--json"])), ["5", "3", "1"]);
});

Deno.test("dead show tells of the failures before the last one", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { retry: { attempts: 3 }, consumer: { concurrency: 1 } });
  await site.push('{"fail_until":9,"stderr":"what PHP logs"}');
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  const text = await site.runOk(["dead", "show", "1"]);
  const line = (attempt: number) =>
    `  \\S+Z  attempt ${attempt}  JOB_FAILED: The job failed: RuntimeException: As the payload says\n    .*what PHP logs`;
  assert.match(text, new RegExp(`\nEarlier errors:\n${line(1)}[^]*\n${line(2)}[^]*\nPayload `));
  const json = JSON.parse(await site.runOk(["dead", "show", "1", "--json"]));
  assert.equal(json.error.attempt, 3);
  assert.match(json.error.at, /Z$/);
  assert.deepEqual(json.earlier_errors.map(({ attempt, code }: Record<string, unknown>) => [attempt, code]), [
    [1, "JOB_FAILED"],
    [2, "JOB_FAILED"],
  ]);
});

Deno.test("On beanstalkd, dead list refuses filters by what it does not keep, and takes the others", async () => {
  await using server = await Beanstalkd.start();
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, {
    broker: { driver: "beanstalkd", address: server.addressText },
    retry: { attempts: 1 },
  });
  await site.push('{"fail_until":9,"to":"ann"}');
  await site.push('{"fail_until":9,"to":"bob"}');
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  for (const args of [["--since", "1h"], ["--code", "JOB_FAILED"]]) {
    const { code, stderr } = await site.run(["dead", "list", ...args]);
    assert.equal(code, 2);
    assert.match(stderr, /^fervo-worker: --code and --since need a broker that keeps errors and times/);
  }
  assert.equal(idsOf(await site.runOk(["dead", "list", "--match", "ann", "--json"])).length, 1);
  assert.equal(await site.runOk(["dead", "remove", "--match", "ann", "--yes"]), "Removed 1 job\n");
  assert.equal(idsOf(await site.runOk(["dead", "list", "--json"])).length, 1);
});

Deno.test("dead says which error code may be meant, when nothing has died of the one that was named", async () => {
  await using site = await Site.create();
  const hint =
    'fervo-worker: No error of fervo-worker has the code "JOB_TIMOUT"; did you mean "JOB_TIMEOUT"?\n';
  const typo = ["--code", "JOB_TIMOUT"];
  const runs: [args: string[], stdout: string][] = [
    [["dead", "list", ...typo], "No dead letters\n"],
    [["dead", "list", "--json", ...typo], "[]\n"],
    [["dead", "retry", "--yes", ...typo], "Retried 0 jobs\n"],
    [["dead", "remove", "--dry-run", ...typo], "Would remove 0 jobs; nothing was changed\n"],
  ];
  for (const [args, stdout] of runs) {
    const { code, stdout: said, stderr } = await site.run(args);
    assert.deepEqual({ code, said, stderr }, { code: 0, said: stdout, stderr: hint }, args.join(" "));
  }
  assert.equal((await site.run(["dead", "list", "--code", "JOB_TIMEOUT"])).stderr, "");

  // An error of another program, in its own words.
  site.queueRows(
    "INSERT INTO fervo_jobs (queue, payload, state, error) VALUES ('jobs', 'x', 'dead', ?) RETURNING id",
    '{"code":"Errno::EPIPE","message":"m"}',
  );
  const { stdout, stderr } = await site.run(["dead", "list", "--code", "Errno::EPIPE"]);
  assert.match(stdout, /Errno::EPIPE/);
  assert.equal(stderr, "");
});
