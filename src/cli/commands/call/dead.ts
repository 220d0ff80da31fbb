import { createExecutor, createPool } from "../../../app/assembly.ts";
import type { Config, ConsumerConfig } from "../../../config/config.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { timeLimit } from "../../../core/time/time_limit.ts";
import type { DeadLetter } from "../../../core/admin.ts";
import type { Broker } from "../../../core/broker.ts";
import { FervoError, JobError } from "../../../core/errors.ts";
import type { Job } from "../../../core/job.ts";
import type { WorkerEvent } from "../../../core/observer.ts";
import { isUnreadable, readJob } from "../../../core/format.ts";
import type { Outcome } from "../../../core/outcome.ts";
import type { OutputListener } from "../../../core/text/output.ts";
import type { Executor } from "../../../executors/executor.ts";
import { FpmControl } from "../../../fpm/control.ts";
import { jobOf } from "../../../worker/consumer/slot_runner.ts";
import { ExitCode, exitCodeOf } from "../../exit_code.ts";

/** The options of running a dead letter. */
export interface DeadCall {
  readonly config: Config;
  readonly brokerName: string;
  readonly letter: DeadLetter;
  /** Params, or environment variables, beside the configuration's. */
  readonly extra: Readonly<Record<string, string>>;
  /** Undefined for the consumer's own. */
  readonly timeoutMs: number | undefined;
  /** Gets the output of PHP, or of the process. */
  readonly output: OutputListener;
  /** Called when the PHP process of a job that timed out was ended, or could not be. */
  readonly observe: (event: WorkerEvent) => void;
}

/**
 * Runs the job of a dead letter as its consumer would, as its last attempt, and returns the outcome. Nothing is settled: the
 * letter stays unchanged.
 *
 * @throws {FervoError} CONFIG_INVALID when no consumer takes from its queue; JOB_MALFORMED when it cannot be read
 */
export async function callDead({ format }: Pick<Broker, "format">, call: DeadCall): Promise<Outcome> {
  const { config, letter } = call;
  const consumer = consumerOf(config, call.brokerName, letter);
  const timeoutMs = call.timeoutMs ?? consumer.timeoutMs;
  const job = jobOfLetter(letter, format, { maxAttempts: consumer.retry.attempts, timeoutMs });
  await using opened = new AsyncDisposableStack();
  const executor = opened.use(openExecutor(consumer.executor, call, opened));
  const tooLate = () => new JobError("JOB_TIMEOUT", `The job took longer than ${timeoutMs} ms`);
  using limit = timeLimit(systemClock, timeoutMs, tooLate);
  return await run(executor, consumer, job, timeoutMs, limit.signal);
}

/** 0 when the job is done. */
export function exitCodeOfOutcome(outcome: Outcome): ExitCode {
  if (outcome.kind === "ack") return ExitCode.ok;
  return outcome.kind === "release" ? exitCodeOf(outcome.error.code) : ExitCode.failed;
}

/** For people. */
export function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case "ack":
      return "ack, the job is done";
    case "release":
      return `none, the job did not run: ${outcome.error.code}: ${outcome.error.message}`;
    default:
      return `${outcome.kind}, the job failed: ${outcome.error.code}: ${outcome.error.message}`;
  }
}

function consumerOf({ consumers }: Config, brokerName: string, { id, queue }: DeadLetter): ConsumerConfig {
  const consumer = consumers.find(({ broker, queues }) =>
    broker === brokerName && queues.some(({ name }) => name === queue)
  );
  if (consumer !== undefined) return consumer;
  throw new FervoError(
    "CONFIG_INVALID",
    `No consumer of the configuration takes from the queue "${queue}" of the dead letter "${id}", so nothing says ` +
      "how to run its job; add the queue to a consumer",
  );
}

function jobOfLetter(
  { id, queue, payload, headers, attempts, maxAttempts, enqueuedAtMs }: DeadLetter,
  format: Broker["format"],
  limits: { maxAttempts: number; timeoutMs: number },
): Job {
  const own = { ...limits, maxAttempts: maxAttempts ?? limits.maxAttempts };
  const message = { body: payload, headers: headers ?? {} };
  const delivery = {
    id,
    queue,
    message,
    job: readJob(format, message),
    attempt: 1,
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
  };
  const job = jobOf(delivery, { ...own, nowMs: systemClock.nowMs(), format });
  if (isUnreadable(job)) throw job.error;
  // A job that a person has buried may not have run.
  const attempt = Math.max(attempts, 1);
  return { ...job, attempt, maxAttempts: Math.max(job.maxAttempts, attempt) };
}

function openExecutor(
  options: ConsumerConfig["executor"],
  { config, extra, output, observe }: DeadCall,
  opened: AsyncDisposableStack,
): Executor {
  const deps = { clock: systemClock, observe, live: { config: () => config } };
  if (options.kind === "process") {
    const process = config.processes.get(options.process)!;
    const processes = new Map([[options.process, { ...process, env: { ...process.env, ...extra } }]]);
    return createExecutor({ ...config, processes }, options, new Map(), { ...deps, output });
  }
  const fpm = config.fpm.get(options.fpm)!;
  const pool = opened.use(createPool(config, options.fpm, systemClock));
  const told: Pick<typeof pool, "request"> = {
    request: (request, signal) => pool.request({ ...request, onOutput: output }, signal),
  };
  const fpms = new Map([[options.fpm, { pool: told, control: new FpmControl(deps, fpm) }]]);
  const withExtra = new Map([[options.fpm, { ...fpm, params: { ...fpm.params, ...extra } }]]);
  return createExecutor({ ...config, fpm: withExtra }, options, fpms, deps);
}

/** Like the consumer: a batch of one if it makes batches. */
async function run(
  executor: Executor,
  { batchSize }: ConsumerConfig,
  job: Job,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Outcome> {
  const isAlone = batchSize === 1 && job.framework === undefined;
  if (isAlone || executor.executeBatch === undefined) return await executor.execute(job, signal);
  let outcome: Outcome | undefined;
  const last = await executor.executeBatch(
    { jobs: [job], timeoutMs, onOutcome: (one) => outcome = one },
    signal,
  );
  return (last?.outcome ?? outcome)!;
}
