import type { PoolToCheck } from "../../../src/doctor/expected_pool.ts";

/** A pool that nothing special is expected of. */
export const POOL: PoolToCheck = {
  address: { transport: "unix", path: "/run/php/jobs.sock" },
  statusAddress: undefined,
  statusPath: "/status",
  pingPath: undefined,
  killOnTimeout: false,
  children: undefined,
  jobs: 4,
  timeoutMs: 60_000,
  scripts: ["/srv/app/fervo.php"],
};
