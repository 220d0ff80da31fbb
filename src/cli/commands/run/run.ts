import { wholeNumber } from "../../arguments.ts";
import { aliveIn, UNKNOWN_DEPTH } from "../../../core/admin.ts";
import deno from "../../../../deno.json" with { type: "json" };
import { Command, Option } from "@commander-js/extra-typings";
import { resolve } from "node:path";
import { type App, createApp } from "../../../app/app.ts";
import type { Config, TracingConfig } from "../../../config/config.ts";
import { formatAddress } from "../../../net/address.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { reasonOf } from "../../../core/errors.ts";
import { type Observer, tellAll } from "../../../core/observer.ts";
import { createLog, type Log } from "../../../telemetry/log.ts";
import { logObserver } from "../../../telemetry/log_observer.ts";
import { Tally } from "../../../telemetry/tally.ts";
import { DEFAULT_SETTLE_MS, type RunResult } from "../../../worker/worker.ts";
import type { Context } from "../../context.ts";
import { ExitCode } from "../../exit_code.ts";
import { stackOf } from "../../faults.ts";
import { jsonLine } from "../../text/json_line.ts";
import type { Io } from "../../io.ts";
import { Monitoring } from "../../../app/monitoring.ts";
import { configOption } from "../../options.ts";
import { summaryJson, summaryText } from "./summary.ts";
import { ServiceState } from "../../../app/service_state.ts";
import { configPath, readConfig } from "../../settings.ts";
import { Reloads } from "../../../app/reloads.ts";
import { dumpState } from "../../../app/state_dump.ts";
import { onSignals, STOP_SIGNALS } from "./signals.ts";
import { serveControl } from "../../../app/commands.ts";
import { WorkerStatus } from "../../../app/worker_status.ts";

const FAULT =
  "This is a fault in fervo-worker itself; please report it. The worker takes no more jobs and ends";
const FAULT_AGAIN = "This is another fault in fervo-worker itself; please report it. The worker ends now";

export function runCommand(context: Context) {
  const { io, setExitCode, faults } = context;
  return new Command("run")
    .summary("run jobs")
    .description(
      "Takes jobs from the configured queues and runs each as a request to php-fpm, until it is stopped. SIGTERM, " +
        "SIGINT or SIGQUIT: take no new jobs, and let running jobs finish; a second signal puts them back and ends at once. " +
        "SIGTSTP: take no new jobs until it is stopped. SIGHUP: read the configuration again, and use it without losing a job. " +
        "SIGUSR1: write the current state into the log.",
    )
    .addOption(configOption())
    .option(
      "--until-empty",
      "end when no queue has a job left, not even a delayed one, and print a summary. Exit code 4 if the script or program " +
        "of the jobs is missing, 5 if jobs became dead letters and everything else went well",
    )
    .addOption(
      new Option(
        "--settle-ms <ms>",
        "with --until-empty, if the broker cannot count its jobs: end when no job has come for this long",
      )
        .argParser(wholeNumber(0)).default(DEFAULT_SETTLE_MS, `${DEFAULT_SETTLE_MS / 1_000} s`),
    )
    .option("--progress", "show a progress bar even if standard error is not a terminal")
    .option("--json", "print the summary as JSON")
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker run
  $ fervo-worker run --config /etc/fervo-worker/mail.toml
  $ fervo-worker run --until-empty --json`,
    )
    .action(async (options) => {
      const named = await configPath(io, options.config);
      const config = await readConfig(context, named);
      const file = resolve(named);
      // The starting folder may be removed while it runs, and no program could start from there then.
      Deno.chdir("/");
      const untilEmpty = options.untilEmpty === true;
      // A terminal that cannot go back to the beginning of a line is like a file.
      const isScreen = io.isErrTerminal && io.env("TERM") !== "dumb";
      const wantsProgress = untilEmpty && (options.progress === true || isScreen);
      const { level, format } = config.log;
      // On a terminal the bar is in the last line: a log line replaces it, and the bar is drawn again below.
      const before = wantsProgress && isScreen ? "\r\x1b[K" : "";
      const lines = io.live("err");
      const log = await createLog((line) => lines.write(`${before}${line}`), {
        level,
        isPretty: format === "pretty" || (format === "auto" && io.isErrTerminal),
        // https://no-color.org
        hasColors: isScreen && (io.env("NO_COLOR") ?? "") === "",
      });
      log.info({ version: deno.version, config: file }, "fervo-worker starts");
      let stop = (): boolean => false;
      let isFaulty = false;
      faults.handleBy((error) => {
        log.error(
          { error: reasonOf(error), stack: stackOf(error) },
          isFaulty ? FAULT_AGAIN : FAULT,
        );
        isFaulty = true;
        return stop();
      });
      lines.onDropped((dropped) => log.error({ lines: dropped }, "Log lines were dropped before this one"));
      const status = new WorkerStatus({ clock: systemClock, log: lines }, {
        configFile: file,
        http: config.http && formatAddress(config.http.listen),
      });
      using service = await ServiceState.open(log);
      const observers: Observer[] = [logObserver(log, systemClock), status.observe];
      if (service !== undefined) observers.push(service.observe);
      const tally = untilEmpty ? await Tally.create(systemClock) : undefined;
      if (tally !== undefined) observers.push(tally.observe);

      using monitoring = config.http && new Monitoring({ log: lines }, config.http);
      if (monitoring !== undefined) observers.push(monitoring.observe);

      const ended = Promise.withResolvers<ExitCode>();
      // Outlives the worker: a command that waits for its end gets the exit code.
      await using control = new AsyncDisposableStack();
      let result: RunResult;
      {
        // Outlives the worker, too: the last spans are of jobs that end with it.
        await using tracing = config.tracing && await startTracing(config.tracing, () => app.config, log);
        if (tracing !== undefined) observers.push(tracing.observe);
        await using app = await createApp(config, {
          clock: systemClock,
          observe: tellAll(observers),
          isPatient: !untilEmpty,
          ...(tracing && { tracer: tracing.tracer }),
        });
        stop = () => {
          app.worker.drain();
          return true;
        };
        await using _server = await monitoring?.serve(app, log);
        using _stop = onSignals(STOP_SIGNALS, () => app.worker.stop());
        using _quiet = onSignals(["SIGTSTP"], () => app.worker.quiet());
        const socket = untilEmpty ? undefined : config.controlSocket;
        const started = Promise.withResolvers<void>();
        const reloads = new Reloads({
          app,
          log,
          setLevel: (level) => log.level = level,
          read: () => readConfig(context, file),
          service,
          started: started.promise,
        });
        using _dump = onSignals(["SIGUSR1"], () => void dumpState(app, status, log));
        // The log has the reason.
        using _reload = untilEmpty
          ? undefined
          : onSignals(["SIGHUP"], () =>
            void reloads.request().then(({ finished }) => finished).catch(() => {}));
        await serveControl(socket, { app, status, reloads, ended: ended.promise, log }, control);
        const running = runWithProgress(
          app,
          { untilEmpty, settleMs: options.settleMs },
          wantsProgress && tally ? { tally, io } : undefined,
        );
        service?.ready(app);
        started.resolve();
        result = await running;
      }

      if (tally !== undefined) {
        const summary = tally.summary();
        // Both may go to one terminal.
        await io.flush();
        const { uncounted } = result;
        io.out(
          options.json ? jsonLine(summaryJson(summary, uncounted)) : summaryText(summary, uncounted),
        );
      }
      const exitCode = isFaulty ? ExitCode.failed : exitCodeOfRun(result, tally?.dead);
      setExitCode(exitCode);
      ended.resolve(exitCode);
    });
}

/** Loaded only with traces. */
async function startTracing(options: TracingConfig, configNow: () => Config, log: Log) {
  const { openTracing } = await import("../../../app/tracing.ts");
  return openTracing(options, configNow, log);
}

/** @param dead Dead letters of a run that ends by itself. Other runs have no such number. */
function exitCodeOfRun({ orphaned, faults }: RunResult, dead = 0): ExitCode {
  if (faults.length > 0) return ExitCode.unavailable;
  if (orphaned > 0) return ExitCode.failed;
  return dead > 0 ? ExitCode.died : ExitCode.ok;
}

async function runWithProgress(
  app: App,
  options: { untilEmpty: boolean; settleMs: number },
  shown: { tally: Tally; io: Io } | undefined,
): Promise<RunResult> {
  using _progress = shown && await showProgress(app.sources, shown);
  return await app.worker.run(options);
}

async function showProgress(
  sources: App["sources"],
  { tally, io }: { tally: Tally; io: Io },
): Promise<Disposable> {
  const { startProgress } = await import("./progress.ts");
  let total = 0;
  for (const { broker, queues } of sources) {
    for (const queue of queues) {
      total += aliveIn(await broker.admin.depth?.(queue) ?? UNKNOWN_DEPTH);
    }
  }
  return startProgress(io, total, () => tally.finished);
}
