import type { ProcessInfo, RemoteSignal } from "../broker_type.ts";
import type { Buffer } from "node:buffer";
import { RepeatedWork } from "../background.ts";
import type { RedisSettler } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import type { RedisStrays } from "./strays.ts";
import { BEAT, COUNT, LEAVE } from "./scripts/process_scripts.ts";
import { PUT_ALL_BACK } from "./scripts/scripts.ts";

const SIGNALS: Readonly<Record<string, RemoteSignal>> = { TSTP: "quiet", TERM: "stop" };

/** A heartbeat that failed is sent again after this time, milliseconds; sooner with a short lease. */
const BEAT_AGAIN_MS = 1_000;

const BEATS_IN_LEASE = 6;

/** A longer job is not in the list of running jobs, which is written with every heartbeat. */
const MAX_SHOWN_BYTES = 10_000;

/**
 * The heartbeats of this process, and its place in Sidekiq's Web UI.
 *
 * 1. Sends six heartbeats within a lease, and sooner after a failure. When they end, other processes take back its jobs in
 *    flight.
 * 2. Registers every queue before a job is taken from it, so that those processes know where to look.
 * 3. Shows the process and its jobs in the Web UI, and passes on the Web UI's signals.
 * 4. Adds to Sidekiq's statistics.
 * 5. Once within a lease, compares the lists in Redis with the jobs in flight here ({@link RedisStrays}).
 */
export class RedisHeartbeat {
  readonly #shared: RedisShared;
  readonly #beating: RepeatedWork;
  readonly #settler: RedisSettler;
  readonly #strays: RedisStrays;
  readonly #leaseMs: number;
  readonly #info: ProcessInfo | undefined;
  readonly #onSignal: (signal: RemoteSignal) => void;
  readonly #queues = new Set<string>();
  /** The queues that Redis knows of. */
  readonly #announced = new Set<string>();
  readonly #startedAtMs: number;
  #beatenAtMs = -Infinity;
  #roundTripMs = 0;
  #beats = 0;
  #hasSignal = false;
  #isQuiet = false;

  constructor(
    shared: RedisShared,
    deps: {
      settler: RedisSettler;
      strays: RedisStrays;
      info: ProcessInfo | undefined;
      onSignal: (signal: RemoteSignal) => void;
    },
    options: { leaseMs: number },
  ) {
    this.#shared = shared;
    this.#beating = new RepeatedWork(shared, {
      during: "heartbeat",
      work: () => this.#beat(),
      waitMs: (failure) => this.#waitMs(failure !== undefined),
    });
    this.#settler = deps.settler;
    this.#strays = deps.strays;
    this.#info = deps.info;
    this.#onSignal = deps.onSignal;
    this.#leaseMs = options.leaseMs;
    this.#startedAtMs = shared.clock.nowMs();
  }

  /** Whether others certainly see this process alive. */
  get isFresh(): boolean {
    return performance.now() - this.#beatenAtMs < this.#leaseMs / 2;
  }

  /** Whether jobs may be taken from these queues. */
  hasAnnounced(queues: readonly string[]): boolean {
    return queues.every((queue) => this.#announced.has(queue));
  }

  /** The queues from which jobs were taken. */
  get queues(): ReadonlySet<string> {
    return this.#queues;
  }

  /** Registers these queues, and sends heartbeats from then on. */
  async announce(queues: readonly string[]): Promise<void> {
    for (const queue of queues) this.#queues.add(queue);
    this.#beating.start();
    // A running one may have begun before.
    await this.#beating.ended();
    await this.beat();
  }

  /** Sends one heartbeat now. */
  beat(): Promise<void> {
    return this.#beating.do();
  }

  /** Shows at once that this process takes no more jobs. */
  quiet(): void {
    if (this.#isQuiet) return;
    this.#isQuiet = true;
    // A broker that received nothing is not shown.
    if (this.#queues.size === 0) return;
    // A running heartbeat may be from before, and sets the time of the next one.
    void this.#beating.ended().then(() => this.#beating.next(0));
  }

  /** Puts back all jobs in flight, and leaves the lists of processes. */
  async leave(): Promise<void> {
    await this.#beating.close();
    const { connection, keys, identity } = this.#shared;
    // A broker that received nothing has nothing to report.
    if (this.#queues.size === 0) return;
    for (const queue of this.#queues) {
      await connection.run(PUT_ALL_BACK, [this.#settler.inflightKey(queue), keys.queue(queue)], []);
    }
    await this.#count();
    const process = keys.process(identity);
    const own = [process, `${process}-signals`, keys.queuesOf(identity), ...this.#workKeys()];
    await connection.run(LEAVE, [keys.processes, keys.owners, ...own], [identity]);
  }

  #waitMs(hasFailed: boolean): number {
    const evenlyMs = this.#leaseMs / BEATS_IN_LEASE;
    if (hasFailed) return Math.min(BEAT_AGAIN_MS, evenlyMs);
    // Further signals may follow, and people wait to see the effect.
    return this.#hasSignal ? 0 : evenlyMs;
  }

  async #beat(): Promise<void> {
    const queues = [...this.#queues];
    const beganMs = performance.now();
    let signal: Buffer | null = null;
    let wasAlive: number | undefined;
    try {
      [signal, wasAlive] = await this.#giveSign(queues);
    } finally {
      // Redis may have received a failed heartbeat, too; then the next one finds this process alive.
      const isLate = performance.now() - this.#beatenAtMs > this.#leaseMs;
      if (wasAlive === 0 || isLate) this.#settler.epoch++;
    }
    this.#beatenAtMs = beganMs;
    this.#roundTripMs = performance.now() - beganMs;
    for (const queue of queues) this.#announced.add(queue);
    this.#hasSignal = signal !== null;
    this.#obey(signal === null ? undefined : SIGNALS[String(signal)]);
    await this.#count();
    if (++this.#beats % BEATS_IN_LEASE === 0) await this.#strays.compare(this.#queues);
  }

  /** Resolves with the result of BEAT. */
  #giveSign(queues: readonly string[]): Promise<[signal: Buffer | null, wasAlive: number]> {
    const { connection, keys, identity } = this.#shared;
    const process = keys.process(identity);
    const fields = this.#fields();
    return connection.run(
      BEAT,
      [
        process,
        keys.processes,
        keys.owners,
        keys.queuesOf(identity),
        `${process}-signals`,
        keys.queues,
        ...this.#workKeys(),
      ],
      [
        identity,
        String(this.#leaseMs),
        String(fields.length),
        ...fields,
        String(queues.length),
        ...queues,
        ...this.#work(),
      ],
    );
  }

  #obey(signal: RemoteSignal | undefined): void {
    if (signal === undefined) return;
    this.#isQuiet = true;
    this.#onSignal(signal);
  }

  /** Adds the jobs processed since the last time. */
  async #count(): Promise<void> {
    const { processed, failed } = this.#settler;
    if (processed + failed === 0) return;
    this.#settler.processed = this.#settler.failed = 0;
    const { connection, keys, clock } = this.#shared;
    const day = new Date(clock.nowMs()).toISOString().slice(0, 10);
    try {
      const names = ["processed", "failed"] as const;
      const stats = names.flatMap((name) => [keys.stat(name), keys.stat(name, day)]);
      await connection.run(COUNT, stats, [String(processed), String(failed)]);
    } catch (error) {
      this.#settler.processed += processed;
      this.#settler.failed += failed;
      throw error;
    }
  }

  #workKeys(): string[] {
    const process = this.#shared.keys.process(this.#shared.identity);
    return this.#shared.jobs.workKeys.map((name) => `${process}:${name}`);
  }

  /** The fields of the process's hash, https://github.com/sidekiq/sidekiq/blob/main/lib/sidekiq/launcher.rb. */
  #fields(): string[] {
    const { clock, identity, jobs } = this.#shared;
    const [hostname, pid] = identity.split(":");
    const queues = this.#info?.queues ?? [...this.#queues].map((name) => ({ name, weight: 1 }));
    const weights = Object.fromEntries(queues.map(({ name, weight }) => [name, weight]));
    const concurrency = this.#info?.concurrency ?? 0;
    const info = {
      hostname,
      started_at: this.#startedAtMs / 1_000,
      pid: Number(pid),
      tag: "fervo-worker",
      concurrency,
      queues: queues.map(({ name }) => name),
      weights: [weights],
      capsules: { default: { concurrency, mode: "weighted", weights } },
      labels: ["fervo-worker"],
      identity,
      version: jobs.version,
      embedded: false,
    };
    const fields = {
      info: JSON.stringify(info),
      concurrency: String(concurrency),
      busy: String(this.#settler.inFlight.size),
      beat: (clock.nowMs() / 1_000).toFixed(3),
      rtt_us: String(Math.round(this.#roundTripMs * 1_000)),
      quiet: String(this.#isQuiet),
      rss: String(Math.round(Deno.memoryUsage().rss / 1_024)),
    };
    return Object.entries(fields).flat();
  }

  /** Fields and values of the list of running jobs. */
  #work(): string[] {
    return [...this.#settler.inFlight].flatMap(({ id, queue, raw, takenAtMs, record }) => {
      // The Web UI reads it as a job, and would fail at an unreadable one.
      const instead = record === undefined
        ? "(no job)"
        : raw.length > MAX_SHOWN_BYTES
        ? "(too long to show)"
        : undefined;
      const payload = instead === undefined
        ? raw.toString()
        : JSON.stringify({ class: instead, args: [], jid: id, queue });
      const run_at = Math.floor(takenAtMs / 1_000);
      return [id, JSON.stringify({ queue, payload, run_at })];
    });
  }
}
