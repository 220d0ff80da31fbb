/** What an operator finds in the log while something is not there for long: few lines, all of them of use. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { PhpFpm, privateLoopback } from "../../support/php_fpm.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** What a log says, one line for each entry: level, consumer, work and text. */
function told(stderr: string): string[] {
  return stderr.split("\n").slice(0, -1).map((line) => JSON.parse(line))
    .filter(({ level }) => level !== "debug")
    .map(({ level, consumer, during, msg }) => [level, consumer, during, msg].filter(Boolean).join(" "));
}

/** Tables of consumers, each with a queue of its name. */
const consumers = (names: readonly string[], more = "") =>
  names.map((name) => `[[consumers]]\nname = "${name}"\nqueues = ["${name}"]\npause_max_ms = 50\n${more}`)
    .join("");

Deno.test("php-fpm that is away costs two lines a consumer, however often it is looked for", async () => {
  await using fpm = await PhpFpm.start({ children: 8 });
  await using site = await Site.create(fpm);
  const names = ["a", "b", "c"];
  await Deno.writeTextFile(site.configFile, await Deno.readTextFile(site.configFile) + consumers(names));
  for (const name of names) await site.runOk(["push", name, "{}"]);
  await fpm.stop();
  await using worker = site.start(["run"]);
  for (const name of names) await worker.says(`"consumer":"${name}","for_ms"`);
  const report = async () => JSON.parse(await site.runOk(["status", "--json"]));
  // Each status takes longer than the 50 ms between two looks.
  for (let i = 0; i < 5; i++) assert.equal((await report()).consumers.at(-1).state, "paused");
  await fpm.restart();
  await eventually(
    "all have resumed",
    () => worker.stderr.split("Consumer runs jobs again").length === names.length + 1,
  );
  worker.kill("SIGTERM");
  const { stderr } = await worker.ended;
  const lines = told(stderr).filter((line) => /backs off|runs jobs again|put back/.test(line));
  assert.deepEqual(
    lines.toSorted(),
    names.flatMap((name) => [`info ${name} Consumer runs jobs again`, `warn ${name} Consumer backs off`])
      .toSorted(),
  );
  const resumed = JSON.parse(stderr.split("\n").find((line) => line.includes("Consumer runs jobs again"))!);
  assert.ok(resumed.failures > 1 && resumed.after_s > 0, JSON.stringify(resumed));
});

Deno.test("A Redis that is away costs a line for each work at its start, and one at its end", async () => {
  await using redis = await RedisServer.start();
  await using site = await Site.create(undefined, {
    process: { command: ["/bin/true"] },
    broker: { driver: "redis", url: redis.url },
    consumer: { pause_max_ms: 50 },
  });
  await using worker = site.start(["run"]);
  // It has found Redis once: before that, it has no schedule to look at.
  await site.runOk(["push", "jobs", '{"class":"Any","args":[]}']);
  await eventually("a job was taken", async () => await redis.cli("LLEN", "queue:jobs") === "0");
  await redis.kill();
  await worker.says('"during":"receive"');
  await worker.says('"during":"schedule"');
  for (let i = 0; i < 2; i++) await site.runOk(["status", "--json"]);
  await redis.start();
  // Whoever waits for a job says that it works again when there is one.
  await site.runOk(["push", "jobs", '{"class":"Any","args":[]}']);
  for (const work of ["receive", "schedule"]) {
    await eventually(
      `${work} is told to work again`,
      () =>
        worker.stderr.split("\n").some((line) => line.includes("works again") && line.includes(`"${work}"`)),
    );
  }
  worker.kill("SIGTERM");
  const lines = told((await worker.ended).stderr);
  for (const work of ["receive", "schedule"]) {
    const count = (text: string) => lines.filter((line) => line.includes(`${work} ${text}`)).length;
    // An error that is another one, as "refused" after "closed", is told, too.
    assert.ok(count("The broker failed") <= 3, lines.join("\n"));
    assert.equal(count("The broker works again"), 1, lines.join("\n"));
  }
});

Deno.test("A port that is taken costs one line, and one when it is free", async () => {
  const listen = `${privateLoopback()}:9102`;
  await using site = await Site.create(undefined, { process: { command: ["/bin/true"] }, http: { listen } });
  const [hostname, port] = listen.split(":");
  const taken = Deno.listen({ hostname: hostname!, port: Number(port) });
  await using worker = site.start(["run"]);
  await worker.says("Cannot serve /metrics");
  for (let i = 0; i < 5; i++) await site.runOk(["status", "--json"]);
  taken.close();
  await worker.says("Serving /metrics");
  worker.kill("SIGTERM");
  const lines = told((await worker.ended).stderr).filter((line) => line.includes("/metrics"));
  assert.equal(lines.length, 2, lines.join("\n"));
});
