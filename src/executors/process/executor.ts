import type { Clock } from "../../core/time/clock.ts";
import { type ErrorDetails, FervoError, JobError, reasonOf } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { ACK, isMisconfigured, type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { OutputListener } from "../../core/text/output.ts";
import { payloadText } from "../../core/text/payload.ts";
import { AckedStderr, DEFAULT_STDERR_OPTIONS, type StderrOptions } from "../fastcgi/acked_stderr.ts";
import type { Executor } from "../executor.ts";
import { jobVariables } from "../job_variables.ts";
import { OutputReader } from "./output_reader.ts";
import { endGroup } from "./group.ts";
import { findProgram, isFolder } from "./program.ts";
import { failureDetails } from "../failure_details.ts";

export interface ProcessExecutorOptions extends StderrOptions {
  /** The program, as a path or a name in PATH, and its arguments. No shell reads them. */
  readonly command: readonly [program: string, ...args: string[]];
  /** How the payload is passed: on STDIN, as the last argument, or as the variable `payloadVariable`. */
  readonly payload: "stdin" | "argument" | "environment";
  /** The environment variable for the payload, with `payload = "environment"`. */
  readonly payloadVariable: string;
  /** Its working directory, absolute; undefined for the worker's own. */
  readonly directory: string | undefined;
  /** Environment variables beside the worker's own and the job's. */
  readonly env: Readonly<Record<string, string>>;
  /** The meaning of exit codes; others mean retry. */
  readonly exitCodes: ReadonlyMap<number, "ack" | "retry" | "bury">;
  /** The time from TERM to KILL for a process that timed out, milliseconds. */
  readonly killAfterMs: number;
  /** How much of STDERR is kept, bytes: half from its beginning, half from its end. */
  readonly maxStderrBytes: number;
}

export const DEFAULT_PROCESS_EXECUTOR_OPTIONS: Omit<ProcessExecutorOptions, "command"> = {
  payload: "stdin",
  payloadVariable: "FERVO_PAYLOAD",
  directory: undefined,
  env: {},
  exitCodes: new Map([[0, "ack"]]),
  killAfterMs: 5_000,
  maxStderrBytes: 16_384,
  ...DEFAULT_STDERR_OPTIONS,
};

/** How long STDERR is read after a process has ended, milliseconds: children that it left may keep it open for ever. */
const STDERR_GRACE_MS = 200;

/** Why the machine cannot start any process now, by error code (errno(3)). */
const NOT_NOW: Readonly<Record<string, string>> = {
  EAGAIN: 'too many processes; lower "concurrency", or raise the limit of processes (ulimit -u, pids.max)',
  ENOMEM: 'out of memory; lower "concurrency"',
  EMFILE: "too many open files; raise the worker's limit (ulimit -n)",
  ENFILE: "too many open files on this machine",
  ETXTBSY: "the file is being written",
};

/**
 * Runs each job as one process.
 *
 * 1. Starts the configured command without a shell: a message supplies the job's values and the payload, never the program,
 *    another argument or a variable's name.
 * 2. Reads the exit code by `exitCodes`; a process that a signal ended has crashed.
 * 3. Ends the process with all its descendants when the job is aborted (see `endGroup`), and keeps the slot until then: there
 *    are never more processes than slots, and no overlapping runs of one job.
 * 4. Looks for the program and its folder again when they were missing.
 */
export class ProcessExecutor implements Executor {
  readonly #clock: Clock;
  readonly #options: ProcessExecutorOptions;
  readonly #output: OutputListener | undefined;
  readonly #ackedStderr: AckedStderr;
  /** Running jobs, and groups that are being ended. */
  readonly #underWay = new Set<Promise<unknown>>();

  /** @param deps.output Receives the output of processes; without it, STDOUT goes nowhere. */
  constructor(
    deps: { clock: Clock; observe: Observer; output?: OutputListener },
    options: ProcessExecutorOptions,
  ) {
    this.#clock = deps.clock;
    this.#output = deps.output;
    this.#options = options;
    this.#ackedStderr = new AckedStderr(deps, options);
  }

  get abortMs(): number {
    return this.#options.killAfterMs + STDERR_GRACE_MS;
  }

  execute(job: Job, signal: AbortSignal): Promise<Outcome> {
    return this.#track(this.#run(job, signal));
  }

  /** Checks the program and the folder; other causes show with the next job. */
  async probe(cause: FervoError): Promise<FervoError | undefined> {
    if (!isMisconfigured(cause)) return undefined;
    const { directory } = this.#options;
    if (directory !== undefined && !await isFolder(directory)) return noFolder(this.#options);
    const program = await findProgram(this.#options);
    if (program === undefined) return noProgram(this.#options);
    return program.isExecutable ? undefined : notPermitted(this.#options);
  }

  async close(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(job: Job, signal: AbortSignal): Promise<Outcome> {
    if (signal.aborted) return outcomeOfAbort(signal.reason, {});
    const { payload, exitCodes, killAfterMs, maxStderrBytes } = this.#options;
    let child: Deno.ChildProcess;
    try {
      child = this.#spawn(job);
    } catch (error) {
      return outcomeOfFailedStart(error, this.#options);
    }
    const output = this.#output;
    const stderr = output === undefined ? child.stderr : told(child.stderr, (piece) => output.stderr(piece));
    const errors = new OutputReader(stderr, maxStderrBytes);
    const stdout = output && new OutputReader(told(child.stdout, (piece) => output.stdout(piece)), 0);
    if (payload === "stdin") void feed(child.stdin, job.payload);
    let ending: Promise<void> | undefined;
    const end = () => ending = this.#track(endGroup(child, this.#clock, killAfterMs));
    signal.addEventListener("abort", end);
    const status = await child.status;
    signal.removeEventListener("abort", end);
    // An abort after this comes too late: the job has ended by itself.
    const wasAborted = signal.aborted;
    // The next run must not meet what this run has started.
    await ending;
    await stdout?.end(this.#clock, STDERR_GRACE_MS);
    const written = await errors.end(this.#clock, STDERR_GRACE_MS);
    const details = failureDetails(written, child.pid);
    if (wasAborted) return outcomeOfAbort(signal.reason, details);
    const outcome = outcomeOfExit(status, details, exitCodes);
    return outcome === ACK ? this.#ackedStderr.outcomeOf(job, written, child.pid) : outcome;
  }

  #spawn(job: Job): Deno.ChildProcess {
    const { command: [program, ...args], payload, payloadVariable, directory, env } = this.#options;
    const variables = jobVariables(job);
    if (job.traceparent !== undefined) variables.push(["TRACEPARENT", job.traceparent]);
    if (job.tracestate !== undefined) variables.push(["TRACESTATE", job.tracestate]);
    for (const [name, value] of variables) {
      if (!value.includes("\0")) continue;
      const text = `Cannot start the program "${program}": the job's value for "${name}" has a NUL byte`;
      throw new JobError("JOB_MALFORMED", text);
    }
    if (payload === "argument") args.push(payloadText(job.payload, "an argument"));
    if (payload === "environment") {
      variables.push([payloadVariable, payloadText(job.payload, `the variable "${payloadVariable}"`)]);
    }
    return new Deno.Command(program, {
      args,
      env: { ...env, ...Object.fromEntries(variables) },
      ...(directory !== undefined && { cwd: directory }),
      // Its own group, so that it can be ended as a whole, and Ctrl-C at the worker's terminal does not reach it.
      detached: true,
      stdin: payload === "stdin" ? "piped" : "null",
      stdout: this.#output === undefined ? "null" : "piped",
      stderr: "piped",
    }).spawn();
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const done = () => void this.#underWay.delete(work);
    this.#underWay.add(work);
    work.then(done, done);
    return work;
  }
}

/** The same stream; `tell` gets each piece. */
function told(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  tell: (piece: Uint8Array) => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return stream.pipeThrough(
    new TransformStream({
      transform: (piece, controller) => {
        tell(piece);
        controller.enqueue(piece);
      },
    }),
  );
}

/** Writes the payload. A process need not read it: unread bytes are no failure. */
async function feed(stdin: WritableStream<Uint8Array>, payload: Uint8Array): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(payload);
    await writer.close();
  } catch {
    // It closed its STDIN, or ended.
  }
}

function outcomeOfExit(
  { code, signal }: Deno.CommandStatus,
  known: ErrorDetails,
  exitCodes: ProcessExecutorOptions["exitCodes"],
): Outcome {
  if (signal !== null) {
    const details = { ...known, signal };
    return {
      kind: "retry",
      error: new JobError("JOB_CRASHED", `The process was ended by ${signal}`, { details }),
    };
  }
  const kind = exitCodes.get(code) ?? "retry";
  if (kind === "ack") return ACK;
  const details = { ...known, exitCode: code };
  return { kind, error: new JobError("JOB_FAILED", `The process ended with exit code ${code}`, { details }) };
}

/** @param reason Why the job was aborted: a FervoError (see `Executor`). */
function outcomeOfAbort(reason: unknown, known: ErrorDetails): Outcome {
  if (!(reason instanceof FervoError)) return outcomeOfFault(reason);
  if (reason.code === "SHUTDOWN") return { kind: "release", reason: "shutdown", error: reason };
  const details = { ...reason.details, ...known };
  return { kind: "retry", error: new JobError(reason.code, reason.message, { details, cause: reason }) };
}

/** The meaning for a job of a process that could not start. */
export function outcomeOfFailedStart(
  error: unknown,
  options: Place,
): Outcome {
  const { command: [program], directory } = options;
  if (error instanceof JobError) return { kind: "bury", error };
  const cannot = cannotStart(program);
  const malformed = (reason: string): Outcome => ({
    kind: "bury",
    error: new JobError("JOB_MALFORMED", `${cannot}: ${reason}`, { cause: error }),
  });
  const misconfigured = (error: FervoError): Outcome => ({ kind: "release", reason: "misconfigured", error });
  // The system's errors have a code; any other error is no fault of the system or the job.
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
  if (code === undefined) return outcomeOfFault(error);
  if (NOT_NOW[code] !== undefined) {
    const unavailable = new FervoError("PROCESS_FAILED", `${cannot}: ${NOT_NOW[code]}`, { cause: error });
    return { kind: "release", reason: "unavailable", error: unavailable };
  }
  switch (code) {
    case "E2BIG":
      return malformed(
        'the job is too long for arguments and variables, which hold 128 KiB each at most; use payload = "stdin"',
      );
    case "ENOENT":
      return misconfigured(
        directory !== undefined && !isFolderNow(directory)
          ? noFolder(options, error)
          : noProgram(options, error),
      );
    case "EACCES":
      return misconfigured(notPermitted(options, error));
    default:
      return misconfigured(unusable(options, `: ${reasonOf(error)}; correct "command"`, error));
  }
}

type Place = Pick<ProcessExecutorOptions, "command" | "directory">;

function noFolder(place: Place, cause?: unknown): FervoError {
  return unusable(place, ` in "${place.directory}": no such folder; correct "directory"`, cause);
}

function noProgram(place: Place, cause?: unknown): FervoError {
  const reason = "there is no such program, or the interpreter that its first line names is missing";
  return unusable(place, `: ${reason}; correct "command"`, cause);
}

function notPermitted(place: Place, cause?: unknown): FervoError {
  const where = place.directory === undefined ? "" : ` in "${place.directory}"`;
  const advice = "make it executable, and let the worker's user reach it";
  return unusable(place, `${where}: permission denied; ${advice}`, cause);
}

function unusable({ command: [program] }: Place, reason: string, cause: unknown): FervoError {
  return new FervoError("PROCESS_MISCONFIGURED", `${cannotStart(program)}${reason}`, {
    ...(cause !== undefined && { cause }),
  });
}

function cannotStart(program: string): string {
  return `Cannot start the program "${program}"`;
}

function isFolderNow(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
