import type { App } from "./app.ts";
import { type ConfigChanges, type NameChanges, needsRestart } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Log } from "../telemetry/log.ts";
import type { ServiceState } from "./service_state.ts";

/** The changes of a reload, as in `reload --json`. */
export interface ReloadReport {
  readonly consumers: NameChanges;
  readonly schedule: NameChanges;
  /** Other changes in the file, which need a restart. */
  readonly needs_restart: readonly string[];
}

export interface ReloadsDeps {
  readonly app: App;
  readonly log: Log;
  /** Sets the log level of a new configuration. */
  readonly setLevel: (level: Config["log"]["level"]) => void;
  /** Reads the configuration again. */
  readonly read: () => Promise<Config>;
  readonly service: ServiceState | undefined;
  /** No reload begins before. */
  readonly started: Promise<void>;
}

/** A running reload: its changes, and its end; rejects with CONTROL_REFUSED after a stop in between. */
interface Accepted {
  readonly report: ReloadReport;
  readonly finished: Promise<void>;
}

/**
 * Reloads the configuration of a running worker.
 *
 * 1. One reload after the other; requests during the wait for one share it, and it reads the file after all of them.
 * 2. A file with problems changes nothing; each problem is logged.
 * 3. Reports changes that need a restart.
 */
export class Reloads {
  readonly #deps: ReloadsDeps;
  readonly #startedWith: Config;
  /** Resolves when no reload is running. */
  #idle: Promise<unknown>;
  /** A reload that has not begun. */
  #next: Promise<Accepted> | undefined;

  constructor(deps: ReloadsDeps) {
    this.#deps = deps;
    this.#startedWith = deps.app.config;
    this.#idle = deps.started;
  }

  /**
   * Reads the file and uses it; resolves when that is decided.
   *
   * @throws {FervoError} CONFIG_INVALID with all problems; QUEUE_UNAVAILABLE; CONTROL_REFUSED when the worker is about to end.
   * Nothing has changed then, and the error is logged.
   */
  request(): Promise<Accepted> {
    return this.#next ??= this.#afterOthers();
  }

  async #afterOthers(): Promise<Accepted> {
    await this.#idle;
    this.#next = undefined;
    const reload = this.#reload();
    this.#idle = reload.then(({ finished }) => finished).catch(() => {});
    return await reload;
  }

  async #reload(): Promise<Accepted> {
    const { app, log, setLevel, read, service } = this.#deps;
    await service?.reloading();
    try {
      const config = await read();
      const { changes, finished } = await app.reload(config);
      setLevel(config.log.level);
      const report = reportOf(changes, needsRestart(this.#startedWith, config));
      log.info(factsOf(report), "Reloading the configuration");
      for (const key of report.needs_restart) {
        log.warn({ key }, "This part of the configuration is used only after a restart");
      }
      const told = finished.then(() => {
        service?.reloaded();
        if (app.config !== config) {
          throw new FervoError(
            "CONTROL_REFUSED",
            "The worker was told to take no more jobs during the reload",
          );
        }
        log.info({}, "Reloaded the configuration");
      });
      return { report, finished: told };
    } catch (error) {
      service?.reloaded();
      tellProblems(log, error);
      throw error;
    }
  }
}

function tellProblems(log: Log, thrown: unknown): void {
  const said = "The configuration was not reloaded; the worker keeps its current one";
  if (!(thrown instanceof FervoError)) return log.error({ error: reasonOf(thrown) }, said);
  const { code, message, details } = thrown;
  // A list of problems has one line for each, which begins with its place.
  const problems = Number(details["problems"] ?? 1) > 1 ? message.split("\n") : [message];
  for (const problem of problems) log.error({ code, error: problem }, said);
}

function reportOf({ consumers, schedule }: ConfigChanges, needs_restart: readonly string[]): ReloadReport {
  return { consumers, schedule, needs_restart };
}

/** Only the changed names. */
function factsOf({ consumers, schedule }: ReloadReport): Record<string, unknown> {
  const facts = (changes: NameChanges, prefix: string) =>
    (["added", "changed", "removed"] as const).filter((kind) => changes[kind].length > 0)
      .map((kind) => [`${prefix}${kind}`, changes[kind]]);
  return Object.fromEntries([...facts(consumers, ""), ...facts(schedule, "schedule_")]);
}
