/** Who reaches a running worker, and what it tells: to nobody else, and no secrets. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fervoWorkerPath, Site } from "../support/fervo_worker.ts";
import { ask } from "../support/http.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";
import { runProgram } from "../support/run_program.ts";

/** Another user's and group's, "nobody" on most systems; there need not be an account. */
const NOBODY = "65534";

type Command = [program: string, ...args: string[]];

/** Only root can become somebody else. */
const isRoot = Deno.uid() === 0;

Deno.test({
  name:
    "Another user reaches neither the control socket nor the metrics, and reads neither queue nor secrets (run as root)",
  ignore: !isRoot,
  async fn() {
    await using fpm = await PhpFpm.start({ children: 4 });
    await using site = await Site.create(fpm);
    const http = `${site.directory}/http.sock`;
    const token = `${site.directory}/token`;
    await Deno.writeTextFile(token, "0123456789abcdef\n", { mode: 0o600 });
    await site.configure({ http: { listen: http, token_file: token } });
    // The folder hides nothing: it is the files' own permissions that count.
    await Deno.chmod(site.directory, 0o755);
    await using worker = site.start(["run"]);
    await worker.says('"msg":"Listening for commands"');
    await worker.says("Serving /metrics");

    const asNobody: Command = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    const connects = (path: string): Command => [
      "php",
      "-r",
      'exit(@stream_socket_client("unix://$argv[1]") === false ? 1 : 0);',
      path,
    ];
    const reads = (path: string): Command => [
      "php",
      "-r",
      "exit(@file_get_contents($argv[1]) === false ? 1 : 0);",
      path,
    ];
    const control = site.configFile.replace(/\.toml$/, ".sock");
    const attempts = {
      "the control socket": connects(control),
      "the socket of the metrics": connects(http),
      "the queue": reads(site.queueFile),
      "the token": reads(token),
    };
    for (const [what, attempt] of Object.entries(attempts)) {
      assert.equal((await runProgram(...attempt)).code, 0, `${what}, by the worker's user`);
      assert.equal((await runProgram(...asNobody, ...attempt)).code, 1, `${what}, by another user`);
    }

    // The checkout may be in a folder that is closed to others, as root's home is.
    const binary = `${site.directory}/fervo-worker`;
    await Deno.copyFile(fervoWorkerPath(), binary);
    const refused = await runProgram(...asNobody, binary, "status", "--config", site.configFile);
    assert.notEqual(refused.code, 0);
    assert.match(refused.said, /permission denied/);
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
  },
});

Deno.test("No secret of the configuration is in anything that a worker says, whatever happens to it", async () => {
  const secrets = {
    PASSWORD: "s3cret-of-redis",
    TOKEN: "s3cret-token-of-http",
    PARAM: "s3cret-param",
    PAYLOAD: "s3cret-payload",
    OTLP: "s3cret-of-the-collector",
    WRONG: "s3cret-that-is-wrong",
  };
  const env = secrets;
  await using fpm = await PhpFpm.start({ children: 4 });
  await using redis = await RedisServer.start({
    tcp: true,
    config: ["user default off", `user worker on >${secrets.PASSWORD} ~* &* +@all`],
  });
  await using site = await Site.create(fpm);
  const http = `${site.directory}/http.sock`;
  const configure = (password: string) =>
    site.configure({
      log: { level: "debug" },
      http: { listen: http, token: "${TOKEN}" },
      tracing: { endpoint: "http://127.0.0.1:9/v1/traces" },
      tracingHeaders: { Authorization: "Bearer ${OTLP}" },
      broker: {
        driver: "redis",
        url: `redis://127.0.0.1:${redis.port}`,
        username: "worker",
        password,
      },
      fpm: { status_path: fpm.statusPath },
      params: { APP_SECRET: "${PARAM}" },
      retry: { attempts: 1 },
    });
  const said: string[] = [];
  const say = async (...args: string[]) => {
    const { stdout, stderr } = await site.run(args, { env });
    said.push(stdout, stderr);
    return stdout;
  };
  await configure("${PASSWORD}");
  const job = (wish: unknown) => JSON.stringify({ class: "DeferEvent", args: [JSON.stringify(wish)] });
  await say("check", "--call-script", "--json");
  await say("push", "jobs", job({ secret: secrets.PAYLOAD }));
  await say("push", "jobs", job({ secret: secrets.PAYLOAD, fail_until: 9, stderr: "it failed" }));

  await using worker = site.start(["run"], { env });
  await worker.says('"msg":"Job is dead"');
  await worker.says('"msg":"Cannot export traces"');
  await say("status");
  await say("status", "--json");
  const scrape = { headers: { authorization: `Bearer ${secrets.TOKEN}` } };
  for (const path of ["/metrics", "/livez", "/readyz"]) said.push((await ask(http, path, scrape)).body);
  assert.match(said.at(-3)!, /^fervo_jobs_total\{.*outcome="bury"|^fervo_jobs_total\{/m);
  worker.kill("SIGUSR1");
  await worker.says("State of a php-fpm pool");

  // Another password, which is wrong; a file that is no configuration, with a secret on the line; brokers that go.
  await configure("${WRONG}");
  await say("check", "--json");
  await say("reload");
  await Deno.writeTextFile(site.configFile, `password = ${secrets.PASSWORD}\n`, { append: true });
  await say("check");
  await say("reload");
  await configure("${PASSWORD}");
  await say("reload");
  await fpm.stop();
  await redis.stop();
  await eventually("it is known", async () => /is unavailable/.test(await say("status")));
  for (const path of ["/metrics", "/readyz"]) said.push((await ask(http, path, scrape)).body);
  await say("push", "jobs", job({}));
  await say("queues");
  worker.kill("SIGTERM");
  const { stdout, stderr } = await worker.ended;
  said.push(stdout, stderr);

  const leaks = said.flatMap((text) =>
    text.split("\n").filter((line) => Object.values(secrets).some((secret) => line.includes(secret)))
  );
  assert.deepEqual(leaks, []);
  // It has said something at all.
  assert.match(stderr, /"msg":"The broker failed; trying again"/);
});
