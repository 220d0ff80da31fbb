/** Where somebody starts the program from has nothing to do with what it does: tried with the binary alone. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";

/** A folder of the machine's that is closed to who is not root, or gone, is one that programs cannot be started in. */
async function startedIn(site: Site): Promise<string> {
  const path = `${site.directory}/release-1`;
  await Deno.mkdir(path);
  return path;
}

Deno.test("Jobs that are processes run also when the folder is gone that the worker was started in", async () => {
  await using site = await Site.create(undefined, { process: { command: ["/bin/sh", "-c", "pwd >> ran"] } });
  const folder = await startedIn(site);
  await using worker = site.start(["run"], { cwd: folder });
  await worker.says("Consumer started");
  await Deno.remove(folder);
  await site.push("{}");
  const ran = () => Deno.readTextFile(`${site.directory}/ran`).catch(() => "");
  await eventually(
    "the job has run, in the folder of the configuration",
    async () => await ran() === `${await Deno.realPath(site.directory)}\n`,
  );
  worker.kill("SIGTERM");
  const { code, stderr } = await worker.ended;
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /"level":"(?:warn|error)"/);
});
