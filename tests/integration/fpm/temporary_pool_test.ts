import assert from "node:assert/strict";
import { OwnFpm } from "../../../src/fpm/temporary_pool.ts";
import { findPhp } from "../../../src/fpm/find_php.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { Connection } from "../../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS } from "../../../src/fastcgi/pool.ts";
import { eventually } from "../../support/eventually.ts";

const DEPS = { clock: systemClock };
const { fpm: PROGRAM } = await findPhp(Deno.env.get("PATH") ?? "");

/** The command lines of the processes that name the folder: master and children of its php-fpm. */
async function processesOf(directory: string): Promise<string[]> {
  const name = directory.slice(directory.lastIndexOf("/") + 1);
  const { stdout } = await new Deno.Command("ps", { args: ["-eo", "args"] }).output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line.includes(name));
}

Deno.test("OwnFpm starts a master and its children in a private folder, and leaves nothing of them", async () => {
  const fpm = await OwnFpm.start(DEPS, PROGRAM, 3);
  const { directory } = fpm;
  assert.equal((await Deno.stat(directory)).mode! & 0o777, 0o700);
  // A child answers before it has its title.
  await eventually("all are there", async () => (await processesOf(directory)).length === 1 + 3);
  await fpm[Symbol.asyncDispose]();
  assert.deepEqual(await processesOf(directory), []);
  await assert.rejects(Deno.stat(directory), Deno.errors.NotFound);
});

Deno.test("OwnFpm ends also while a child runs a job that does not", async () => {
  const fpm = await OwnFpm.start(DEPS, PROGRAM, 1);
  const { directory } = fpm;
  const script = `${directory}/endless.php`;
  await Deno.writeTextFile(script, `<?php touch('${directory}/started'); sleep(3600);`);
  const connection = await Connection.open(fpm.address, systemClock, DEFAULT_POOL_OPTIONS);
  const params = [["REQUEST_METHOD", "GET"], ["SCRIPT_FILENAME", script]] as const;
  const request = connection.request(
    { params, body: new Uint8Array(0) },
    false,
    new AbortController().signal,
  );
  const lost = assert.rejects(request, { code: "FASTCGI_CONNECTION_LOST" });
  await eventually("the job runs", () => Deno.stat(`${directory}/started`).then(() => true, () => false));
  await fpm[Symbol.asyncDispose]();
  await lost;
  assert.deepEqual(await processesOf(directory), []);
});

Deno.test("OwnFpm leaves no child behind when its master was killed", async () => {
  const fpm = await OwnFpm.start(DEPS, PROGRAM, 2);
  Deno.kill(fpm.pid, "SIGKILL");
  await eventually("the master is gone", async () => {
    return (await processesOf(fpm.directory)).every((line) => !line.includes("master process"));
  });
  await fpm[Symbol.asyncDispose]();
  await eventually("the children are gone", async () => (await processesOf(fpm.directory)).length === 0);
});

Deno.test("OwnFpm.start() tells what php-fpm says when it does not start, and removes the folder", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const program = `${folder}/php-fpm`;
    await Deno.writeTextFile(
      program,
      `#!/bin/sh\necho "$4" >${folder}/config\necho "no such option" >&2\nexit 1\n`,
      {
        mode: 0o755,
      },
    );
    await assert.rejects(OwnFpm.start(DEPS, program, 1), {
      code: "FASTCGI_CONNECT_FAILED",
      message: `"${program}" did not start:\nno such option`,
    });
    const config = (await Deno.readTextFile(`${folder}/config`)).trim();
    assert.match(config, /\/fervo-bench-[^/]+\/fpm\.conf$/);
    await assert.rejects(Deno.stat(config), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
