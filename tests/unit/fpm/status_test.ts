import assert from "node:assert/strict";
import { pingRequest, readStatus, statusRequest } from "../../../src/fpm/status.ts";
import type { FastCgiResponse } from "../../../src/fastcgi/response.ts";
import { bytesOf } from "../../support/scripted_server.ts";

function page(body: string, status = 200): FastCgiResponse {
  return { status, headers: new Map(), body: bytesOf(body), stderr: "", isTruncated: false, appStatus: 0 };
}

const PAGE = {
  "pool": "www",
  "process manager": "static",
  "start time": 1_700_000_000,
  "start since": 60,
  "listen queue": 3,
  // Requests on kept connections, and a start a moment ago; the list is right.
  "idle processes": 0,
  "active processes": 7,
  "total processes": 4,
  "max children reached": 2,
  "processes": Array.from({ length: 5 }, (_, i) => ({
    "pid": 100 + i,
    "state": i === 0 ? "Running" : "Idle",
    "request duration": 1_500,
    "request uri": "/mail/17",
    "script": "/srv/app/fervo.php",
  })),
};

Deno.test("readStatus() reads php-fpm's JSON page", () => {
  assert.deepEqual(readStatus(page(JSON.stringify(PAGE))), {
    pool: "www",
    processManager: "static",
    idleProcesses: 4,
    activeProcesses: 1,
    totalProcesses: 5,
    maxChildrenReached: 2,
    listenQueue: 3,
    startTimeS: 1_700_000_000,
    uptimeS: 60,
    processes: Array.from({ length: 5 }, (_, i) => ({
      pid: 100 + i,
      isBusy: i === 0,
      requestUri: "/mail/17",
      script: "/srv/app/fervo.php",
      requestDurationUs: 1_500,
    })),
  });
});

Deno.test("readStatus() refuses what is not a status page, with the status and the text that came", () => {
  assert.throws(() => readStatus(page("File not found.\n", 404)), {
    code: "FASTCGI_PROTOCOL",
    message: `Cannot read the status page: php-fpm answered 404 with "File not found."`,
  });
  for (const body of ["", "null", "[]", JSON.stringify({ ...PAGE, "listen queue": "1" })]) {
    assert.throws(() => readStatus(page(body)), { code: "FASTCGI_PROTOCOL" }, body);
  }
});

Deno.test("statusRequest() and pingRequest() ask for their paths without a body", () => {
  const status = statusRequest("/status");
  assert.equal(status.body.length, 0);
  assert.deepEqual(Object.fromEntries(status.params), {
    REQUEST_METHOD: "GET",
    SCRIPT_NAME: "/status",
    SCRIPT_FILENAME: "/status",
    REQUEST_URI: "/status",
    QUERY_STRING: "json&full",
  });
  assert.equal(Object.fromEntries(pingRequest("/ping").params)["SCRIPT_NAME"], "/ping");
});
