import type { Clock } from "../core/time/clock.ts";
import { reasonOf } from "../core/errors.ts";
import { prepareTcp } from "../net/keepalive.ts";
import { inTime } from "../core/time/time_limit.ts";
import { type FastCgiAddress, formatAddress } from "./address.ts";
import { FastCgiError } from "./errors.ts";

/**
 * Connects to a FastCGI server.
 *
 * @param timeoutMs How long it may take.
 * @param signal Gives up; the promise rejects with the signal's reason.
 * @throws {FastCgiError} FASTCGI_CONNECT_FAILED, or FASTCGI_OVERLOADED when the listen queue is full.
 */
export async function connect(
  address: FastCgiAddress,
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Deno.Conn> {
  if (address.transport === "tcp") return await connectTcp(address, clock, timeoutMs, signal);
  // This takes no time: the kernel connects or refuses at once.
  const socket = await Deno.connect({ transport: "unix", path: address.path })
    .catch((error) => {
      throw connectError(address, error);
    });
  if (!signal?.aborted) return socket;
  socket.close();
  throw signal.reason;
}

async function connectTcp(
  address: FastCgiAddress & { transport: "tcp" },
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Deno.Conn> {
  const connecting = Deno.connect({ hostname: address.hostname, port: address.port });
  try {
    const socket = await inTime(clock, connecting, {
      ms: timeoutMs,
      signal,
      discard: (late) => late.close(),
    });
    prepareTcp(socket);
    return socket;
  } catch (error) {
    throw signal?.aborted ? signal.reason : connectError(address, error);
  }
}

/**
 * The connection ended before anything was sent. php-fpm does this to clients that are not in listen.allowed_clients, and a
 * proxy while php-fpm is unavailable.
 */
export function closedAtOnce(address: FastCgiAddress): FastCgiError {
  return new FastCgiError(
    "FASTCGI_CONNECT_FAILED",
    `Cannot connect to php-fpm at "${
      formatAddress(address)
    }": it accepted the connection and closed it at once; ` +
      "does listen.allowed_clients of the pool include this machine, and is php-fpm running behind its proxy?",
  );
}

function connectError(address: FastCgiAddress, error: unknown): FastCgiError {
  const where = `Cannot connect to php-fpm at "${formatAddress(address)}"`;
  // A unix socket reports it at once (EAGAIN); over TCP the connect waits and times out.
  if (error instanceof Deno.errors.WouldBlock) {
    return new FastCgiError("FASTCGI_OVERLOADED", `${where}: its listen queue is full`, { cause: error });
  }
  return new FastCgiError("FASTCGI_CONNECT_FAILED", `${where}: ${connectReason(error)}`, { cause: error });
}

function connectReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such socket; is php-fpm running?";
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused; is php-fpm running?";
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied; see listen.owner, listen.group and listen.mode of the pool";
  }
  return reasonOf(error);
}
