import type { Clock } from "../core/clock.ts";
import { asFervoError, FervoError } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Observer } from "../core/observer.ts";
import { isMisconfigured, type Outcome, outcomeOfFault } from "../core/outcome.ts";
import { payloadText } from "../core/payload.ts";
import { type EncodedParams, encodeParams } from "../fastcgi/params.ts";
import type { FastCgiRequest } from "../fastcgi/connection.ts";
import type { Pool } from "../fastcgi/pool.ts";
import type { BodyListener } from "../fastcgi/response.ts";
import type { Batch, Executor } from "./executor.ts";
import {
  type AnswerOptions,
  misconfiguration,
  outcomeOf,
  outcomeOfBatchEnd,
  outcomeOfError,
} from "./fastcgi_answer.ts";
import { BATCH_CONTENT_TYPE, BatchAnswer, encodeBatch } from "./fastcgi_batch.ts";
import { type FpmControl, isAway } from "./fpm_control.ts";
import { jobVariables } from "./job_variables.ts";

export interface FastCgiExecutorOptions extends AnswerOptions {
  /** Further params of every request. */
  readonly params: Readonly<Record<string, string>>;
  /** Names the param that carries the payload instead of STDIN; "" for STDIN. */
  readonly payloadParam: string;
  /** End the PHP process of a job whose time is up. */
  readonly killOnTimeout: boolean;
  /** The pool's own limit for the first byte of an answer, milliseconds; 0 for none. PHP is told until when to begin. */
  readonly firstByteTimeoutMs: number;
}

export const DEFAULT_FASTCGI_EXECUTOR_OPTIONS: Omit<FastCgiExecutorOptions, "script"> = {
  params: {},
  ackOn: "outcome",
  payloadParam: "",
  killOnTimeout: false,
  firstByteTimeoutMs: 0,
};

export interface FastCgiExecutorDeps {
  readonly pool: Pick<Pool, "request" | "close">;
  /** The same pool, looked at from the outside. */
  readonly fpm: Pick<FpmControl, "hasLeftWithin" | "isRunning" | "endChild" | "ping" | "ask">;
  readonly clock: Clock;
  readonly observe: Observer;
}

/**
 * Params that no configuration and no message sets: the executor sets them itself, or they would change php-fpm for
 * all later requests (PHP_VALUE), read a file of its machine (REQUEST_BODY_FILE) or redirect PHP's HTTP clients
 * (HTTP_PROXY). All that begin with FERVO_ are reserved too.
 */
export const RESERVED_PARAMS: readonly string[] = [
  "PHP_VALUE",
  "PHP_ADMIN_VALUE",
  "REQUEST_BODY_FILE",
  "HTTP_PROXY",
  "SCRIPT_FILENAME",
  "SCRIPT_NAME",
  "REQUEST_METHOD",
  "REQUEST_URI",
  "QUERY_STRING",
  "CONTENT_LENGTH",
  "CONTENT_TYPE",
  "GATEWAY_INTERFACE",
  "SERVER_PROTOCOL",
  "SERVER_SOFTWARE",
  "HTTP_TRACEPARENT",
  "HTTP_TRACESTATE",
];

/** A job that is lost together with php-fpm so often, one time after the other, may be what ends it: then it counts. */
const MAX_UNCOUNTED_LOSSES = 3;
/** Of so many jobs it is known how often they were lost; another worker may run them next. */
const MAX_REMEMBERED_LOSSES = 10_000;

const EMPTY = new Uint8Array(0);

/**
 * Runs each job, or several of them, as one FastCGI request to the front controller.
 *
 * 1. Sends the job as docs/protocol.md says: what comes from a message are values, never a param's name, the script
 *    or the address.
 * 2. Reads the answer by the table in docs/protocol.md.
 * 3. Where an answer does not come, finds out whether that was the job's doing or php-fpm's.
 * 4. Ends the PHP process of a job whose time is up, if it is to; the job's slot does not wait for that.
 * 5. Finds out by requests without a job whether php-fpm is back, and finds the script.
 */
export class FastCgiExecutor implements Executor {
  readonly #pool: FastCgiExecutorDeps["pool"];
  readonly #fpm: FastCgiExecutorDeps["fpm"];
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #options: FastCgiExecutorOptions;
  readonly #requestOf: (job: Job) => FastCgiRequest;
  readonly #batchRequestOf: (batch: Batch, onBody: BodyListener) => FastCgiRequest;
  readonly #endings = new Set<Promise<void>>();
  /** How often a job was lost together with php-fpm, by queue and id. */
  readonly #losses = new Map<string, number>();

  /** @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record. */
  constructor(deps: FastCgiExecutorDeps, options: FastCgiExecutorOptions) {
    this.#pool = deps.pool;
    this.#fpm = deps.fpm;
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#options = options;
    this.#requestOf = jobRequests(options, deps.clock);
    this.#batchRequestOf = batchRequests(options, deps.clock);
  }

  async execute(job: Job, signal: AbortSignal): Promise<Outcome> {
    const startedMs = this.#clock.monotonicMs();
    try {
      const unavailable = this.#losses.size > 0 && await this.#stillAway(job);
      if (unavailable) return unavailable;
      const response = await this.#pool.request(this.#requestOf(job), signal);
      this.#forgetLosses(job);
      return outcomeOf(response, this.#options, job.id);
    } catch (error) {
      return await this.#outcomeOfFailure(error, job, () => uriOf(job), startedMs);
    }
  }

  async executeBatch(batch: Batch, signal: AbortSignal): Promise<Outcome | undefined> {
    const startedMs = this.#clock.monotonicMs();
    const answer = new BatchAnswer(batch.jobs, (outcome, job) => {
      this.#forgetLosses(job);
      batch.onOutcome(outcome);
    });
    try {
      const unavailable = this.#losses.size > 0 && await this.#stillAway(batch.jobs[0]!);
      if (unavailable) return unavailable;
      const response = await this.#pool.request(this.#batchRequestOf(batch, answer.onBody), signal);
      return answer.running && outcomeOfBatchEnd(response, this.#options.script);
    } catch (error) {
      const job = answer.running;
      const uri = () => uriOfBatch(batch.jobs);
      if (job !== undefined) return await this.#outcomeOfFailure(error, job, uri, startedMs);
      // All jobs have ended: what is left is a child that has not.
      if (error instanceof FervoError && error.code === "JOB_TIMEOUT") {
        this.#endChildOf(batch.jobs.at(-1)!, uri());
      }
      return undefined;
    }
  }

  /**
   * A script that was not found is asked for by the check of docs/protocol.md, section 1; whatever it answers, it is there.
   * So one that does not know the check gets an empty request at most once each time. One that cannot send the outcome
   * header cannot be expected to know it, and is not asked: the next job shows.
   */
  async probe(cause: FervoError, signal: AbortSignal): Promise<FervoError | undefined> {
    const { script, params, ackOn } = this.#options;
    try {
      if (!isMisconfigured(cause) || ackOn === "status") {
        await this.#fpm.ping(this.#pool, signal);
        return undefined;
      }
      return misconfiguration(await this.#fpm.ask(checkRequest(script, params), this.#pool, signal), script);
    } catch (error) {
      return asFervoError(error);
    }
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await Promise.all(this.#endings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * What a request that failed means for the job that it ran.
   *
   * @param uri SCRIPT_NAME of the request.
   */
  async #outcomeOfFailure(
    error: unknown,
    job: Job,
    uri: () => string,
    startedMs: number,
  ): Promise<Outcome> {
    if (!(error instanceof FervoError)) return outcomeOfError(error);
    try {
      switch (error.code) {
        case "FASTCGI_CONNECTION_LOST":
          return await this.#outcomeOfLoss(error, job, this.#clock.monotonicMs() - startedMs);
        case "FASTCGI_FIRST_BYTE_TIMEOUT":
          return await this.#outcomeOfSilence(error, job, uri());
        case "FASTCGI_PROTOCOL":
          return await this.#outcomeOfNonsense(error);
        case "JOB_TIMEOUT":
          this.#endChildOf(job, uri());
      }
      return outcomeOfError(error);
    } catch (fault) {
      return outcomeOfFault(fault);
    }
  }

  /** A child that dies is the job's doing; that php-fpm is stopped, restarted or reloaded is not. */
  async #outcomeOfLoss(error: FervoError, job: Job, ageMs: number): Promise<Outcome> {
    const name = nameOf(job);
    const losses = (this.#losses.get(name) ?? 0) + 1;
    this.#losses.delete(name);
    if (!await this.#fpm.hasLeftWithin(ageMs) || losses > MAX_UNCOUNTED_LOSSES) return outcomeOfError(error);
    this.#losses.set(name, losses);
    if (this.#losses.size > MAX_REMEMBERED_LOSSES) this.#losses.delete(this.#losses.keys().next().value!);
    return lostWithFpm(error);
  }

  /**
   * A job that was lost together with php-fpm is sent again when php-fpm answers: what ends the connections of all, as
   * listen.allowed_clients or a proxy does, is not that job's doing however often it is met.
   *
   * @returns What the job gets while php-fpm does not.
   */
  async #stillAway(job: Job): Promise<Outcome | undefined> {
    if (!this.#losses.has(nameOf(job))) return undefined;
    try {
      await this.#fpm.ping();
    } catch (error) {
      if (isAway(error)) return lostWithFpm(error);
      if (!(error instanceof FervoError)) throw error;
    }
    return undefined;
  }

  #forgetLosses(job: Job): void {
    if (this.#losses.size > 0) this.#losses.delete(nameOf(job));
  }

  /**
   * A job that no child has begun did not fail; it waits in php-fpm's listen queue. The request stays there, so that PHP
   * has to know by FERVO_START_BY that it is too late.
   */
  async #outcomeOfSilence(error: FervoError, job: Job, uri: string): Promise<Outcome> {
    if (await this.#fpm.isRunning(uri) === false) {
      return { kind: "release", reason: "unavailable", error };
    }
    this.#endChildOf(job, uri);
    return outcomeOfError(error);
  }

  /** What answers a ping with nonsense, too, is no FastCGI application: no job has run there. */
  async #outcomeOfNonsense(error: FervoError): Promise<Outcome> {
    try {
      await this.#fpm.ping();
    } catch (alike) {
      if (!(alike instanceof FervoError)) throw alike;
      if (alike.code !== "FASTCGI_OVERLOADED") return { kind: "release", reason: "unavailable", error };
    }
    return outcomeOfError(error);
  }

  #endChildOf(job: Job, uri: string): void {
    if (!this.#options.killOnTimeout) return;
    const { queue, id, attempt } = job;
    const ending = this.#fpm.endChild(uri).then(
      (pid) => this.#observe({ type: "child_ended", queue, id, attempt, pid }),
      (thrown) => {
        this.#observe({ type: "child_not_ended", queue, id, attempt, error: asFervoError(thrown) });
      },
    ).finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }
}

/**
 * Makes the requests for jobs; what they share is encoded once.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record; the function that is
 * returned throws JOB_MALFORMED when the payload cannot be sent as a param.
 */
export function jobRequests(
  { script, params, payloadParam, firstByteTimeoutMs }: Pick<
    FastCgiExecutorOptions,
    "script" | "params" | "payloadParam" | "firstByteTimeoutMs"
  >,
  clock: Clock,
): (job: Job) => FastCgiRequest {
  const shared: EncodedParams = encodeParams(sharedParams(script, params));
  const isBody = payloadParam === "";
  return (job) => {
    const uri = uriOf(job);
    const own: [string, string][] = [
      ["REQUEST_URI", uri],
      // What FPM's status page and access log show as the request (fpm_main.c, init_request_info).
      ["SCRIPT_NAME", uri],
      ["CONTENT_LENGTH", String(isBody ? job.payload.length : 0)],
      ...jobVariables(job),
    ];
    if (firstByteTimeoutMs > 0) {
      own.push(["FERVO_START_BY", String(Math.min(clock.nowMs() + firstByteTimeoutMs, job.deadlineMs))]);
    }
    if (job.traceparent !== undefined) own.push(["HTTP_TRACEPARENT", job.traceparent]);
    if (job.tracestate !== undefined) own.push(["HTTP_TRACESTATE", job.tracestate]);
    if (!isBody) own.push([payloadParam, payloadText(job.payload, `the param "${payloadParam}"`)]);
    return { sharedParams: shared, params: own, body: isBody ? job.payload : EMPTY };
  };
}

/**
 * Makes the requests for batches; what they share is encoded once.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record
 */
function batchRequests(
  { script, params, firstByteTimeoutMs }: Pick<
    FastCgiExecutorOptions,
    "script" | "params" | "firstByteTimeoutMs"
  >,
  clock: Clock,
): (batch: Batch, onBody: BodyListener) => FastCgiRequest {
  const shared = encodeParams({ ...sharedParams(script, params), CONTENT_TYPE: BATCH_CONTENT_TYPE });
  return (batch, onBody) => {
    const uri = uriOfBatch(batch.jobs);
    const { deadlineMs } = batch.jobs[0]!;
    const body = encodeBatch(batch);
    const own: [string, string][] = [
      ["REQUEST_URI", uri],
      ["SCRIPT_NAME", uri],
      ["CONTENT_LENGTH", String(body.length)],
      ["FERVO_BATCH", String(batch.jobs.length)],
      ["FERVO_DEADLINE", String(deadlineMs)],
    ];
    if (firstByteTimeoutMs > 0) {
      own.push(["FERVO_START_BY", String(Math.min(clock.nowMs() + firstByteTimeoutMs, deadlineMs))]);
    }
    return { sharedParams: shared, params: own, body, onBody };
  };
}

/** The connection was lost, and that is not the job's doing. */
function lostWithFpm(cause: FervoError): Outcome {
  const text =
    "php-fpm was stopped, restarted or reloaded, or does not serve this machine (listen.allowed_clients): " +
    cause.message;
  const error = new FervoError(cause.code, text, { details: cause.details, cause });
  return { kind: "release", reason: "unavailable", error };
}

/** What names the job in php-fpm's access log and status page. */
function uriOf(job: Job): string {
  return `/${uriPart(job.queue)}/${uriPart(job.id)}`;
}

/** A lone surrogate, which stands for no bytes, becomes U+FFFD, as in the params. */
function uriPart(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** The same of a batch: its first job, and how many follow. */
function uriOfBatch(jobs: readonly Job[]): string {
  return `${uriOf(jobs[0]!)}+${jobs.length - 1}`;
}

/** Tells a job from all others of its broker. */
function nameOf({ queue, id }: Job): string {
  return `${queue}/${id}`;
}

/**
 * The request that asks the front controller whether it is there; it runs no job. One that does not know FERVO_CHECK finds
 * no payload, no id, and a deadline that has passed.
 */
export function checkRequest(script: string, params: Readonly<Record<string, string>>): FastCgiRequest {
  return {
    sharedParams: encodeParams(sharedParams(script, params)),
    params: [
      ["REQUEST_URI", "/fervo-check"],
      ["SCRIPT_NAME", "/fervo-check"],
      ["CONTENT_LENGTH", "0"],
      ["FERVO_CHECK", "1"],
      ["FERVO_DEADLINE", "0"],
    ],
    body: EMPTY,
  };
}

function sharedParams(script: string, params: Readonly<Record<string, string>>): Record<string, string> {
  return {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_PROTOCOL: "HTTP/1.1",
    SERVER_SOFTWARE: "fervo-worker",
    REQUEST_METHOD: "POST",
    SCRIPT_FILENAME: script,
    QUERY_STRING: "",
    // Not a form: PHP would parse it, and count its fields against max_input_vars.
    CONTENT_TYPE: "application/octet-stream",
    ...params,
  };
}
