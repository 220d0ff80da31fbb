import assert from "node:assert/strict";
import type { FastCgiRequest } from "../../../src/fastcgi/connection.ts";
import { type OwnPart, sightOf } from "../../../src/worker/pool_sight.ts";
import { page } from "../../support/status_page.ts";

const PURE = { permissions: "none" } as const;
const NONE: OwnPart = { connections: 0, kept: 0, requests: [], fixed: 0, fixedBusy: 0 };

function request(uri: string): FastCgiRequest {
  return { params: [["A", "1"], ["SCRIPT_NAME", uri]], body: new Uint8Array(0) };
}

const static_ = (most: number) => ({ most, mayGrow: false });

Deno.test("sightOf() counts idle children, those of our connections, and what others have", PURE, () => {
  const own = { ...NONE, connections: 2, requests: [request("/q/1"), request("/q/2")] };
  assert.deepEqual(sightOf(page(["/q/1", "/q/2", "/index.php", ""]), static_(4), own), {
    children: 4,
    idle: 1,
    others: 1,
    isQueued: false,
  });
});

Deno.test("sightOf() takes the children of kept connections for ours, and for free", PURE, () => {
  const own = { ...NONE, connections: 3, kept: 2, requests: [request("/q/1")] };
  const seen = sightOf(page(["/q/1", "-", "-", ""]), static_(4), own);
  assert.deepEqual([seen.idle, seen.others], [3, 0]);
});

Deno.test("sightOf() sees that our requests wait when no child is idle and none shows them", PURE, () => {
  const requests = ["/q/1", "/q/2", "/q/3"].map(request);
  const full = sightOf(page(["/q/1", "/b/7"]), static_(2), { ...NONE, connections: 3, requests });
  assert.deepEqual(full, { children: 2, idle: 0, others: 1, isQueued: true });
  // A child that has just taken a connection shows no request yet: that may be the one.
  const taking = sightOf(page(["/q/1", "/q/2", "-"]), static_(3), { ...NONE, connections: 3, requests });
  assert.deepEqual([taking.others, taking.isQueued], [0, false]);
  // An idle child is about to take it.
  const idle = sightOf(page(["/q/1", "/q/2", ""]), static_(3), { ...NONE, connections: 3, requests });
  assert.deepEqual([idle.others, idle.isQueued], [0, false]);
});

Deno.test("sightOf() sees others wait where php-fpm tells its listen queue", PURE, () => {
  const seen = sightOf(page(["/q/1"], { listenQueue: 2 }), static_(1), {
    ...NONE,
    connections: 1,
    requests: [request("/q/1")],
  });
  assert.deepEqual([seen.others, seen.isQueued], [0, true]);
});

Deno.test("sightOf() knows a request by what the page shows of a long uri", PURE, () => {
  const uri = `/q/${"x".repeat(200)}`;
  const own = { ...NONE, connections: 1, requests: [request(uri)] };
  assert.equal(sightOf(page([uri.slice(0, 127)]), static_(1), own).isQueued, false);
});

Deno.test("sightOf() sets aside what consumers with a fixed concurrency may use", PURE, () => {
  const own = { ...NONE, connections: 3, fixed: 4, fixedBusy: 1 };
  const seen = sightOf(page(["/q/1", "/q/2", "/f/1", "", "", "", "", ""]), static_(8), own);
  assert.deepEqual(seen, { children: 4, idle: 2, others: 0, isQueued: false });
});

Deno.test(
  "sightOf() takes one more child to be had from a pool that makes them as they are needed",
  PURE,
  () => {
    const own = { ...NONE, connections: 2, requests: [request("/q/1"), request("/q/2")] };
    const status = page(["/q/1", "/q/2"], { processManager: "ondemand" });
    const seen = (children: Parameters<typeof sightOf>[1]) => sightOf(status, children, own);
    assert.deepEqual([seen({ most: undefined, mayGrow: true }).idle, seen({ most: 6, mayGrow: true }).idle], [
      1,
      4,
    ]);
    assert.equal(seen({ most: undefined, mayGrow: true }).children, undefined);
    assert.equal(seen({ most: undefined, mayGrow: false }).idle, 0);
    const more = { ...own, connections: 3, requests: [...own.requests, request("/q/3")] };
    assert.equal(sightOf(status, { most: undefined, mayGrow: true }, more).isQueued, false);
  },
);
