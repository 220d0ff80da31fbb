import { resolve } from "node:path";
import deno from "../../../../deno.json" with { type: "json" };
import { Bench, type BenchOptions, type BenchRun } from "../../../bench/bench.ts";
import { csvReport } from "../../../bench/csv_report.ts";
import { evaluate } from "../../../bench/evaluate.ts";
import { figure } from "../../../bench/format.ts";
import { htmlReport, samplesOf } from "../../../bench/html_report.ts";
import { describeMachine } from "../../../bench/machine.ts";
import { type BenchResult, type Conditions, MODE_NAMES, type ModeName } from "../../../bench/result.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { fileReason } from "../../../core/text/file_error.ts";
import { formatAddress } from "../../../fastcgi/address.ts";
import type { BenchFlags } from "./flags.ts";
import { BenchOutput } from "./output.ts";
import { type BenchTarget, configuredTarget, ownTarget } from "./target.ts";
import { textReport } from "./text.ts";
import type { Context } from "../../context.ts";
import { ExitCode } from "../../exit_code.ts";
import type { Io } from "../../io.ts";
import { counted } from "../../../core/text/plural.ts";
import { readConfig } from "../../settings.ts";

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Ends the program with a message about its command line. */
type Fail = (text: string) => never;

/**
 * Measures, and writes the requested reports.
 *
 * 1. Finds mistakes before it starts anything.
 * 2. Asks before it sends jobs to a php-fpm that is not its own.
 * 3. Stops at the first signal and reports what it has; a second one ends it without a report. It ends everything that it has
 *    started in either case.
 */
export async function bench(context: Context, flags: BenchFlags, fail: Fail): Promise<void> {
  const { io, setExitCode } = context;
  io.live("err");
  const payload = await readPayload(flags.payload, fail);
  const configFile = flags.own ? undefined : flags.config ?? (io.env("FERVO_CONFIG") || undefined);
  refuseForeignFlags(flags, configFile, fail);
  if (configFile !== undefined && !flags.yes && !io.isAttended) {
    fail(
      `Cannot ask before sending jobs to the php-fpm of "${configFile}": not an interactive terminal; pass --yes to ` +
        "confirm, or --own to use a php-fpm of bench's own",
    );
  }
  await using output = await BenchOutput.open(io, flags, fail);
  const started = { atMs: systemClock.nowMs(), monotonicMs: systemClock.monotonicMs() };
  const machine = await describeMachine();
  const signals = new StopSignals();
  using _signals = signals.listen();

  const work = measure();
  // After a second signal nobody waits for it; its own scope still ends its processes.
  if (await Promise.race([work, signals.twice]) === "twice") {
    setExitCode(ExitCode.interrupted);
    await work.catch(() => {});
    return;
  }

  async function measure(): Promise<void> {
    await using opened = await openTarget(context, flags, configFile);
    const modes = chooseModes(flags, opened, fail);
    const options: BenchOptions = {
      modes,
      jobs: flags.jobs,
      warmup: flags.warmup,
      repeat: flags.repeat,
      concurrency: flags.concurrency ?? opened.concurrency ?? opened.children ?? 4,
      children: opened.children,
      ratePerS: flags.rate,
      queue: flags.queue ?? opened.queue,
      payload,
      timeoutMs: flags.timeout,
    };
    const runner = new Bench({
      clock: systemClock,
      target: opened.target,
      usageOf: opened.usageOf,
      onRound: (mode, round, { throughput_per_s }) => {
        if (io.isErrTerminal) return;
        io.err(`Round ${round} of ${flags.repeat}: ${mode} ${figure(throughput_per_s)} jobs/s\n`);
      },
    }, options);
    if (opened.kind === "configured") {
      const interrupted = new Promise<false>((resolve) =>
        signals.stop.addEventListener("abort", () => resolve(false))
      );
      if (!await Promise.race([agrees(io, flags, opened, runner, options), interrupted])) {
        io.err("Nothing was run\n");
        return setExitCode(signals.stop.aborted ? ExitCode.interrupted : ExitCode.failed);
      }
    } else {
      io.err(whatWasStarted(opened));
    }
    const run = await withProgress(io, runner, () => runner.run(signals.stop, flags.modes === undefined));
    if (signals.hasTwo) return;
    const conditions = conditionsOf(opened, options, machine, started, run);
    const result = evaluate(run, conditions, notesOf(flags, opened, run));
    await io.flush();
    await output.write({
      text: () => textReport(result),
      json: () => `${JSON.stringify(result, null, 2)}\n`,
      csv: () => csvReport(result),
      html: () => htmlReport(result, samplesOf(run)),
    });
    setExitCode(exitCodeOf(io, result));
  }
}

async function openTarget(
  context: Context,
  flags: BenchFlags,
  configFile: string | undefined,
): Promise<BenchTarget> {
  const deps = { clock: systemClock, env: context.io.env };
  if (configFile === undefined) {
    const children = flags.children ?? Math.max(4, 2 * navigator.hardwareConcurrency);
    return await ownTarget(deps, { children, script: flags.script });
  }
  const config = await readConfig(context, configFile);
  const { consumer, fpm, process } = flags;
  return await configuredTarget(deps, config, { consumer, fpm, process });
}

function refuseForeignFlags(flags: BenchFlags, configFile: string | undefined, fail: Fail): void {
  const own = ["children", "script"] as const;
  const configured = ["consumer", "fpm", "process"] as const;
  for (const name of configFile === undefined ? configured : own) {
    if (flags[name] === undefined) continue;
    fail(
      configFile === undefined
        ? `Cannot use "--${name}" without a configuration: name one with --config`
        : `Cannot use "--${name}" with a configuration: it is for the php-fpm that bench starts by itself (--own)`,
    );
  }
}

function chooseModes(flags: BenchFlags, { whyNoProcess }: BenchTarget, fail: Fail): ModeName[] {
  const modes = MODE_NAMES.filter((name) => flags.modes?.includes(name) ?? true);
  if (whyNoProcess === undefined || !modes.includes("process")) return modes;
  if (flags.modes !== undefined) fail(`The mode process cannot be measured: ${whyNoProcess}`);
  return modes.filter((name) => name !== "process");
}

function notesOf(flags: BenchFlags, { whyNoProcess, notes }: BenchTarget, run: BenchRun): string[] {
  const left = (why: string) => `The mode process was left out: ${why}`;
  const isWanted = flags.modes?.includes("process") ?? true;
  return [
    ...notes,
    ...(whyNoProcess !== undefined && isWanted ? [left(whyNoProcess)] : []),
    ...(run.processFailure === undefined ? [] : [left(run.processFailure.message)]),
  ];
}

async function readPayload(text: string, fail: Fail): Promise<Uint8Array> {
  if (!text.startsWith("@")) return new TextEncoder().encode(text);
  const file = text.slice(1);
  try {
    return await Deno.readFile(file);
  } catch (error) {
    return fail(`Cannot read the payload from "${file}": ${fileReason(error)}`);
  }
}

function whatWasStarted({ fpmVersion, phpVersion, children, target }: BenchTarget): string {
  const cli = phpVersion === null ? "" : `, php ${phpVersion}`;
  return `Started php-fpm ${fpmVersion}${cli}: ${counted(children!, "child", "children")} at "${
    formatAddress(target.pool.address)
  }"\n`;
}

async function agrees(
  io: Io,
  flags: BenchFlags,
  { name, target }: BenchTarget,
  runner: Bench,
  { queue, payload, modes }: BenchOptions,
): Promise<boolean> {
  if (flags.yes) return true;
  const { pool, request, process } = target;
  const most = runner.most();
  const text = new TextDecoder().decode(payload.subarray(0, 60));
  const lines = [
    `This sends up to ${figure(most.requests)} requests to the php-fpm pool [fpm.${name}] at "${
      formatAddress(pool.address)
    }";`,
    `each runs "${request.script}" as a job of the queue "${queue}", with the payload ${
      JSON.stringify(text)
    } (${counted(payload.length, "byte")}).`,
    ...(modes.includes("process") && process !== undefined
      ? [`It also runs "${process.command.join(" ")}" up to ${figure(most.processes)} times.`]
      : []),
  ];
  io.err(`${lines.join("\n")}\n`);
  return await io.confirm("Go on?");
}

async function withProgress<T>(io: Io, runner: Bench, run: () => Promise<T>): Promise<T> {
  if (!io.isErrTerminal) return await run();
  const { startProgress } = await import("../run/progress.ts");
  using _progress = startProgress(io, runner.total, () => runner.ended);
  return await run();
}

function conditionsOf(
  { kind, target, pm, children, phpVersion, fpmVersion }: BenchTarget,
  options: BenchOptions,
  machine: Awaited<ReturnType<typeof describeMachine>>,
  started: { atMs: number; monotonicMs: number },
  run: BenchRun,
): Conditions {
  const { pool, request, process } = target;
  return {
    fervo_worker_version: deno.version,
    ...machine,
    php_version: phpVersion,
    php_fpm_version: fpmVersion,
    pool: kind,
    address: formatAddress(pool.address),
    transport: pool.address.transport,
    pm,
    children: children ?? null,
    script: resolve(request.script),
    process_command: options.modes.includes("process") && process !== undefined
      ? commandOf(kind, process.command)
      : null,
    queue: options.queue,
    payload_bytes: options.payload.length,
    jobs: options.jobs,
    concurrency: options.concurrency,
    warmup: options.warmup,
    repeat: options.repeat,
    rate_per_s: options.ratePerS ?? null,
    timeout_ms: options.timeoutMs,
    started_at: new Date(started.atMs).toISOString(),
    duration_s: (systemClock.monotonicMs() - started.monotonicMs) / 1_000,
    complete: run.isComplete,
  };
}

/** The arguments of a configured command may be secret: only their number is shown. */
function commandOf(kind: BenchTarget["kind"], [program, ...args]: readonly [string, ...string[]]): string[] {
  if (kind === "own" || args.length === 0) return [program, ...args];
  return [program, `(${counted(args.length, "argument")})`];
}

function exitCodeOf(io: Io, { conditions, modes }: BenchResult): ExitCode {
  if (!conditions.complete) return ExitCode.interrupted;
  const slow = modes.filter(({ rate }) => rate?.met === false).map(({ mode }) => mode);
  const failing = modes.filter(({ failed }) => failed > 0).map(({ mode }) => mode);
  if (slow.length > 0) io.err(`fervo-worker: The rate could not be kept: ${slow.join(", ")}\n`);
  if (failing.length > 0) io.err(`fervo-worker: Jobs failed: ${failing.join(", ")}\n`);
  return slow.length + failing.length > 0 ? ExitCode.failed : ExitCode.ok;
}

/** The signals that stop the program: the first one ends the measurement, the second one everything. */
class StopSignals {
  readonly #stop = new AbortController();
  readonly #twice = Promise.withResolvers<"twice">();
  #count = 0;

  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  get twice(): Promise<"twice"> {
    return this.#twice.promise;
  }

  get hasTwo(): boolean {
    return this.#count > 1;
  }

  listen(): Disposable {
    const count = () => {
      this.#stop.abort();
      if (++this.#count === 2) this.#twice.resolve("twice");
    };
    for (const signal of STOP_SIGNALS) Deno.addSignalListener(signal, count);
    return {
      [Symbol.dispose]: () => {
        for (const signal of STOP_SIGNALS) Deno.removeSignalListener(signal, count);
      },
    };
  }
}
