import type { Clock } from "../../core/time/clock.ts";
import type { BrokerAdmin } from "../../core/admin.ts";
import type { Broker, Capabilities, Presence, Subscription } from "../../core/broker.ts";
import type { PushOptions } from "../../core/format.ts";
import { JobError } from "../../core/errors.ts";
import type { SidekiqFormat } from "../../formats/sidekiq.ts";
import { DEFAULT_KEEPALIVE_MS } from "../../net/keepalive.ts";
import type { Observer } from "../../core/observer.ts";
import { tooLarge } from "../../core/text/payload.ts";
import { Calls } from "../calls.ts";
import { HUNDRED_YEARS, refuseDelay } from "../delays.ts";
import { refusePriority } from "../priorities.ts";
import { refuseUnique } from "../unique_keys.ts";
import { pullSubscription } from "../pull_subscription.ts";
import { checkServer } from "./check.ts";
import { RedisConnection } from "../../redis/connection.ts";
import { RedisDeadLetters } from "./dead_letters.ts";
import { newId, RedisSettler } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import { scoreOf } from "./score.ts";
import { RedisDepth } from "./depth.ts";
import { RedisFetch } from "./fetch.ts";
import { RedisHeartbeat } from "./heartbeat.ts";
import type { ProcessInfo, RemoteSignal } from "../broker_type.ts";
import { RedisJobs } from "./jobs.ts";
import { RedisKeys } from "./keys.ts";
import { RedisPauses } from "./pauses.ts";
import { RedisRecovery } from "./recovery.ts";
import { RedisSchedule } from "./schedule/schedule.ts";
import { RedisStrays } from "./strays.ts";
import { type NewJob, RedisScheduleBook } from "./schedule/schedule_book.ts";
import { type RedisAccess, RedisServer, type RedisTarget } from "../../redis/server.ts";
import { BLOCK_S } from "./wait.ts";

export interface SidekiqBrokerOptions extends RedisAccess {
  readonly target: RedisTarget;
  readonly database: number;
  /** Prefix of every key. */
  readonly keyPrefix: string;
  /** A process counts as dead this long after its last heartbeat, milliseconds. */
  readonly leaseMs: number;
  /** The limit for a connect, milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long a TCP connection may be silent, milliseconds; 0 without a limit. */
  readonly keepaliveMs: number;
  /** A longer job is refused at push, and buried at receive. */
  readonly maxPayloadBytes: number;
}

export const DEFAULT_REDIS_OPTIONS: Omit<SidekiqBrokerOptions, "target"> = {
  username: undefined,
  password: undefined,
  passwordFile: undefined,
  isTls: false,
  caFile: undefined,
  database: 0,
  keyPrefix: "",
  leaseMs: 30_000,
  connectTimeoutMs: 5_000,
  keepaliveMs: DEFAULT_KEEPALIVE_MS,
  maxPayloadBytes: 64 * 1024 * 1024,
};

export interface SidekiqBrokerDeps {
  readonly clock: Clock;
  /** This process's identity in Sidekiq's form, `host:pid:nonce`. */
  readonly owner: string;
  readonly format: SidekiqFormat;
  /** For the list of processes; the received queues when absent. */
  readonly process?: ProcessInfo;
  /** Gets the events of the broker's own work: jobs taken back, and failures. */
  readonly observe?: Observer;
  /** Called with a signal from Sidekiq's Web UI. */
  readonly onSignal?: (signal: RemoteSignal) => void;
}

/** A server that does not answer for this long counts as hung, milliseconds; waiting commands take up to BLOCK_S. */
const COMMAND_TIMEOUT_MS = (BLOCK_S + 5) * 1_000;

export const SIDEKIQ_CAPABILITIES: Capabilities = {
  lease: "connection",
  redeliveries: "counted",
  attempts: true,
  repeats: true,
  release: "uncounted",
  delayedRelease: "uncounted",
  releasePlace: "front",
  replace: "one-step",
  fence: "token",
  orders: ["strict", "weighted"],
  pushDelay: HUNDRED_YEARS,
  retryDelay: HUNDRED_YEARS,
  priority: false,
  headers: false,
  unique: false,
  counts: "estimated",
  jobs: true,
  dead: "errors",
  pauses: "kept",
  pauseReasons: true,
  purge: true,
  schedule: true,
};

/**
 * Sidekiq's queues in Redis, shared with other producers and with Sidekiq's own processes.
 *
 * 1. Takes jobs into in-flight lists of this process ({@link RedisFetch}), so that each is in Redis until it is settled.
 * 2. Settles them as Sidekiq does ({@link RedisSettler}): retries, the dead set, statistics.
 * 3. Moves due jobs into their queues ({@link RedisSchedule}).
 * 4. Shows this process in Sidekiq's Web UI while it receives, and obeys its signals ({@link RedisHeartbeat}).
 * 5. Takes back the jobs of dead processes ({@link RedisRecovery}).
 * 6. Puts back strays in its in-flight lists ({@link RedisStrays}).
 */
export class SidekiqBroker implements Broker {
  readonly capabilities = SIDEKIQ_CAPABILITIES;
  readonly format: SidekiqFormat;
  readonly admin: Required<BrokerAdmin>;
  readonly presence: Presence;
  readonly #shared: RedisShared;
  readonly #maxPayloadBytes: number;
  readonly #calls = new Calls();
  readonly #promotion: RedisSchedule;
  readonly #heartbeat: RedisHeartbeat;
  readonly #recovery: RedisRecovery;
  readonly #fetch: RedisFetch;
  #closed: Promise<void> | undefined;

  private constructor(deps: SidekiqBrokerDeps, options: SidekiqBrokerOptions) {
    const { clock, observe = () => {} } = deps;
    this.format = deps.format;
    this.#maxPayloadBytes = options.maxPayloadBytes;
    const keys = new RedisKeys(options.keyPrefix);
    const server = new RedisServer(options.target, options, options.database);
    const connect = () =>
      new RedisConnection({ server, keys, clock }, {
        connectTimeoutMs: options.connectTimeoutMs,
        keepaliveMs: options.keepaliveMs,
        commandTimeoutMs: COMMAND_TIMEOUT_MS,
      });
    const shared = this.#shared = {
      connection: connect(),
      keys,
      clock,
      observe,
      jobs: deps.format,
      identity: deps.owner,
    };
    const schedule = this.#promotion = new RedisSchedule(shared);
    const settler = new RedisSettler({ shared, calls: this.#calls, schedule }, options);
    const strays = new RedisStrays(shared, { settler, isArmed: (queue) => this.#fetch.isArmed(queue) });
    const heartbeat = this.#heartbeat = new RedisHeartbeat(
      shared,
      { settler, strays, info: deps.process, onSignal: deps.onSignal ?? (() => {}) },
      options,
    );
    const recovery = this.#recovery = new RedisRecovery(shared, options);
    this.#fetch = new RedisFetch({ shared, settler, schedule, heartbeat, recovery, strays, connect });
    this.presence = { quiet: () => heartbeat.quiet() };
    this.admin = this.#admin();
  }

  /** Connects at the first use. */
  static open(deps: SidekiqBrokerDeps, options: SidekiqBrokerOptions): SidekiqBroker {
    return new SidekiqBroker(deps, options);
  }

  subscribe(): Subscription {
    return pullSubscription((request, signal) => this.#fetch.receive(request, signal));
  }

  push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    return this.#calls.run(async () => {
      const { connection, keys } = this.#shared;
      refusePriority(queue, options);
      const { job: { raw, id }, dueMs } = this.#newJob(queue, payload, options);
      if (dueMs !== undefined) {
        await connection.send(["ZADD", keys.schedule, scoreOf(dueMs), raw], [keys.schedule]);
        this.#promotion.expect(dueMs);
      } else {
        const list = keys.queue(queue);
        // One after the other: a push that is reported as failed must not have added the job.
        await connection.send(["SADD", keys.queues, queue], [keys.queues]);
        await connection.send(["LPUSH", list, raw], [list]);
      }
      return id;
    });
  }

  #admin(): Required<BrokerAdmin> {
    const [shared, calls] = [this.#shared, this.#calls];
    const depth = new RedisDepth(shared);
    const jobs = new RedisJobs(shared);
    const newJob: NewJob = (...job) => this.#newJob(...job).job;
    return {
      queues: () => calls.run(() => depth.queues()),
      depth: (queue) => calls.run(() => depth.of(queue)),
      latencyMs: (queue) => calls.run(() => depth.latencyMs(queue)),
      census: (queues) => calls.run(() => depth.census(queues)),
      jobs: (...args) => calls.run(() => jobs.page(...args)),
      purge: (queue) => calls.run(() => depth.purge(queue)),
      findings: () => calls.run(() => checkServer(shared.connection)),
      dead: new RedisDeadLetters(shared, calls),
      pauses: new RedisPauses(shared, calls),
      schedule: new RedisScheduleBook(shared, calls, { newJob }),
    };
  }

  #newJob(queue: string, payload: Uint8Array, options: PushOptions) {
    if (options.headers !== undefined) throw noHeaders(queue);
    const { clock, jobs } = this.#shared;
    const { delayMs = 0, maxAttempts } = options;
    refuseUnique(queue, options);
    refuseDelay(queue, delayMs, SIDEKIQ_CAPABILITIES.pushDelay);
    const nowMs = clock.nowMs();
    const job = jobs.pushed(payload, { id: newId(), queue, isDelayed: delayMs > 0, nowMs, maxAttempts });
    if (job.raw.length > this.#maxPayloadBytes) throw tooLarge(queue, job.raw.length, this.#maxPayloadBytes);
    return { job, dueMs: delayMs > 0 ? nowMs + delayMs : undefined };
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    await Promise.all([this.#fetch.close(), this.#calls.close()]);
    await Promise.all([this.#promotion.close(), this.#recovery.close()]);
    // If Redis is unavailable, the other processes notice the end by the missing heartbeats.
    await this.#heartbeat.leave().catch(() => {});
    this.#shared.connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function noHeaders(queue: string): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `Cannot push to queue "${queue}": Redis stores no headers with a job; write them as fields of the job, such as ` +
      '"traceparent"',
  );
}
