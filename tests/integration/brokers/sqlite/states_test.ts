/** The state diagram of docs/architecture.md: each arrow is taken by a job of a real queue, and the diagram has all arrows. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { Delivery } from "../../../../src/core/delivery.ts";
import { adminOf, bytes, FAILED, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";
import { makeFolder, openSqlite } from "./broker.ts";

const PAGE = new URL("../../../../docs/architecture.md", import.meta.url);
const LEASE_MS = 60_000;
const DELAY_MS = 20_000;

/** A queue with one job at most. */
class OneJob implements AsyncDisposable {
  readonly #folder: { readonly path: string } & AsyncDisposable;
  readonly #clock = new MovableClock();
  readonly #brokers: AsyncDisposable[] = [];
  readonly broker;
  delivery: Delivery | undefined;

  private constructor(folder: { readonly path: string } & AsyncDisposable) {
    this.#folder = folder;
    this.broker = this.open();
  }

  static async create(): Promise<OneJob> {
    return new OneJob(await makeFolder());
  }

  /** One more process. */
  open() {
    const broker = openSqlite(`${this.#folder.path}/queue.sqlite`, { clock: this.#clock, leaseMs: LEASE_MS });
    this.#brokers.push(broker);
    return broker;
  }

  push(delayMs: number): Promise<unknown> {
    return this.broker.push("q", bytes("a job"), { delayMs });
  }

  async receive(): Promise<void> {
    this.delivery = await takeOne(this.broker);
  }

  /** Time passes, while another process looks for jobs that are ready: it believes in the end of a lease that it has watched. */
  async pass(ms: number): Promise<void> {
    const other = this.open();
    const look = () => takeNow(other, { queues: ["another"] });
    await look();
    this.#clock.moveAhead(ms);
    await look();
  }

  /** As the diagram calls it; `[*]` where there is no job. */
  state(): string {
    using db = new DatabaseSync(`${this.#folder.path}/queue.sqlite`);
    return db.prepare("SELECT state FROM fervo_jobs").get()?.["state"] as string | undefined ?? "[*]";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.#brokers) await broker[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** How a job comes into each state. */
const INTO: Readonly<Record<string, (job: OneJob) => Promise<unknown>>> = {
  "[*]": () => Promise.resolve(),
  ready: (job) => job.push(0),
  delayed: (job) => job.push(DELAY_MS),
  reserved: async (job) => {
    await job.push(0);
    await job.receive();
  },
  dead: async (job) => {
    await job.push(0);
    await job.receive();
    await job.delivery!.settle(bury(FAILED));
  },
};

/** What the words on the arrows are in code. */
const STEPS: Readonly<Record<string, (job: OneJob) => Promise<unknown>>> = {
  "push": (job) => job.push(0),
  "push with a delay": (job) => job.push(DELAY_MS),
  "its time comes": (job) => job.pass(DELAY_MS),
  "receive": (job) => job.receive(),
  "ack": ({ delivery }) => delivery!.settle(ACK),
  "handled": ({ delivery }) => delivery!.settle({ kind: "handled", error: FAILED }),
  "retry": ({ delivery }) => delivery!.settle(retry(DELAY_MS, FAILED)),
  "replace": ({ delivery }) =>
    delivery!.settle({
      kind: "replace",
      message: { body: bytes("another"), headers: {} },
      delayMs: DELAY_MS,
      error: FAILED,
    }),
  "release": ({ delivery }) => delivery!.settle(RELEASE),
  "release with a delay": ({ delivery }) => delivery!.settle({ ...RELEASE, delayMs: DELAY_MS }),
  "the lease ends": (job) => job.pass(LEASE_MS),
  "bury": ({ delivery }) => delivery!.settle(bury(FAILED)),
  "dead retry": ({ broker }) => adminOf(broker).dead.retry("all"),
  "dead remove": ({ broker }) => adminOf(broker).dead.remove("all"),
  "purge": ({ broker }) => adminOf(broker).purge("q"),
};

const diagram = /^```mermaid\nstateDiagram-v2\n([^]*?)^```$/m.exec(Deno.readTextFileSync(PAGE))![1]!;
const ARROWS = [...diagram.matchAll(/^ {2}(\S+) --> (\S+): (.+)$/gm)].flatMap(([, from, to, words]) =>
  words!.split(", ").map((step) => ({ from: from!, to: to!, step }))
);

Deno.test("The state diagram of docs/architecture.md has every step, once, and nothing else", () => {
  assert.equal(
    diagram.trimEnd().split("\n").length,
    new Set(ARROWS.map(({ from, to }) => `${from} ${to}`)).size,
  );
  assert.deepEqual(ARROWS.map(({ step }) => step).sort(), Object.keys(STEPS).sort());
});

for (const { from, to, step } of ARROWS) {
  Deno.test(`A job of the embedded queue goes from ${from} to ${to} by: ${step}`, async () => {
    await using job = await OneJob.create();
    await INTO[from]!(job);
    assert.equal(job.state(), from);
    await STEPS[step]!(job);
    assert.equal(job.state(), to);
  });
}
