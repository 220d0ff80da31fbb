import type { Clock, Timer } from "../../core/time/clock.ts";
import type { BeanstalkdConnection } from "./connection.ts";

/** How long a job stays reserved. */
export interface Reservation {
  readonly ttrMs: number;
  /** When the reservation is to be renewed, monotonic milliseconds. */
  touchAtMs: number;
  /** Until when beanstalkd has certainly not ended the reservation, monotonic milliseconds. */
  safeUntilMs: number;
}

/** Renews the reservations of a connection: each at a third of its time to run, by one timer for all. */
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

  /** Sees to it that the reservations are looked at by then, monotonic milliseconds. */
  by(atMs: number): void {
    if (atMs >= this.#atMs) return;
    this.#timer?.cancel();
    this.#atMs = atMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#atMs = Infinity;
      this.renewDue(this.#clock.monotonicMs());
    }, atMs - this.#clock.monotonicMs());
  }

  /** Renews the reservations whose time to renew is no later than `untilMs`. */
  renewDue(untilMs: number): void {
    if (this.#connection.isLost) return;
    let nextMs = Infinity;
    for (const [id, reservation] of this.#reservations) {
      if (reservation.touchAtMs <= untilMs) this.#renew(id, reservation).catch(() => {});
      nextMs = Math.min(nextMs, reservation.touchAtMs);
    }
    if (nextMs < Infinity) this.by(nextMs);
  }

  /** Forgets its timer. */
  close(): void {
    this.#timer?.cancel();
  }

  async #renew(id: string, reservation: Reservation): Promise<void> {
    const askedMs = this.#clock.monotonicMs();
    reservation.touchAtMs = askedMs + reservation.ttrMs / 3;
    const { word } = await this.#connection.send(`touch ${id}`, ["TOUCHED", "NOT_FOUND"]);
    if (word === "TOUCHED") reservation.safeUntilMs = askedMs + reservation.ttrMs;
    // Lost, or just settled. What is lost shows when it is settled.
    else reservation.touchAtMs = Infinity;
  }
}
