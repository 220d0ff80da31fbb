/**
 * The time of day is set while jobs run: by a time server after the machine has started, by a person, or because a virtual
 * machine was suspended. No job may be begun a second time by that, none may be stuck, and the log has to tell.
 */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fakeTime } from "../support/fake_time.ts";
import { type RunningCommand, Site, type SiteOptions } from "../support/fervo_worker.ts";

const HOUR_S = 3_600;
const LEASE_MS = 2_000;
const STEPPED = "The time of day was set";

/** A queue of jobs that run until they are told to end, and what was begun and ended of them. */
class Jobs implements AsyncDisposable {
  readonly site: Site;

  private constructor(site: Site) {
    this.site = site;
  }

  static async start(options: SiteOptions = {}): Promise<Jobs> {
    const site = await Site.create();
    const { directory } = site;
    const job = `unset LD_PRELOAD; read -r name; echo "$name" >> ${directory}/begun
while [ ! -e ${directory}/end ] && [ -d ${directory} ]; do sleep 0.05; done; echo "$name" >> ${directory}/ended`;
    await site.configure({
      ...options,
      broker: { lease_ms: LEASE_MS, ...options.broker },
      process: { command: ["sh", "-c", job] },
    });
    await Promise.all(["begun", "ended"].map((name) => Deno.writeTextFile(`${directory}/${name}`, "")));
    return new Jobs(site);
  }

  /** A worker that goes by the clock of that name. */
  async worker(clock: string): Promise<RunningCommand> {
    const file = `${this.site.directory}/${clock}`;
    if (await Deno.stat(file).then(() => false, () => true)) await this.setClock(clock, 0);
    const worker = this.site.start(["run"], { env: fakeTime(file, { stepsMonotonic: false }) });
    await worker.says("Consumer started");
    return worker;
  }

  /** Sets a clock so far ahead of the machine's, seconds. */
  async setClock(clock: string, aheadS: number): Promise<void> {
    const file = `${this.site.directory}/${clock}`;
    await Deno.writeTextFile(`${file}.new`, `${aheadS < 0 ? "-" : "+"}${Math.abs(aheadS)}`);
    await Deno.rename(`${file}.new`, file);
  }

  async push(name: string): Promise<void> {
    await this.site.runOk(["push", "jobs", `${name}\n`]);
  }

  /** Their names, in order. */
  async names(what: "begun" | "ended"): Promise<string[]> {
    const text = await Deno.readTextFile(`${this.site.directory}/${what}`);
    return text.split("\n").filter((name) => name !== "");
  }

  async have(what: "begun" | "ended", count: number): Promise<void> {
    await eventually(
      `${count} jobs have ${what}`,
      async () => (await this.names(what)).length >= count,
      60_000,
    );
  }

  /** Several leases have been renewed since. */
  async leasesPass(): Promise<void> {
    const seen = new Set<unknown>();
    await eventually("the lease is renewed again and again", () => {
      const rows = this.site.queueRows(
        "SELECT due_at FROM fervo_jobs WHERE state = 'reserved' ORDER BY id LIMIT 1",
      );
      for (const { due_at } of rows) seen.add(due_at);
      return seen.size > 8;
    }, 60_000);
  }

  /** Lets the jobs end, and each has to have been begun once; ends the workers, which have lost no lease. */
  async endWell(workers: readonly RunningCommand[]): Promise<void> {
    const begun = await this.names("begun");
    await Deno.writeTextFile(`${this.site.directory}/end`, "");
    await this.have("ended", begun.length);
    for (const worker of workers) {
      worker.kill("SIGTERM");
      const { code, stderr } = await worker.ended;
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /lease was lost|"level":"error"/);
    }
    assert.deepEqual(begun, [...new Set(begun)], "a job was begun twice");
    assert.deepEqual((await this.names("ended")).toSorted(), begun.toSorted());
    assert.deepEqual(JSON.parse(await this.site.runOk(["dead", "list", "--json"])), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Jobs of a worker that was killed run on.
    await Deno.writeTextFile(`${this.site.directory}/end`, "");
    await this.site[Symbol.asyncDispose]();
  }
}

for (const [step, aheadS] of [["forward", HOUR_S], ["back", -HOUR_S]] as const) {
  Deno.test(`A worker whose clock is set ${step} runs no job of its own again, also where a job may have one attempt`, async () => {
    await using jobs = await Jobs.start({ retry: { attempts: 1 } });
    await using worker = await jobs.worker("clock");
    await jobs.push("one");
    await jobs.have("begun", 1);
    await jobs.setClock("clock", aheadS);
    await worker.says(STEPPED);
    // To take another job it looks at all that is due.
    await jobs.push("two");
    await jobs.have("begun", 2);
    await jobs.leasesPass();
    await jobs.endWell([worker]);
  });

  Deno.test(`Two workers on a machine whose clock is set ${step} leave each other's jobs alone`, async () => {
    await using jobs = await Jobs.start({ consumer: { concurrency: 2 } });
    await using one = await jobs.worker("clock");
    await jobs.push("one");
    await jobs.push("two");
    await jobs.have("begun", 2);
    await using other = await jobs.worker("clock");
    await jobs.setClock("clock", aheadS);
    for (const worker of [one, other]) await worker.says(STEPPED);
    await jobs.leasesPass();
    await jobs.push("three");
    await jobs.have("begun", 3);
    await jobs.endWell([one, other]);
  });

  Deno.test(`A worker whose clock alone is set ${step} leaves another one's jobs alone`, async () => {
    await using jobs = await Jobs.start({ consumer: { concurrency: 1 } });
    await using one = await jobs.worker("right");
    await jobs.push("one");
    await jobs.have("begun", 1);
    await using other = await jobs.worker("wrong");
    await jobs.setClock("wrong", aheadS);
    await other.says(STEPPED);
    await jobs.leasesPass();
    await jobs.push("two");
    await jobs.have("begun", 2);
    await jobs.endWell([one, other]);
  });

  Deno.test(`The job of a worker that was killed runs again although the clock was set ${step}`, async () => {
    await using jobs = await Jobs.start();
    {
      await using killed = await jobs.worker("clock");
      await jobs.push("one");
      await jobs.have("begun", 1);
      killed.kill("SIGKILL");
      await killed.ended;
    }
    await using other = await jobs.worker("clock");
    await jobs.setClock("clock", aheadS);
    await other.says(STEPPED);
    await jobs.have("begun", 2);
    assert.deepEqual(await jobs.names("begun"), ["one", "one"]);
  });
}
