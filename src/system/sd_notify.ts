import { reasonOf } from "../core/errors.ts";
import { readProc } from "./proc.ts";

/** What a service manager, as systemd, wants to be told by this process. */
export interface NotifyWishes {
  /** The path of its socket. */
  readonly socket: string;
  /** It wants a sign of life at least that often, milliseconds; undefined for none. */
  readonly watchdogMs: number | undefined;
}

/**
 * Reads the variables NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment: they are not
 * meant for the processes that this one starts.
 *
 * @returns Undefined when there is no such service manager
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

/**
 * Tells the service manager how this process is doing, by the protocol of sd_notify(3): datagrams to its socket.
 *
 * A socket in the abstract namespace, `@NAME`, cannot be reached: the runtime takes paths only. systemd's is a path.
 */
export class SdNotify implements Disposable {
  readonly #socket: Deno.DatagramConn;
  readonly #address: Deno.UnixAddr;

  private constructor(socket: Deno.DatagramConn, path: string) {
    this.#socket = socket;
    this.#address = { transport: "unixpacket", path };
  }

  /** @throws {Error} when its socket cannot be used */
  static async open(path: string): Promise<SdNotify> {
    if (!path.startsWith("/")) {
      throw new Error(`"${path}" is no path; a socket in the abstract namespace cannot be reached`);
    }
    // The runtime has no sender without a name: it gets one in a folder of its own, which is gone before anybody sees it.
    const folder = await Deno.makeTempDir({ prefix: "fervo-notify-" });
    try {
      return new SdNotify(
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
   * Sends assignments, e.g. `READY=1`, as one datagram. Never rejects: a manager that cannot be told anything is no reason
   * to fail.
   */
  async tell(...assignments: readonly string[]): Promise<void> {
    try {
      await this.#socket.send(new TextEncoder().encode(assignments.join("\n")), this.#address);
    } catch {
      // It is being restarted, or has gone.
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** How precise /proc/uptime is, microseconds. */
const UPTIME_STEP_US = 10_000;

/**
 * The machine's monotonic clock, microseconds, as `MONOTONIC_USEC` of a reload needs it; undefined where it cannot be read.
 *
 * The runtime tells only how long this process runs, so it is the time since the start of the machine, sleep included. It is
 * never too early, and that is all that systemd goes by: whether it was read after the reload had been asked for.
 */
export async function monotonicUs(): Promise<number | undefined> {
  const path = "/proc/uptime";
  const uptimeS = Number((await readProc([path])).get(path)?.split(" ")[0]);
  return Number.isNaN(uptimeS) ? undefined : Math.round(uptimeS * 1_000_000) + UPTIME_STEP_US;
}
