/**
 * The file of the embedded queue is removed, restored from a backup, or made anew while a worker runs. The worker has to notice,
 * to say so wherever it is asked, and to go on with the jobs that are there then.
 */
import assert from "node:assert/strict";
import { runDocScript } from "../../support/doc_scripts.ts";
import { eventually } from "../../support/eventually.ts";
import { type RunningCommand, Site } from "../../support/fervo_worker.ts";
import { ask } from "../../support/http.ts";

/** A queue of jobs that leave their names behind, and a worker on it. */
class Service implements AsyncDisposable {
  readonly site: Site;
  readonly worker: RunningCommand;

  private constructor(site: Site, worker: RunningCommand) {
    this.site = site;
    this.worker = worker;
  }

  static async start(): Promise<Service> {
    const site = await Site.create();
    const { directory } = site;
    await site.configure({
      http: { listen: `${directory}/http.sock` },
      broker: { lease_ms: 2_000 },
      process: {
        command: [
          "sh",
          "-c",
          `read -r name; echo "$name" >> ${directory}/ran; case $name in wait*)
          while [ ! -e ${directory}/end ]; do sleep 0.05; done;; esac`,
        ],
      },
    });
    await Deno.writeTextFile(`${directory}/ran`, "");
    const worker = site.start(["run"]);
    await worker.says("Consumer started");
    return new Service(site, worker);
  }

  async push(name: string): Promise<void> {
    await this.site.runOk(["push", "jobs", `${name}\n`]);
  }

  async hasRun(name: string, times = 1): Promise<void> {
    await eventually(`${name} has run ${times} times`, async () => {
      const ran = (await Deno.readTextFile(`${this.site.directory}/ran`)).split("\n");
      return ran.filter((one) => one === name).length === times;
    }, 60_000);
  }

  async isReady(isReady: boolean): Promise<string> {
    let body = "";
    await eventually(`/readyz says ${isReady}`, async () => {
      const answer = await ask(`${this.site.directory}/http.sock`, "/readyz");
      body = answer.body;
      return answer.status === (isReady ? 200 : 503);
    }, 60_000);
    return body;
  }

  /** A block of docs/backup.md, run in the queue's folder as it stands there. */
  async runAsDocumented(first: string): Promise<void> {
    await runDocScript("docs/backup.md", first, { cwd: this.site.directory });
  }

  async removeQueue(): Promise<void> {
    for (const suffix of ["", "-wal", "-shm"]) await Deno.remove(`${this.site.queueFile}${suffix}`);
  }

  async endsWell(): Promise<void> {
    await Deno.writeTextFile(`${this.site.directory}/end`, "");
    this.worker.kill("SIGTERM");
    assert.equal((await this.worker.ended).code, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.writeTextFile(`${this.site.directory}/end`, "");
    await this.worker[Symbol.asyncDispose]();
    await this.site[Symbol.asyncDispose]();
  }
}

Deno.test("A queue that is removed is told everywhere, and a push begins a new one that the worker takes up", async () => {
  await using service = await Service.start();
  const { site, worker } = service;
  await service.push("before");
  await service.hasRun("before");
  await service.isReady(true);
  await using watching = site.start(["queues", "--watch"]);
  await eventually("the watch shows the queue", () => watching.stdout.includes("jobs"));

  await service.removeQueue();
  assert.match(await service.isReady(false), /its file is gone; put it back, or start an empty queue/);
  await worker.says('"level":"error"');
  await watching.says("its file is gone");
  const status = await site.runOk(["status"]);
  assert.match(status, /its file is gone/);
  await assert.rejects(Deno.stat(site.queueFile), Deno.errors.NotFound);

  await service.push("after");
  await service.hasRun("after");
  await worker.says("The queue's file was replaced; the worker uses the new file");
  await service.isReady(true);
  const shown = watching.stdout.length;
  await eventually("the watch goes on", () => watching.stdout.length > shown);
  // Nobody holds the file that is gone.
  const files = await new Deno.Command("ls", { args: ["-l", `/proc/${worker.pid}/fd`] }).output();
  assert.doesNotMatch(new TextDecoder().decode(files.stdout), /queue\.sqlite.*deleted/);
  await service.endsWell();
});

Deno.test("A backup and its restore as documented work under a running worker, and what runs meanwhile goes on", async () => {
  await using service = await Service.start();
  const { site, worker } = service;
  await service.push("first");
  await service.hasRun("first");
  await site.runOk(["pause", "jobs"]);
  await worker.says("Queues are paused");
  await service.push("saved");
  await service.runAsDocumented('sqlite3 queue.sqlite ".backup');
  await site.runOk(["resume", "jobs"]);
  await service.hasRun("saved");
  await service.push("wait until the end");
  await service.hasRun("wait until the end");

  await service.runAsDocumented("cp -p backup.sqlite");
  await worker.says("The queue's file was replaced; the worker uses the new file");
  // The queue was paused when it was saved.
  await site.runOk(["resume", "jobs"]);
  await service.hasRun("saved", 2);
  await service.push("later");
  await service.hasRun("later");
  await Deno.writeTextFile(`${site.directory}/end`, "");
  await worker.says("The lease was lost");
  await service.isReady(true);
  await service.endsWell();
  await service.hasRun("first");
  await service.hasRun("wait until the end");
});

Deno.test("A backup that is moved over the queue alone, with pushes at once, loses none of them", async () => {
  await using service = await Service.start();
  await service.push("before");
  await service.hasRun("before");
  await service.runAsDocumented('sqlite3 queue.sqlite ".backup');
  await Deno.rename(`${service.site.directory}/backup.sqlite`, service.site.queueFile);
  for (const name of ["one", "two"]) await service.push(name);
  for (const name of ["one", "two"]) await service.hasRun(name);
  await service.endsWell();
});

Deno.test("A file that PHP has made in the place of the queue becomes one, and the next push runs", async () => {
  await using service = await Service.start();
  const { site } = service;
  await service.removeQueue();
  const produce = `$db = new PDO("sqlite:${site.queueFile}"); $db->setAttribute(PDO::ATTR_TIMEOUT, 10);
    try { $db->exec("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', 'by PHP')"); }
    catch (PDOException $error) { fwrite(STDERR, $error->getMessage()); exit(1); }`;
  await eventually("PHP can push", async () => {
    const { success } = await new Deno.Command("php", { args: ["-r", produce], stderr: "null" }).output();
    return success;
  }, 60_000);
  await service.hasRun("by PHP");
  await service.endsWell();
});
