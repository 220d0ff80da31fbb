import type { App } from "./app.ts";
import { type ControlHandlers, ControlServer } from "../control/control_server.ts";
import { sleep, systemClock } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Log } from "../telemetry/log.ts";
import { keepTrying } from "./keep_trying.ts";
import type { Reloads } from "./reloads.ts";
import type { WorkerStatus } from "./worker_status.ts";

/** How often to check whether all jobs have ended, milliseconds. */
const IDLE_CHECK_MS = 50;

/** The parts of a running worker that commands need. */
export interface ControlContext {
  readonly app: App;
  readonly status: WorkerStatus;
  readonly reloads: Reloads;
  /** The exit code, once nothing but the end of the process is left. */
  readonly ended: Promise<number>;
  readonly log: Log;
}

/**
 * Serves commands at the control socket of a running worker. A worker that cannot have the socket runs all the same, logs that, and
 * tries again: jobs matter more.
 *
 * @param path Undefined for a worker without a socket.
 * @param onEnd Gets the step that is due when the worker has ended.
 */
export async function serveControl(
  path: string | undefined,
  context: ControlContext,
  onEnd: AsyncDisposableStack,
): Promise<void> {
  if (path === undefined) return;
  const { log } = context;
  const start = () =>
    ControlServer.start(path, {
      clock: systemClock,
      handlers: handlersOf(context),
      onUnavailable: (error) =>
        log.warn({ socket: path, error: reasonOf(error) }, "Cannot accept connections; trying again"),
    });
  const trying = await keepTrying({ clock: systemClock, log, random: Math.random }, {
    start,
    facts: { socket: path },
    started: "Listening for commands",
    failed: "No control socket",
    // Workers that share a configuration share the socket: another one gets it later.
    mayLast: (error) => error instanceof FervoError && error.cause instanceof Deno.errors.AddrInUse,
  });
  // Commands that wait for the end of the process see the end of their connection, which the kernel closes.
  onEnd.defer(async () => await (await trying.end())?.leave());
}

function handlersOf({ app, status, reloads, ended }: ControlContext): ControlHandlers {
  const { worker } = app;
  const workerState = () => ({ state: worker.state, pid: Deno.pid, in_flight: worker.inFlight });
  return {
    async *status() {
      yield await status.report(app);
    },
    async *quiet({ wait }) {
      worker.quiet();
      yield workerState();
      if (!wait) return;
      while (worker.inFlight > 0) await sleep(systemClock, IDLE_CHECK_MS);
      yield workerState();
    },
    async *stop({ wait, now }) {
      worker.drain();
      if (now) worker.stop();
      yield workerState();
      if (!wait) return;
      yield { exit_code: await ended };
      // The connection ends with the process.
      await new Promise(() => {});
    },
    async *reload({ wait }) {
      const { report, finished } = await reloads.request();
      yield report;
      if (!wait) return;
      await finished;
      yield { finished: true };
    },
  };
}
