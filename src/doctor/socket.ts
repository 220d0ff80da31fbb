import { isIP } from "node:net";
import { isReachable } from "./access.ts";
import { isLoopback } from "../net/address.ts";
import { fileReason } from "../core/text/file_error.ts";
import type { Finding } from "../core/finding.ts";
import { type FastCgiAddress, formatAddress } from "../fastcgi/address.ts";
import { type Directives, readListen, valueOf } from "../fpm/settings.ts";

/** The access rights of a unix socket. */
export interface SocketFacts {
  readonly path: string;
  /** Its permissions; the right to write is the right to connect (unix(7)). */
  readonly mode: number;
  /** Every user may go through all the folders above it. */
  readonly isReachable: boolean;
}

const OTHERS_WRITE = 0o002;

/** The directive that names the address of a pool, or of its status page. */
export type ListenDirective = "listen" | "pm.status_listen";

const WHY_TCP = "any client that can connect can run any PHP script as the pool's user";

/**
 * Whether other clients can let php-fpm run scripts. A status page's own listener runs them, too.
 *
 * @param own The pool's directives, if php-fpm's configuration is known.
 */
export async function checkSocket(
  address: FastCgiAddress,
  directive: ListenDirective,
  own?: Directives,
): Promise<Finding> {
  if (address.transport === "tcp") {
    const listen = own && valueOf(own, directive);
    if (listen !== undefined) return portFinding(directive, listen, valueOf(own!, "listen.allowed_clients"));
    return {
      id: "fpm.tcp",
      severity: "notice",
      what: `"${formatAddress(address)}" is a TCP port; it is unknown who can connect to it`,
      why: WHY_TCP,
      fix: `in the pool: ${directive} = a unix socket; or let only the worker reach the port`,
    };
  }
  const facts = await socketFacts(address.path);
  if (typeof facts !== "string") return socketFinding(facts);
  return {
    id: "fpm.socket_mode",
    severity: "notice",
    what: `it is unknown who can connect to "${address.path}": ${facts}`,
  };
}

/**
 * Judges a pool's TCP address, by its own configuration.
 *
 * @param allowed `listen.allowed_clients`; undefined when it is not set: then anybody may connect.
 */
export function portFinding(
  directive: ListenDirective,
  listen: string,
  allowed: string | undefined,
): Finding {
  const id = "fpm.tcp";
  const clients = allowed?.split(",").map((client) => client.trim()).filter((client) => isIP(client) !== 0);
  if (clients?.length === 0) {
    return {
      id,
      severity: "error",
      code: "FPM_MISCONFIGURED",
      what:
        `listen.allowed_clients is "${allowed}", which has no IP address: php-fpm closes every connection`,
      why: "no job can run",
      fix:
        "in the pool: listen.allowed_clients = the IP address that the worker connects from, such as 127.0.0.1",
    };
  }
  const { hostname, port } = readListen(listen) ?? {};
  if (clients !== undefined) {
    return { id, severity: "ok", what: `${directive} = ${listen} is for ${clients.join(", ")} only` };
  }
  if (hostname !== undefined && isLoopback(hostname)) {
    return {
      id,
      severity: "notice",
      what: `${directive} = ${listen}: every user of this machine can connect`,
      why: WHY_TCP,
      fix: `in the pool: ${directive} = a unix socket`,
    };
  }
  return {
    id,
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what: `${directive} = ${listen} is open to other machines, and listen.allowed_clients is not set`,
    why: WHY_TCP,
    fix:
      `in the pool: ${directive} = a unix socket, or 127.0.0.1:${port}; where the worker is on another machine or in ` +
      "another container: listen.allowed_clients = its IP address",
  };
}

/** Judges the facts. */
export function socketFinding({ path, mode, isReachable }: SocketFacts): Finding {
  const id = "fpm.socket_mode";
  const what = `"${path}" has the mode ${(mode & 0o777).toString(8).padStart(4, "0")}`;
  if ((mode & OTHERS_WRITE) === 0) return { id, severity: "ok", what };
  if (!isReachable) return { id, severity: "ok", what: `${what}, in a folder that is closed to others` };
  return {
    id,
    severity: "warning",
    what: `${what}: every user of this machine can connect`,
    why: "any client that can connect can run any PHP script as the pool's user",
    fix: "in the pool: listen.mode = 0660, with listen.owner and listen.group those of the worker",
  };
}

/** The facts of a socket, or why they are unknown. */
async function socketFacts(path: string): Promise<SocketFacts | string> {
  try {
    const real = await Deno.realPath(path);
    const { mode } = await Deno.stat(real);
    return { path, mode: mode ?? 0, isReachable: await isReachable(real) };
  } catch (error) {
    return fileReason(error);
  }
}
