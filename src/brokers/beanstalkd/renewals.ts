import type { Clock, Timer } from "../../core/time/clock.ts";
import type { BeanstalkdConnection } from "./connection.ts";

/** The times of a reservation. */
export interface Reservation {
  readonly ttrMs: number;
  /** When to renew it, monotonic milliseconds. */
  touchAtMs: number;
  /** beanstalkd has certainly not ended it before then, monotonic milliseconds. */
  safeUntilMs: number;
}

/** Renews the reservations of a connection, each at a third of its time to run, with one timer for all. */
export class Renewals {
  readonly #connection: BeanstalkdConnection;
  readonly #clock: Clock;
  /** By the job's id. */
  readonly #reservations: ReadonlyMap<string, Reservation>;
  #timer: Timer | undefined;
  #atMs = Infinity;

  constructor(
    deps: { connection: BeanstalkdConnection; clock: Clock; reservations: ReadonlyMap<string, Reservation> },
  ) {
    this.#connection = deps.connection;
    this.#clock = deps.clock;
    this.#reservations = deps.reservations;
  }

  /** Checks the reservations at that time at the latest, monotonic milliseconds. */
  by(atMs: number): void {
    if (atMs >= this.#atMs) return;
    this.#timer?.cancel();
    this.#atMs = atMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#atMs = Infinity;
      this.renewDue(this.#clock.monotonicMs());
    }, atMs - this.#clock.monotonicMs());
  }

  /** Renews the reservations that are due until `untilMs`. */
  renewDue(untilMs: number): void {
    if (this.#connection.isLost) return;
    let nextMs = Infinity;
    for (const [id, reservation] of this.#reservations) {
      if (reservation.touchAtMs <= untilMs) this.#renew(id, reservation).catch(() => {});
      nextMs = Math.min(nextMs, reservation.touchAtMs);
    }
    if (nextMs < Infinity) this.by(nextMs);
  }

  close(): void {
    this.#timer?.cancel();
  }

  async #renew(id: string, reservation: Reservation): Promise<void> {
    const askedMs = this.#clock.monotonicMs();
    reservation.touchAtMs = askedMs + reservation.ttrMs / 3;
    const { word } = await this.#connection.send(`touch ${id}`, ["TOUCHED", "NOT_FOUND"]);
    if (word === "TOUCHED") reservation.safeUntilMs = askedMs + reservation.ttrMs;
    // Lost, or just settled. A loss shows at the settle.
    else reservation.touchAtMs = Infinity;
  }
}
