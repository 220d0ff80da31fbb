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
  limit: { ms: 60_000, name: "timeout_ms" },
  uid: 0,
  scripts: ["/srv/app/fervo.php"],
};
