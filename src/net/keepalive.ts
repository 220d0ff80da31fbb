import type { Clock, Timer } from "../core/time/clock.ts";

/**
 * How long a TCP connection may be silent, milliseconds. Firewalls, NAT and load balancers forget a connection on which
 * nothing was sent for a minute or more, and tell neither side.
 */
export const DEFAULT_KEEPALIVE_MS = 30_000;

/**
 * Prepares a TCP connection for short messages and long silences.
 *
 * The runtime can switch the kernel's probes on, and cannot set their times: they come after
 * `net.ipv4.tcp_keepalive_time`, two hours on most machines. So {@link Keepalive} comes with it.
 */
export function prepareTcp(socket: { setNoDelay(on: boolean): void; setKeepAlive(on: boolean): void }): void {
  // Without this, the last piece of a message waits for the acknowledgement of the one before it.
  socket.setNoDelay(true);
  socket.setKeepAlive(true);
}

/**
 * Notices that a connection is silent. Looks twice within the time, so that the silence is never longer than it is, and
 * traffic costs no more than a note.
 */
export class Keepalive {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #onSilence: () => void;
  #timer: Timer | undefined;
  #hasTraffic = true;

  /** @param onSilence Called each time that there was no traffic; sends something, or gives the connection up. */
  constructor(clock: Clock, everyMs: number, onSilence: () => void) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#onSilence = onSilence;
    this.#look();
  }

  /** Something was sent, or came. */
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
      // Last, for it may stop this.
      if (wasSilent) this.#onSilence();
    }, this.#everyMs / 2);
  }
}
