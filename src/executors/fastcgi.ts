import type { Clock } from "../core/clock.ts";
import { FervoError, JobError, reasonOf } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Observer } from "../core/observer.ts";
import { ACK, type Outcome } from "../core/outcome.ts";
import { payloadText } from "../core/payload.ts";
import { type EncodedParams, encodeParams } from "../fastcgi/params.ts";
import type { FastCgiRequest } from "../fastcgi/connection.ts";
import type { Pool } from "../fastcgi/pool.ts";
import type { FastCgiResponse } from "../fastcgi/response.ts";
import type { Executor } from "./executor.ts";
import type { FpmControl } from "./fpm_control.ts";
import { jobVariables } from "./job_variables.ts";

export interface FastCgiExecutorOptions {
  /** The front controller, as php-fpm sees it; absolute. */
  readonly script: string;
  /** Further params of every request. */
  readonly params: Readonly<Record<string, string>>;
  /** What counts as success: the outcome header, or any 2xx from a script that cannot send it. */
  readonly ackOn: "outcome" | "status";
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
  readonly fpm: Pick<FpmControl, "hasLeftWithin" | "isRunning" | "endChild">;
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
];

/** Characters of X-Fervo-Error that are kept: it goes into logs and dead letters. */
const MAX_REASON_LENGTH = 1_000;

/** A job that is lost together with php-fpm so often, one time after the other, may be what ends it: then it counts. */
const MAX_UNCOUNTED_LOSSES = 3;

const EMPTY = new Uint8Array(0);
const lenientUtf8 = new TextDecoder();

/**
 * Runs each job as one FastCGI request to the front controller.
 *
 * 1. Sends the job as docs/protocol.md says: what comes from a message are values, never a param's name, the script
 *    or the address.
 * 2. Reads the answer by the table in docs/protocol.md.
 * 3. Where an answer does not come, finds out whether that was the job's doing or php-fpm's.
 * 4. Ends the PHP process of a job whose time is up, if it is to; the job's slot does not wait for that.
 */
export class FastCgiExecutor implements Executor {
  readonly #pool: FastCgiExecutorDeps["pool"];
  readonly #fpm: FastCgiExecutorDeps["fpm"];
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #options: FastCgiExecutorOptions;
  readonly #requestOf: (job: Job) => FastCgiRequest;
  readonly #endings = new Set<Promise<void>>();
  /** How often a job was lost together with php-fpm, by its uri. */
  readonly #losses = new Map<string, number>();

  /** @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record. */
  constructor(deps: FastCgiExecutorDeps, options: FastCgiExecutorOptions) {
    this.#pool = deps.pool;
    this.#fpm = deps.fpm;
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#options = options;
    this.#requestOf = jobRequests(options, deps.clock);
  }

  async execute(job: Job, signal: AbortSignal): Promise<Outcome> {
    const startedMs = this.#clock.monotonicMs();
    try {
      const response = await this.#pool.request(this.#requestOf(job), signal);
      if (this.#losses.size > 0) this.#losses.delete(uriOf(job));
      return outcomeOf(response, this.#options);
    } catch (error) {
      if (!(error instanceof FervoError)) return outcomeOfError(error);
      switch (error.code) {
        case "FASTCGI_CONNECTION_LOST":
          return await this.#outcomeOfLoss(error, job, this.#clock.monotonicMs() - startedMs);
        case "FASTCGI_FIRST_BYTE_TIMEOUT":
          return await this.#outcomeOfSilence(error, job);
        case "JOB_TIMEOUT":
          this.#endChildOf(job);
          return outcomeOfError(error);
        default:
          return outcomeOfError(error);
      }
    }
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await Promise.all(this.#endings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** A child that dies is the job's doing; that php-fpm is stopped, restarted or reloaded is not. */
  async #outcomeOfLoss(error: FervoError, job: Job, ageMs: number): Promise<Outcome> {
    const uri = uriOf(job);
    const losses = (this.#losses.get(uri) ?? 0) + 1;
    this.#losses.delete(uri);
    if (!await this.#fpm.hasLeftWithin(ageMs) || losses > MAX_UNCOUNTED_LOSSES) return outcomeOfError(error);
    this.#losses.set(uri, losses);
    const text = `php-fpm was stopped, restarted or reloaded while it had the job: ${error.message}`;
    return {
      kind: "release",
      reason: "unavailable",
      error: new FervoError(error.code, text, { details: error.details, cause: error }),
    };
  }

  /**
   * A job that no child has begun did not fail; it waits in php-fpm's listen queue. The request stays there, so that PHP
   * has to know by FERVO_START_BY that it is too late.
   */
  async #outcomeOfSilence(error: FervoError, job: Job): Promise<Outcome> {
    if (await this.#fpm.isRunning(uriOf(job)) === false) {
      return { kind: "release", reason: "unavailable", error };
    }
    this.#endChildOf(job);
    return outcomeOfError(error);
  }

  #endChildOf(job: Job): void {
    if (!this.#options.killOnTimeout) return;
    const { queue, id, attempt } = job;
    const ending = this.#fpm.endChild(uriOf(job)).then(
      (pid) => this.#observe({ type: "child_ended", queue, id, attempt, pid }),
      (thrown) => {
        const error = thrown instanceof FervoError
          ? thrown
          : new FervoError("FPM_KILL_FAILED", reasonOf(thrown), { cause: thrown });
        this.#observe({ type: "child_not_ended", queue, id, attempt, error });
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
    if (!isBody) own.push([payloadParam, payloadText(job.payload, `the param "${payloadParam}"`)]);
    return { sharedParams: shared, params: own, body: isBody ? job.payload : EMPTY };
  };
}

/** What names the job in php-fpm's access log and status page. */
function uriOf(job: Job): string {
  return `/${encodeURIComponent(job.queue)}/${encodeURIComponent(job.id)}`;
}

/** The request with which `check` asks the front controller whether it is there; it runs no job. */
export function checkRequest(script: string, params: Readonly<Record<string, string>>): FastCgiRequest {
  return {
    sharedParams: encodeParams(sharedParams(script, params)),
    params: [
      ["REQUEST_URI", "/fervo-check"],
      ["SCRIPT_NAME", "/fervo-check"],
      ["CONTENT_LENGTH", "0"],
      ["FERVO_CHECK", "1"],
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

/** The answer's meaning; php-fpm answered, but its word alone proves nothing: see docs/protocol.md. */
export function outcomeOf(
  response: FastCgiResponse,
  { ackOn, script }: Pick<FastCgiExecutorOptions, "ackOn" | "script">,
): Outcome {
  const word = response.headers.get("x-fervo-outcome");
  if (word === "ack") return ACK;
  if (word === "retry" || word === "bury") return failedOutcome(word, response);
  const misconfigured = misconfiguration(response, script);
  if (misconfigured !== undefined) return { kind: "release", reason: "misconfigured", error: misconfigured };
  // A word that we do not know comes from a script that can send the header, and may have meant anything.
  const isStatusEnough = ackOn === "status" && word === undefined && response.appStatus === 0;
  if (isStatusEnough && response.status >= 200 && response.status < 300) return ACK;
  return { kind: "retry", error: noOutcomeError(response, word) };
}

function failedOutcome(kind: "retry" | "bury", response: FastCgiResponse): Outcome {
  const text = response.headers.get("x-fervo-error")?.slice(0, MAX_REASON_LENGTH) ?? "the job gave no reason";
  const error = new JobError("JOB_FAILED", `The job failed: ${text}`, { details: stderrOf(response) });
  const delay = response.headers.get("x-fervo-delay-ms");
  return kind === "retry" && delay !== undefined && /^\d{1,12}$/.test(delay)
    ? { kind, error, delayMs: Number(delay) }
    : { kind, error };
}

/**
 * php-fpm's own answers to a wrong SCRIPT_FILENAME (fpm_main.c). No front controller of ours gives them: they come
 * without an outcome and with just these bodies.
 */
function misconfiguration(response: FastCgiResponse, script: string): FervoError | undefined {
  const body = response.body.length < 100 ? lenientUtf8.decode(response.body).trim() : "";
  if (response.status === 404 && body === "File not found.") {
    return new FervoError(
      "FPM_MISCONFIGURED",
      `php-fpm cannot find the script "${script}": file not found; correct "script", or give php-fpm's user access`,
    );
  }
  if (response.status === 403 && body === "Access denied.") {
    return new FervoError(
      "FPM_MISCONFIGURED",
      `php-fpm does not run the script "${script}": access denied; see security.limit_extensions of the pool and the ` +
        `file's permissions`,
    );
  }
  return undefined;
}

function noOutcomeError(response: FastCgiResponse, word: string | undefined): JobError {
  const said = word === undefined ? "without an outcome" : `with the unknown outcome "${word.slice(0, 40)}"`;
  return new JobError(
    "JOB_NO_OUTCOME",
    `The script ended ${said}: it answered status ${response.status}, as after a fatal error, exit() or with a ` +
      `script that does not send X-Fervo-Outcome`,
    { details: { status: response.status, ...stderrOf(response) } },
  );
}

/** What the failure of a request means for its job. */
function outcomeOfError(error: unknown): Outcome {
  if (!(error instanceof FervoError)) {
    return { kind: "retry", error: new JobError("JOB_FAILED", reasonOf(error), { cause: error }) };
  }
  switch (error.code) {
    case "FASTCGI_CONNECT_FAILED":
    case "FASTCGI_OVERLOADED":
      return { kind: "release", reason: "unavailable", error };
    case "SHUTDOWN":
      return { kind: "release", reason: "shutdown", error };
    case "FASTCGI_PARAM_TOO_LARGE":
    case "JOB_MALFORMED":
      // The same message would fail in the same way each time.
      return { kind: "bury", error };
    case "FASTCGI_CONNECTION_LOST":
      return {
        kind: "retry",
        error: new JobError("JOB_CRASHED", `The PHP process died while it ran the job: ${error.message}`, {
          details: error.details,
          cause: error,
        }),
      };
    default:
      return { kind: "retry", error };
  }
}

function stderrOf(response: FastCgiResponse): { stderr?: string } {
  return response.stderr === "" ? {} : { stderr: response.stderr };
}
