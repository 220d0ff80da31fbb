import { Command } from "@commander-js/extra-typings";
import { resolve } from "node:path";
import { findControlSocket } from "../../config/options/control.ts";
import { command, DEFAULT_PATIENCE } from "../../control/control_client.ts";
import type { ControlRequest } from "../../control/protocol.ts";
import { sleep, systemClock } from "../../core/time/clock.ts";
import { FervoError } from "../../core/errors.ts";
import { whyUnreadable } from "../../config/load.ts";
import { whyRefused } from "../../system/account.ts";
import { durationMs } from "../arguments.ts";
import type { Context } from "../context.ts";
import { ExitCode } from "../exit_code.ts";
import { jsonLine } from "../text/json_line.ts";
import type { Io } from "../io.ts";
import { configOption, jsonOption } from "../options.ts";
import { counted } from "../../core/text/plural.ts";
import { configPath, placeOf } from "../settings.ts";
import type { ReloadReport } from "../../app/reloads.ts";
import { statusText } from "./status_text.ts";
import type { StatusReport } from "../../app/worker_status.ts";

/** How often to look for a worker, milliseconds. */
const START_CHECK_MS = 200;

/** The worker of a configuration, or of a socket. */
interface Target {
  readonly config?: string | undefined;
  readonly socket?: string | undefined;
  /** Milliseconds. */
  readonly timeout?: number | undefined;
}

/** The worker's state after a command. */
interface WorkerState {
  /** As for `status`: a stopping worker stays so when it is told to be quiet. */
  readonly state: string;
  readonly pid: number;
  readonly in_flight: number;
}

export function statusCommand({ io }: Context) {
  return controlCommand("status")
    .summary("show the state of the running worker")
    .description(
      "Shows the state of the running worker: its consumers, their slots and jobs, why one backs off, and the brokers and " +
        "php-fpm pools that it uses.",
    )
    .option("--wait", "wait until a worker starts, for as long as it takes")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker status\n  $ fervo-worker status --json | jq .state")
    .action(async ({ wait = false, ...options }) => {
      const status = await statusOf(io, options, wait);
      io.out(options.json ? jsonLine(status) : statusText(status));
    });
}

export function quietCommand({ io }: Context) {
  return controlCommand("quiet")
    .summary("make the running worker take no more jobs")
    .description(
      "Makes the running worker take no more jobs. Running jobs may finish; the worker stays until it is stopped. Like SIGTSTP.",
    )
    .option("--wait", "wait until no job runs")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker quiet\n  $ fervo-worker quiet --wait")
    .action(async ({ wait = false, ...options }) => {
      for await (const answer of await tell(io, options, { command: "quiet", wait })) {
        const { state, pid, in_flight } = answer as unknown as WorkerState;
        const jobs = in_flight === 0 ? "no job runs" : `${counted(in_flight, "job")} may finish`;
        io.out(options.json ? jsonLine(answer) : `The worker (process ${pid}) is ${state}; ${jobs}\n`);
        if (in_flight === 0) break;
      }
    });
}

export function stopCommand({ io, setExitCode }: Context) {
  return controlCommand("stop")
    .summary("stop the running worker")
    .description(
      "Stops the running worker: it takes no new jobs, and running jobs may finish within shutdown_timeout_ms. Like SIGTERM. " +
        "A service manager starts the worker again: to keep it stopped, stop the service.",
    )
    .option("--wait", "wait until the process has ended; exit code 0 if all its jobs are accounted for")
    .option("--now", "put running jobs back at once")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker stop\n  $ fervo-worker stop --wait && echo stopped")
    .action(async ({ wait = false, now = false, ...options }) => {
      let exitCode: number | undefined;
      for await (const answer of await tell(io, options, { command: "stop", wait, now })) {
        if (options.json) io.out(jsonLine(answer));
        if (typeof answer["exit_code"] === "number") {
          exitCode = answer["exit_code"];
          continue;
        }
        const { pid, in_flight } = answer as unknown as WorkerState;
        const jobs = in_flight === 0 ? "no job runs" : `${counted(in_flight, "job")} in flight`;
        if (!options.json) io.out(`The worker (process ${pid}) is stopping; ${jobs}\n`);
      }
      if (!wait) return;
      if (exitCode === undefined) {
        throw new FervoError("WORKER_UNAVAILABLE", "The worker ended without a result; was it killed?");
      }
      if (!options.json) io.out(`The worker has ended with exit code ${exitCode}\n`);
      if (exitCode !== ExitCode.ok) setExitCode(ExitCode.failed);
    });
}

export function reloadCommand({ io }: Context) {
  return controlCommand("reload")
    .summary("make the running worker read its configuration again")
    .description(
      "Makes the running worker read its configuration again and use it: it adds, changes and removes consumers, and leaves " +
        "the others alone. If the file has mistakes, nothing changes: the command prints them all and exits with 3. Like " +
        "SIGHUP.",
    )
    .option("--wait", "wait until the jobs of changed consumers have ended and the new consumers run")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker reload\n  $ fervo-worker reload --wait")
    .action(async ({ wait = false, ...options }) => {
      let isFinished = false;
      for await (const answer of await tell(io, options, { command: "reload", wait })) {
        isFinished ||= answer["finished"] === true;
        if (options.json) io.out(jsonLine(answer));
        else if (!isFinished) io.out(reloadText(answer as unknown as ReloadReport));
      }
      if (wait && !isFinished) {
        throw new FervoError(
          "WORKER_UNAVAILABLE",
          "The worker ended before the reload; was it killed?",
        );
      }
    });
}

function reloadText({ consumers, schedule, needs_restart }: ReloadReport): string {
  const kinds = ["added", "changed", "removed"] as const;
  const lines = [["Consumers", consumers], ["Schedules", schedule]] as const;
  const changed = lines.flatMap(([what, changes]) =>
    kinds.filter((kind) => changes[kind].length > 0).map((kind) =>
      `${what} ${kind}: ${changes[kind].join(", ")}`
    )
  );
  return [
    ...(changed.length === 0 ? ["No consumer and no schedule changed"] : changed),
    ...needs_restart.map((key) => `Changed, but used only after a restart: ${key}`),
    "",
  ].join("\n");
}

async function statusOf(io: Io, target: Target, wait: boolean): Promise<StatusReport> {
  const untilMs = systemClock.monotonicMs() + (target.timeout ?? Infinity);
  for (;;) {
    try {
      const answers = await Array.fromAsync(await tell(io, target, { command: "status" }));
      return answers[0] as unknown as StatusReport;
    } catch (error) {
      const isThere = !(error instanceof FervoError && error.code === "WORKER_UNAVAILABLE");
      if (isThere || !wait || systemClock.monotonicMs() >= untilMs) throw error;
      await sleep(systemClock, START_CHECK_MS);
    }
  }
}

function controlCommand(name: string) {
  return new Command(name).addOption(configOption())
    .option("--socket <path>", "the worker's control socket, instead of the configuration's")
    .option(
      "--timeout <duration>",
      "how long the worker may take, in all (default: 10s for its first answer; after that, --wait has no limit)",
      durationMs,
    );
}

/** Sends a command to the worker; returns the lines of its answer. */
async function tell(io: Io, target: Target, request: ControlRequest) {
  const { timeout } = target;
  const patience = timeout === undefined ? DEFAULT_PATIENCE : { answerMs: timeout, endMs: timeout };
  return command(await socketOf(io, target), request, patience);
}

/** @throws {FervoError} CONFIG_INVALID */
async function socketOf(io: Io, { config, socket }: Target): Promise<string> {
  if (socket !== undefined) return resolve(socket);
  const file = await configPath(io, config);
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    const why = await whyUnreadable(cause, file, { whyRefused });
    const message =
      `Cannot read the configuration "${file}": ${why}; or name the worker's socket with --socket`;
    throw new FervoError("CONFIG_INVALID", message, { cause });
  }
  const path = findControlSocket(text, placeOf(file), { env: io.env });
  if (path !== undefined) return path;
  throw new FervoError(
    "CONFIG_INVALID",
    `The configuration "${file}" has [control] socket = "", so its worker takes no commands: send it signals instead`,
  );
}
