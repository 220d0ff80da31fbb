import type { FpmProcess, FpmStatus } from "../../src/fpm/status.ts";

/** A status page as it was read: each child by what it shows; "" for an idle one, "-" for one whose connection is kept. */
export function page(children: readonly string[], fields: Partial<FpmStatus> = {}): FpmStatus {
  const idle = children.filter((uri) => uri === "").length;
  return {
    pool: "www",
    processManager: "static",
    idleProcesses: idle,
    activeProcesses: children.length - idle,
    totalProcesses: children.length,
    maxChildrenReached: 0,
    listenQueue: 0,
    startTimeS: 0,
    uptimeS: 0,
    processes: children.map((requestUri, pid): FpmProcess => ({
      pid,
      isBusy: requestUri !== "",
      requestUri,
      script: "-",
      requestDurationUs: 0,
    })),
    ...fields,
  };
}
