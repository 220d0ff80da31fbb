import { dirname } from "node:path";
import { reasonOf } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import { type FastCgiAddress, formatAddress } from "../fastcgi/address.ts";

/** Who may connect to a unix socket. */
export interface SocketFacts {
  readonly path: string;
  /** Its permissions; the right to write is the right to connect (unix(7)). */
  readonly mode: number;
  /** Every user may go through all the folders above it. */
  readonly isReachable: boolean;
}

const OTHERS_WRITE = 0o002;
const OTHERS_ENTER = 0o001;

/**
 * Whether others than the worker can have php-fpm run scripts. A status page's own listener runs them as well.
 *
 * @param directive Of the pool: what says where it listens.
 */
export async function checkSocket(
  address: FastCgiAddress,
  directive: "listen" | "pm.status_listen",
): Promise<Finding> {
  if (address.transport === "tcp") {
    return {
      id: "fpm.tcp",
      severity: "notice",
      what: `"${formatAddress(address)}" is a TCP port; who can connect to it is not known`,
      why: "whoever can connect can run any PHP script, as the pool's user",
      fix: `in the pool: ${directive} = a unix socket; else keep all but the worker away from the port`,
    };
  }
  const facts = await socketFacts(address.path);
  if (typeof facts !== "string") return socketFinding(facts);
  return {
    id: "fpm.socket_mode",
    severity: "notice",
    what: `who can connect to "${address.path}" is not known: ${facts}`,
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
    why: "whoever can connect can run any PHP script, as the pool's user",
    fix: "in the pool: listen.mode = 0660, with listen.owner and listen.group those of the worker",
  };
}

/** The facts of a socket, or why they are not known. */
async function socketFacts(path: string): Promise<SocketFacts | string> {
  try {
    const real = await Deno.realPath(path);
    const { mode } = await Deno.stat(real);
    let isReachable = true;
    for (let folder = dirname(real);; folder = dirname(folder)) {
      const above = await Deno.stat(folder);
      if (((above.mode ?? 0) & OTHERS_ENTER) === 0) isReachable = false;
      if (folder === dirname(folder)) break;
    }
    return { path, mode: mode ?? 0, isReachable };
  } catch (error) {
    return reasonOf(error);
  }
}
