import { type Clock, sleep } from "../core/time/clock.ts";
import { reasonOf } from "../core/errors.ts";
import { readProc } from "./proc.ts";

/** The wishes of a service manager, such as systemd. */
export interface NotifyWishes {
  /** The path of its socket. */
  readonly socket: string;
  /** It wants a heartbeat at least this often, milliseconds; undefined for none. */
  readonly watchdogMs: number | undefined;
}

/**
 * Reads the variables NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes them from the environment: they are not meant
 * for child processes.
 *
 * @returns Undefined without such a service manager
 */
export function takeNotifyWishes(
  env: Pick<Deno.Env, "get" | "delete"> = Deno.env,
  pid: number = Deno.pid,
): NotifyWishes | undefined {
  const take = (name: string) => {
    const value = env.get(name);
    env.delete(name);
    return value;
  };
  const [socket, watchdogUs, watchdogPid] = [
    take("NOTIFY_SOCKET"),
    take("WATCHDOG_USEC"),
    take("WATCHDOG_PID"),
  ];
  if (!socket) return undefined;
  const isForUs = watchdogPid === undefined || watchdogPid === String(pid);
  const watchdogMs = Number(watchdogUs) / 1_000;
  return { socket, watchdogMs: isForUs && watchdogMs > 0 ? watchdogMs : undefined };
}

/** How long to wait for a manager that does not read, milliseconds. */
const SEND_LIMIT_MS = 1_000;
/** How many messages may wait; further ones are dropped. */
const MAX_UNSENT = 16;

/**
 * Reports this process's state to the service manager, by the protocol of sd_notify(3): datagrams to its socket.
 *
 * A socket in the abstract namespace, `@NAME`, cannot be reached: the runtime supports only paths. systemd's is a path.
 */
export class SdNotify implements Disposable {
  readonly #socket: Deno.DatagramConn;
  readonly #address: Deno.UnixAddr;
  readonly #clock: Clock;
  #unsent = 0;
  #last = Promise.resolve();

  private constructor(clock: Clock, socket: Deno.DatagramConn, path: string) {
    this.#clock = clock;
    this.#socket = socket;
    this.#address = { transport: "unixpacket", path };
  }

  /** @throws {Error} when its socket cannot be used */
  static async open({ clock }: { clock: Clock }, path: string): Promise<SdNotify> {
    if (!path.startsWith("/")) {
      throw new Error(`"${path}" is not a path; the worker cannot reach a socket in the abstract namespace`);
    }
    // The runtime needs a name for a sender: it gets one in a folder of its own, which is removed at once.
    const folder = await Deno.makeTempDir({ prefix: "fervo-notify-" });
    try {
      return new SdNotify(
        clock,
        Deno.listenDatagram({ transport: "unixpacket", path: `${folder}/s` }),
        path,
      );
    } catch (error) {
      throw new Error(`cannot make a socket: ${reasonOf(error)}`, { cause: error });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }

  /**
   * Sends assignments, e.g. `READY=1`, as one datagram. Never rejects, and waits at most a second: an unreachable manager is no
   * reason to fail or to wait.
   */
  async tell(...assignments: readonly string[]): Promise<void> {
    if (this.#unsent >= MAX_UNSENT) return;
    this.#unsent++;
    const sent = new AbortController();
    // One after the other: the runtime refuses a second send meanwhile.
    this.#last = this.#last.then(() => this.#send(assignments)).then(() => {
      this.#unsent--;
      sent.abort();
    });
    await sleep(this.#clock, SEND_LIMIT_MS, sent.signal);
  }

  async #send(assignments: readonly string[]): Promise<void> {
    try {
      await this.#socket.send(new TextEncoder().encode(assignments.join("\n")), this.#address);
    } catch {
      // It is restarting, or gone.
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** The precision of /proc/uptime, microseconds. */
const UPTIME_STEP_US = 10_000;

/**
 * The machine's monotonic clock, microseconds, for `MONOTONIC_USEC` of a reload; undefined if it cannot be read.
 *
 * The runtime knows only this process's own time, so this is the time since the machine's start, sleep included. It is never
 * too early, and systemd needs only that: whether it was read after the request to reload.
 */
export async function monotonicUs(): Promise<number | undefined> {
  const path = "/proc/uptime";
  const uptimeS = Number((await readProc([path])).get(path)?.split(" ")[0]);
  return Number.isNaN(uptimeS) ? undefined : Math.round(uptimeS * 1_000_000) + UPTIME_STEP_US;
}
