/** Whoever reads what a command says stands still, or goes: jobs, signals and other commands must not notice. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { fervoWorker, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { ask } from "../../support/http.ts";
import { StalledReader } from "../../support/stalled_reader.ts";

/** Jobs fail at once with much to say, but for one that waits for the file `gate`, and says where it runs. */
const JOB = `read gate; if [ -n "$gate" ]; then echo "$FERVO_JOB_ID" >>"$gate.ran"
while [ ! -e "$gate" ] && [ -e "$gate.ran" ]; do sleep 0.02; done
else head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1; fi`;

const LEASE_MS = 1_000;

const NOISY: SiteOptions = {
  broker: { lease_ms: LEASE_MS },
  process: { command: ["sh", "-c", JOB], max_stderr_bytes: 200_000 },
  consumer: { timeout_ms: 120_000 },
  retry: { attempts: 1 },
};

/** More than the worker keeps for its reader. */
const NOISY_JOBS = 12;

Deno.test("run renews leases, answers and ends in order while nobody reads its log, and tells what it dropped", async () => {
  await using site = await Site.create();
  await site.configure({ ...NOISY, http: { listen: `${site.directory}/http.sock` } });
  using reader = await StalledReader.create(`${site.directory}/log`);
  const gate = `${site.directory}/gate`;
  const [long] = await site.push(`${gate}\n`);
  await using worker = site.start(["run"], { shell: `exec "$@" 2>"${reader.path}"` });
  await eventually("the long job runs", () => Deno.stat(`${gate}.ran`).then(() => true, () => false));
  await site.push("\n", NOISY_JOBS);

  // Longer than its lease, and nobody else has taken it.
  const leaseEnd = () =>
    Number(site.queueRows("SELECT due_at FROM fervo_jobs WHERE id = ?", long!)[0]!["due_at"]);
  const first = leaseEnd();
  await eventually("the lease was renewed", () => leaseEnd() > first + 2 * LEASE_MS, 60_000);
  await eventually("all others have failed", async () => {
    const [queue] = JSON.parse(await site.runOk(["queues", "--json"]));
    return queue.dead === NOISY_JOBS;
  }, 60_000);
  const status = JSON.parse(await site.runOk(["status", "--json"]));
  assert.equal(status.in_flight, 1);
  assert.ok(status.log_lines_dropped > 0);
  assert.match(
    await site.runOk(["status"]),
    /The log has lost \d+ lines?: the reader of standard error is too slow/,
  );
  const page = await ask(`${site.directory}/http.sock`, "/metrics");
  assert.match(page.body, new RegExp(`^fervo_log_lines_dropped_total ${status.log_lines_dropped}$`, "m"));
  assert.equal((await ask(`${site.directory}/http.sock`, "/livez")).status, 200);

  const read = await reader.readUntil("Log lines were dropped");
  const lines = read.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.at(-1).lines, status.log_lines_dropped);
  const failed = lines.filter(({ msg }) => msg === "Job is dead").length;
  assert.equal(failed + status.log_lines_dropped, NOISY_JOBS, "each line was read or counted");

  await Deno.writeTextFile(gate, "");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.equal(await Deno.readTextFile(`${gate}.ran`), `${long}\n`, "it ran once");
});

Deno.test("run ends at SIGTERM when nobody reads its log, also when much was said", async () => {
  await using site = await Site.create(undefined, NOISY);
  using reader = await StalledReader.create(`${site.directory}/log`);
  await site.push("\n", NOISY_JOBS);
  await using worker = site.start(["run"], { shell: `exec "$@" 2>"${reader.path}"` });
  await site.runOk(["status", "--wait"]);
  await eventually("all have failed", async () => {
    return JSON.parse(await site.runOk(["queues", "--json"]))[0].dead === NOISY_JOBS;
  }, 60_000);
  assert.match(await site.runOk(["stop", "--wait"]), /The worker has ended with exit code 0\n/);
  assert.equal((await worker.ended).code, 0);
});

Deno.test("run --until-empty ends with its summary when nobody reads log and progress bar", async () => {
  await using site = await Site.create(undefined, NOISY);
  using reader = await StalledReader.create(`${site.directory}/log`);
  await site.push("\n", NOISY_JOBS);
  const { code, stdout } = await site.run(["run", "--until-empty", "--progress"], {
    shell: `exec "$@" 2>"${reader.path}"`,
  });
  assert.equal(code, 5);
  assert.match(stdout, new RegExp(`^Dead: +${NOISY_JOBS} jobs`, "m"));
});

Deno.test("run runs its jobs when the reader of its log has gone", async () => {
  await using site = await Site.create(undefined, NOISY);
  await site.push("\n", 3);
  const { code, stdout } = await site.run(["run", "--until-empty", "--json"], {
    shell: '"$@" 2> >(exec true)',
  });
  assert.equal(code, 5);
  assert.equal(JSON.parse(stdout).dead, 3);
});

Deno.test("queues --watch ends at a signal while nobody reads, and when its reader has gone", async () => {
  await using site = await Site.create();
  await site.push("{}");
  using reader = await StalledReader.create(`${site.directory}/out`);
  for (const more of [[], ["--json"]]) {
    await using watching = site.start(["queues", "--watch", ...more], {
      shell: `exec "$@" >"${reader.path}"`,
    });
    // What it says first tells that it stands before the full pipe.
    await eventually("it waits", () => isWritingTo(watching.pid, reader.path));
    watching.kill("SIGTERM");
    assert.equal((await watching.ended).code, 0);
  }
  const seen = await site.run(["queues", "--watch", "--json"], { shell: '"$@" | head -n 1' });
  assert.equal(seen.code, 0);
  assert.equal(JSON.parse(seen.stdout).queues[0].ready, 1);
});

Deno.test("bench ends with its report when nobody reads its messages", async () => {
  await using site = await Site.create();
  using reader = await StalledReader.create(`${site.directory}/messages`);
  const args = [
    "bench",
    "--own",
    "--modes",
    "fastcgi",
    "--jobs",
    "20",
    "--warmup",
    "0",
    "--repeat",
    "1",
    "--json",
    "-",
  ];
  const { code, stdout } = await fervoWorker(args, { shell: `exec "$@" 2>"${reader.path}"` });
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).modes[0].jobs, 20);
});

/** Whether a thread of the process waits in a write to a full pipe. */
async function isWritingTo(pid: number, path: string): Promise<boolean> {
  const own = await Deno.realPath(path);
  for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
    const stat = await Deno.readTextFile(`/proc/${pid}/task/${name}/wchan`).catch(() => "");
    if (/pipe_w/.test(stat) && (await Deno.realPath(`/proc/${pid}/fd/1`).catch(() => "")) === own) {
      return true;
    }
  }
  return false;
}
