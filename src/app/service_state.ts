import type { App } from "./app.ts";
import { systemClock, type Timer } from "../core/time/clock.ts";
import { reasonOf } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import { isLasting } from "../core/stuck_jobs.ts";
import { liveness } from "../monitor/health.ts";
import { monotonicUs, SdNotify, takeNotifyWishes } from "../system/sd_notify.ts";
import type { Log } from "../telemetry/log.ts";
import { counted } from "../core/text/plural.ts";

/** How often the manager gets the worker's status, milliseconds. */
const STATUS_MS = 5_000;

/**
 * Informs a service manager, such as systemd, about a worker.
 *
 * 1. READY when its consumers run, RELOADING while it reloads, STOPPING when it begins to stop.
 * 2. A status for people, whenever it has changed.
 * 3. Heartbeats, twice as often as required, while every consumer makes progress by the rule of /livez. A stuck worker is
 *    silent, and the manager restarts it.
 */
export class ServiceState implements Disposable {
  readonly #manager: SdNotify;
  readonly #watchdogMs: number | undefined;
  readonly #log: Log;
  #app: Pick<App, "view"> | undefined;
  #status = "";
  #isStuck = false;
  #statusTimer: Timer | undefined;
  #watchdogTimer: Timer | undefined;

  private constructor(manager: SdNotify, watchdogMs: number | undefined, log: Log) {
    this.#manager = manager;
    this.#watchdogMs = watchdogMs;
    this.#log = log;
  }

  /** Undefined without a service manager; removes its variables from the environment. */
  static async open(log: Log): Promise<ServiceState | undefined> {
    const wishes = takeNotifyWishes();
    if (wishes === undefined) return undefined;
    try {
      return new ServiceState(
        await SdNotify.open({ clock: systemClock }, wishes.socket),
        wishes.watchdogMs,
        log,
      );
    } catch (error) {
      log.warn(
        { socket: wishes.socket, error: reasonOf(error) },
        "Cannot notify the service manager",
      );
      return undefined;
    }
  }

  readonly observe: Observer = (event) => {
    if (event.type !== "draining") return;
    this.#status = statusOf("stopping", event.inFlight);
    void this.#manager.tell("STOPPING=1", `STATUS=${this.#status}`);
  };

  ready(app: Pick<App, "view">): void {
    this.#app = app;
    this.#status = this.#statusNow(app);
    void this.#manager.tell("READY=1", `STATUS=${this.#status}`);
    this.#tellStatusLater();
    this.#giveSigns();
  }

  async reloading(): Promise<void> {
    const us = await monotonicUs();
    await this.#manager.tell("RELOADING=1", ...(us === undefined ? [] : [`MONOTONIC_USEC=${us}`]));
  }

  /** A reload has ended, with or without a failure. */
  reloaded(): void {
    void this.#manager.tell("READY=1");
  }

  [Symbol.dispose](): void {
    this.#statusTimer?.cancel();
    this.#watchdogTimer?.cancel();
    this.#manager[Symbol.dispose]();
  }

  #tellStatusLater(): void {
    this.#statusTimer = systemClock.setTimer(() => {
      const status = this.#statusNow(this.#app!);
      if (status !== this.#status) void this.#manager.tell(`STATUS=${status}`);
      this.#status = status;
      this.#tellStatusLater();
    }, STATUS_MS);
  }

  #giveSigns(): void {
    if (this.#watchdogMs === undefined) return;
    const { isWell, problems } = liveness(this.#app!.view);
    if (isWell) void this.#manager.tell("WATCHDOG=1");
    else if (!this.#isStuck) {
      this.#log.error({ problems }, "The worker is stuck; the service manager gets no more heartbeats");
    }
    this.#isStuck = !isWell;
    this.#watchdogTimer = systemClock.setTimer(() => this.#giveSigns(), this.#watchdogMs / 2);
  }

  #statusNow({ view: { worker, consumers, stuck } }: Pick<App, "view">): string {
    const inFlight = consumers.reduce((sum, { stats }) => sum + stats.inFlight, 0);
    const slots = consumers.reduce((sum, { stats }) => sum + stats.slots, 0);
    const starved = new Set(
      stuck.flatMap((one) => one.kind === "starved" && isLasting(one) ? one.consumer : []),
    );
    const troubled = consumers.filter(({ name, stats, stall, fault }) =>
      stats.isPaused || stall !== undefined || fault !== undefined || starved.has(name)
    );
    return statusOf(worker.state, inFlight) + `, ${counted(slots, "slot")}` +
      (troubled.length === 0 ? "" : `; unhealthy: ${troubled.map(({ name }) => name).join(", ")}`);
  }
}

function statusOf(state: "running" | "quiet" | "stopping", inFlight: number): string {
  return `${state[0]!.toUpperCase()}${state.slice(1)}: ${counted(inFlight, "job")} in flight`;
}
