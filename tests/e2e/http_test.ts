import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { ask } from "../support/http.ts";
import { PhpFpm, privateLoopback } from "../support/php_fpm.ts";

const TOKEN = "0123456789abcdef";

Deno.test("run serves metrics and health on a socket of its own, from its start to its end", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const at = `${site.directory}/http.sock`;
  await site.configure({ http: { listen: at }, fpm: { status_path: fpm.statusPath } });
  const gate = `${site.directory}/gate`;
  await site.push("{}", 10);
  await using worker = site.start(["run"]);
  await worker.says(`"address":"${at}","msg":"Serving /metrics, /livez and /readyz"`);
  assert.equal((await Deno.stat(at)).mode! & 0o777, 0o600);
  await eventually(
    "ten jobs are counted",
    async () =>
      /^fervo_jobs_total\{consumer="jobs",queue="jobs",outcome="ack"\} 10$/m.test(
        (await ask(at, "/metrics")).body,
      ),
  );
  const series = [
    // Not while all children may be busy.
    /^fervo_fpm_processes\{fpm="default",state="idle"\} \d/m,
    /^fervo_queue_jobs\{broker="default",queue="jobs",state="ready"\} 0$/m,
    /^process_cpu_seconds_total 0\.\d/m,
    /^process_resident_memory_bytes \d{7,}/m,
    /^fervo_build_info\{version="\d+\.\d+\.\d+.*"\} 1$/m,
    /^fervo_event_loop_lag_seconds_count \d/m,
  ];
  for (const line of series) {
    await eventually(`there is a line ${line}`, async () => line.test((await ask(at, "/metrics")).body));
  }
  for (const path of ["/livez", "/readyz"]) assert.equal((await ask(at, path)).status, 200, path);

  await site.push(JSON.stringify({ wait_for: gate }));
  await eventually("the job runs", () => site.effectCount() === 11);
  worker.kill("SIGTERM");
  await worker.says('"msg":"Stopping');
  assert.deepEqual(JSON.parse((await ask(at, "/readyz")).body), {
    ok: false,
    problems: ["the worker takes no jobs: it is stopping"],
  });
  await Deno.writeTextFile(gate, "");
  assert.equal((await worker.ended).code, 0);
  await assert.rejects(Deno.stat(at), Deno.errors.NotFound);
});

Deno.test("run asks for the token of the environment, and never says it", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const at = `${privateLoopback()}:9102`;
  await site.configure({ log: { level: "debug" }, http: { listen: at, token: "${HTTP_TOKEN}" } });
  await using worker = site.start(["run"], { env: { HTTP_TOKEN: TOKEN } });
  await worker.says("Serving /metrics");
  assert.equal((await ask(at, "/metrics")).status, 401);
  const { status, body } = await ask(at, "/metrics", { headers: { authorization: `Bearer ${TOKEN}` } });
  assert.equal(status, 200);
  worker.kill("SIGTERM");
  const { stdout, stderr } = await worker.ended;
  for (const text of [body, stdout, stderr]) assert.equal(text.includes(TOKEN), false);
});

Deno.test("run says what to do when its address is taken, works all the same, and serves when it is free", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  const at = `${privateLoopback()}:9102`;
  await site.configure({ http: { listen: at } });
  await using first = site.start(["run"]);
  await first.says("Serving /metrics");
  await using second = site.start(["run"]);
  await second.says("Cannot serve /metrics, /livez and /readyz; trying again");
  const entry = JSON.parse(second.stderr.split("\n").find((line) => line.includes("Cannot serve"))!);
  assert.deepEqual([entry.level, entry.code, entry.error], [
    "error",
    "LISTEN_FAILED",
    `Cannot listen at "${at}" ([http]): it is in use; is another worker running with this configuration? ` +
    "Give each its own address",
  ]);
  await second.says("Consumer started");
  first.kill("SIGTERM");
  await second.says("Serving /metrics");
  second.kill("SIGTERM");
  assert.equal((await second.ended).code, 0);
});

Deno.test("check says what is wrong with [http] before a worker is started", async () => {
  await using site = await Site.create();
  await site.configure({ http: { listen: "0.0.0.0:9102" } });
  const { code, stderr } = await site.run(["check"]);
  assert.equal(code, 3);
  assert.match(stderr, /fervo-worker\.toml:\d+:1: other machines can reach this address/);
});
