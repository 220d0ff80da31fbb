import assert from "node:assert/strict";
import type { PoolToCheck } from "../../../src/doctor/expected_pool.ts";
import { statusFindings } from "../../../src/doctor/pool.ts";
import type { FpmStatus } from "../../../src/fpm/status.ts";
import { POOL } from "./support.ts";

const SCRIPT = "/srv/app/fervo.php";

function found(status: Partial<FpmStatus>, scripts: string[], pool: Partial<PoolToCheck> = {}): string[] {
  const page: FpmStatus = {
    pool: "jobs",
    processManager: "static",
    idleProcesses: 3,
    activeProcesses: 1,
    maxChildrenReached: 0,
    totalProcesses: 4,
    listenQueue: 0,
    startTimeS: 1_700_000_000,
    uptimeS: 60,
    processes: scripts.map((script, pid) => ({
      pid,
      isBusy: false,
      requestUri: "/",
      script,
      requestDurationUs: 1,
    })),
    ...status,
  };
  return statusFindings(page, { ...POOL, scripts: [SCRIPT], ...pool }).map(({ id, severity }) =>
    `${severity} ${id}`
  );
}

Deno.test("statusFindings() finds a pool that runs only our script in order", () => {
  assert.deepEqual(found({}, [SCRIPT, "-", SCRIPT]), ["ok fpm.shared_pool"]);
});

Deno.test("statusFindings() sees that others use the pool, and does not know it of a pool that ran nothing", () => {
  assert.deepEqual(found({}, [SCRIPT, "/srv/web/index.php"]), ["warning fpm.shared_pool"]);
  assert.deepEqual(found({}, ["-", ""]), ["notice fpm.shared_pool"]);
  assert.deepEqual(found({}, ["/srv/b.php", SCRIPT], { scripts: [SCRIPT, "/srv/b.php"] }), [
    "ok fpm.shared_pool",
  ]);
});

Deno.test("statusFindings() compares the children of a static pool with the jobs", () => {
  assert.deepEqual(found({ totalProcesses: 3 }, [SCRIPT]), ["error fpm.children", "ok fpm.shared_pool"]);
});

Deno.test("statusFindings() does not know how many children a dynamic pool may have, unless the configuration says it", () => {
  const dynamic = { processManager: "dynamic", totalProcesses: 1 };
  assert.deepEqual(found(dynamic, [SCRIPT]), ["notice fpm.children", "ok fpm.shared_pool"]);
  assert.deepEqual(found(dynamic, [SCRIPT], { children: 4 }), ["ok fpm.shared_pool"]);
});

Deno.test("statusFindings() wants a listener for the page where children are to be ended", () => {
  const pool = { killOnTimeout: true };
  assert.deepEqual(found({}, [SCRIPT], pool), ["warning fpm.status_listen", "ok fpm.shared_pool"]);
  const statusAddress = { transport: "unix", path: "/run/status.sock" } as const;
  assert.deepEqual(found({}, [SCRIPT], { ...pool, statusAddress }), ["ok fpm.shared_pool"]);
});

Deno.test("statusFindings() knows its script by the 255 bytes of it that the page shows", () => {
  const long = `/srv/${"å".repeat(140)}/fervo.php`;
  const shown = new TextDecoder().decode(new TextEncoder().encode(long).subarray(0, 255));
  assert.deepEqual(found({}, [shown], { scripts: [long] }), ["ok fpm.shared_pool"]);
});
