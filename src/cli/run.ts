import { Command } from "@commander-js/extra-typings";
import { type App, createApp } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import { type Observer, tellAll } from "../core/observer.ts";
import { createLog, logObserver } from "../telemetry/log.ts";
import { Tally, type TallySummary } from "../telemetry/tally.ts";
import type { RunResult } from "../worker/worker.ts";
import type { Context } from "./context.ts";
import { ExitCode, exitCodeOf } from "./exit_code.ts";
import { Monitoring } from "./monitoring.ts";
import { configOption } from "./options.ts";
import { counted } from "./plural.ts";
import { readConfig } from "./settings.ts";
import { onSignals, STOP_SIGNALS } from "./signals.ts";

export function runCommand({ io, setExitCode }: Context) {
  return new Command("run")
    .summary("run jobs")
    .description(
      "Takes jobs from the configured queues and runs each as a request to php-fpm, until it is stopped. SIGTERM, " +
        "SIGINT or SIGQUIT: no new jobs, those that run may finish; a second signal puts them back and ends now. " +
        "SIGTSTP: no new jobs, until it is stopped.",
    )
    .addOption(configOption())
    .option(
      "--until-empty",
      "end when no queue has a job left, not even a delayed one, and print a summary",
    )
    .option("--progress", "show a progress bar also where standard error is no terminal")
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
      const config = await readConfig(io, options.config);
      const untilEmpty = options.untilEmpty === true;
      const wantsProgress = untilEmpty && (options.progress === true || io.isErrTerminal);
      const { level, format } = config.log;
      // On a terminal the bar stands in the last line: a log line takes its place, and the bar is drawn again below.
      const write = wantsProgress && io.isErrTerminal ? (line: string) => io.err(`\r\x1b[K${line}`) : io.err;
      const log = await createLog(write, {
        level,
        isPretty: format === "pretty" || (format === "auto" && io.isErrTerminal),
      });
      const observers: Observer[] = [logObserver(log)];
      const tally = untilEmpty ? await Tally.create(systemClock) : undefined;
      if (tally !== undefined) observers.push(tally.observe);

      using monitoring = config.http && new Monitoring(config.http);
      if (monitoring !== undefined) observers.push(monitoring.observe);

      await using app = await createApp(config, { clock: systemClock, observe: tellAll(observers) });
      await using _server = await monitoring?.serve(app, log);
      using _stop = onSignals(STOP_SIGNALS, () => app.worker.stop());
      using _quiet = onSignals(["SIGTSTP"], () => app.worker.quiet());
      const result = await runWithProgress(app, untilEmpty, wantsProgress ? tally : undefined);

      if (tally !== undefined) {
        io.out(options.json ? `${JSON.stringify(toJson(tally.summary()))}\n` : toText(tally.summary()));
      }
      if (result.orphaned > 0) setExitCode(ExitCode.failed);
      for (const fault of result.faults) setExitCode(exitCodeOf(fault.code));
    });
}

async function runWithProgress(app: App, untilEmpty: boolean, tally: Tally | undefined): Promise<RunResult> {
  using _progress = tally && await showProgress(app.sources, tally);
  return await app.worker.run({ untilEmpty });
}

async function showProgress(sources: App["sources"], tally: Tally): Promise<Disposable> {
  const { startProgress } = await import("./progress.ts");
  let total = 0;
  for (const { driver, queues } of sources) {
    for (const queue of queues) {
      const { ready, delayed, reserved } = await driver.depth(queue);
      total += ready + delayed + reserved;
    }
  }
  return startProgress(total, () => tally.finished);
}

/** The summary as `--json` prints it. */
function toJson(summary: TallySummary) {
  const { done, retried, dead, released, leasesLost, recovered, seconds, jobsPerSecond, runMs } = summary;
  return {
    done,
    retried,
    dead,
    released,
    leases_lost: leasesLost,
    recovered,
    seconds: rounded(seconds, 3),
    jobs_per_s: rounded(jobsPerSecond, 1),
    run_ms: {
      p50: rounded(runMs.p50, 3),
      p95: rounded(runMs.p95, 3),
      p99: rounded(runMs.p99, 3),
      max: rounded(runMs.max, 3),
    },
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function toText({ done, retried, dead, seconds, jobsPerSecond, runMs }: TallySummary): string {
  const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
  return [
    `Done:     ${counted(done, "job")} in ${seconds.toFixed(1)} s (${Math.round(jobsPerSecond)} jobs/s)`,
    `Retried:  ${counted(retried, "try", "tries")} failed and ${retried === 1 ? "was" : "were"} tried again`,
    `Dead:     ${counted(dead, "job")}${dead > 0 ? "; see: fervo-worker dead list" : ""}`,
    `Run time: p50 ${ms(runMs.p50)}, p95 ${ms(runMs.p95)}, max ${ms(runMs.max)}`,
    "",
  ].join("\n");
}
