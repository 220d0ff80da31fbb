import type { Clock, Timer } from "../core/time/clock.ts";

/**
 * How long a TCP connection may be silent, milliseconds. Firewalls, NAT and load balancers silently forget a connection without
 * traffic for a minute or more.
 */
export const DEFAULT_KEEPALIVE_MS = 30_000;

/**
 * Prepares a TCP connection for short messages and long silences.
 *
 * The runtime can switch on the kernel's probes, and cannot set their times: they come after `net.ipv4.tcp_keepalive_time`, two
 * hours on most machines. So {@link Keepalive} exists.
 */
export function prepareTcp(socket: { setNoDelay(on: boolean): void; setKeepAlive(on: boolean): void }): void {
  // Without this, the last piece of a message waits for the acknowledgement of the previous one.
  socket.setNoDelay(true);
  socket.setKeepAlive(true);
}

/**
 * Notices that a connection is silent. It looks twice within the time, so that the silence is never longer, and traffic costs
 * only a note.
 */
export class Keepalive {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #onSilence: () => void;
  #timer: Timer | undefined;
  #hasTraffic = true;

  /** @param onSilence Called at each silence; sends something, or gives the connection up. */
  constructor(clock: Clock, everyMs: number, onSilence: () => void) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#onSilence = onSilence;
    this.#look();
  }

  /** Something was sent or received. */
  note(): void {
    this.#hasTraffic = true;
  }

  /** Idempotent. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer = this.#clock.setTimer(() => {
      const wasSilent = !this.#hasTraffic;
      this.#hasTraffic = false;
      this.#look();
      // Last, because it may stop this.
      if (wasSilent) this.#onSilence();
    }, this.#everyMs / 2);
  }
}
