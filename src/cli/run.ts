import { Command } from "@commander-js/extra-typings";
import { createApp } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import { type Observer, tellAll } from "../core/observer.ts";
import { createLog, logObserver } from "../telemetry/log.ts";
import { Tally, type TallySummary } from "../telemetry/tally.ts";
import type { Context } from "./context.ts";
import { ExitCode, exitCodeOf } from "./exit_code.ts";
import { configOption } from "./options.ts";
import { readConfig } from "./settings.ts";

const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGQUIT"] as const;

export function runCommand({ io, setExitCode }: Context) {
  return new Command("run")
    .summary("run jobs")
    .description(
      "Takes jobs from the configured queues and runs each as a request to php-fpm, until it is stopped. SIGTERM, " +
        "SIGINT or SIGQUIT: no new jobs, those that run may finish; a second signal puts them back and ends now.",
    )
    .addOption(configOption())
    .option(
      "--until-empty",
      "end when no queue has a job left, not even a delayed one, and print a summary",
      false,
    )
    .option("--progress", "show a progress bar also where standard error is no terminal", false)
    .option("--json", "print the summary as JSON", false)
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
      const { level, format } = config.log;
      const log = await createLog(io.err, {
        level,
        isPretty: format === "pretty" || (format === "auto" && io.isErrTerminal),
      });
      const observers: Observer[] = [logObserver(log)];
      const tally = options.untilEmpty ? await Tally.create(systemClock) : undefined;
      if (tally !== undefined) observers.push(tally.observe);

      await using app = await createApp(config, { clock: systemClock, observe: tellAll(observers) });
      const wantsProgress = options.untilEmpty && (options.progress || io.isErrTerminal);
      using _progress = tally && wantsProgress ? await showProgress(app.sources, tally) : undefined;
      using _signals = onSignals(() => app.worker.stop());
      const result = await app.worker.run(options);

      if (tally !== undefined) {
        io.out(options.json ? `${JSON.stringify(toJson(tally.summary()))}\n` : toText(tally.summary()));
      }
      if (result.orphaned > 0) setExitCode(ExitCode.failed);
      for (const fault of result.faults) setExitCode(exitCodeOf(fault.code));
    });
}

function onSignals(stop: () => void): Disposable {
  for (const signal of STOP_SIGNALS) Deno.addSignalListener(signal, stop);
  return {
    [Symbol.dispose]: () => {
      for (const signal of STOP_SIGNALS) Deno.removeSignalListener(signal, stop);
    },
  };
}

async function showProgress(
  sources: readonly {
    driver: { depth(queue: string): Promise<{ ready: number; delayed: number; reserved: number }> };
    queues: readonly string[];
  }[],
  tally: Tally,
): Promise<Disposable> {
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

/** The summary as \`--json\` prints it. */
function toJson({ done, retried, dead, released, leasesLost, seconds, jobsPerSecond, runMs }: TallySummary) {
  return {
    done,
    retried,
    dead,
    released,
    leases_lost: leasesLost,
    seconds,
    jobs_per_s: jobsPerSecond,
    run_ms: runMs,
  };
}

function toText({ done, retried, dead, seconds, jobsPerSecond, runMs }: TallySummary): string {
  const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
  return [
    `Done:     ${done} jobs in ${seconds.toFixed(1)} s (${Math.round(jobsPerSecond)} jobs/s)`,
    `Retried:  ${retried} tries failed and were tried again`,
    `Dead:     ${dead} jobs${dead > 0 ? "; see: fervo-worker dead list" : ""}`,
    `Run time: p50 ${ms(runMs.p50)}, p95 ${ms(runMs.p95)}, max ${ms(runMs.max)}`,
    "",
  ].join("\n");
}
