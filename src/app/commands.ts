import type { App } from "./app.ts";
import { type ControlHandlers, ControlServer } from "../control/control_server.ts";
import { sleep, systemClock } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Log } from "../telemetry/log.ts";
import { keepTrying } from "./keep_trying.ts";
import type { Reloads } from "./reloads.ts";
import type { WorkerStatus } from "./worker_status.ts";

/** How often to look whether all jobs have ended, milliseconds. */
const IDLE_CHECK_MS = 50;

/** What a running worker is made of, for those who give it commands. */
export interface Commanded {
  readonly app: App;
  readonly status: WorkerStatus;
  readonly reloads: Reloads;
  /** The exit code, once nothing but the end of the process is left to do. */
  readonly ended: Promise<number>;
  readonly log: Log;
}

/**
 * Lets a running worker take commands at its control socket. One that cannot have the socket runs all the same, says so, and
 * tries again: jobs matter more.
 *
 * @param path Undefined for a worker that has none.
 * @param onEnd What is to be done when the worker has ended is added here.
 */
export async function takeCommands(
  path: string | undefined,
  commanded: Commanded,
  onEnd: AsyncDisposableStack,
): Promise<void> {
  if (path === undefined) return;
  const { log } = commanded;
  const start = () =>
    ControlServer.start(path, {
      clock: systemClock,
      handlers: handlersOf(commanded),
      onUnavailable: (error) =>
        log.warn({ socket: path, error: reasonOf(error) }, "Cannot accept connections; trying again"),
    });
  const trying = await keepTrying({ clock: systemClock, log, random: Math.random }, {
    start,
    facts: { socket: path },
    started: "Listening for commands",
    failed: "No control socket",
    // Workers that share a configuration: one of them has it, and another one after that.
    mayLast: (error) => error instanceof FervoError && error.cause instanceof Deno.errors.AddrInUse,
  });
  // Those who wait for the end of the process learn it by the end of their connection: it is left to the kernel.
  onEnd.defer(async () => await (await trying.end())?.leave());
}

function handlersOf({ app, status, reloads, ended }: Commanded): ControlHandlers {
  const { worker } = app;
  const standing = () => ({ state: worker.state, pid: Deno.pid, in_flight: worker.inFlight });
  return {
    async *status() {
      yield await status.report(app);
    },
    async *quiet({ wait }) {
      worker.quiet();
      yield standing();
      if (!wait) return;
      while (worker.inFlight > 0) await sleep(systemClock, IDLE_CHECK_MS);
      yield standing();
    },
    async *stop({ wait, now }) {
      worker.drain();
      if (now) worker.stop();
      yield standing();
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
