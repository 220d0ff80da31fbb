import assert from "node:assert/strict";
import type { FastCgiRequest } from "../../../../src/fastcgi/connection.ts";
import { observePool, type OwnPart } from "../../../../src/fpm/autoscale/pool_observation.ts";
import { page } from "../../../support/status_page.ts";

const PURE = { permissions: "none" } as const;
const NONE: OwnPart = {
  slots: 0,
  fixed: 0,
  connections: 0,
  answeredBy: "none",
  requests: [],
  recent: new Set(),
};
const static_ = (most: number) => ({ most, mayGrow: false });

function request(uri: string): FastCgiRequest {
  return { params: [["A", "1"], ["SCRIPT_NAME", uri]], body: new Uint8Array(0) };
}

/** These requests, each on a connection and in a slot of its own, all of them for a good while. */
function running(...uris: string[]): OwnPart {
  const requests = uris.map(request);
  const count = requests.length;
  return { ...NONE, slots: count, connections: count, requests, recent: new Set(requests) };
}

Deno.test("observePool() counts idle children, those of our connections, and what others have", PURE, () => {
  const seen = observePool(page(["/q/1", "/q/2", "/index.php", ""]), static_(4), running("/q/1", "/q/2"));
  assert.deepEqual(seen, { children: 4, idle: 1, others: 1, isQueued: false });
});

Deno.test(
  "observePool() takes the children of kept connections for ours, and for what our slots use",
  PURE,
  () => {
    const own = { ...running("/q/1"), slots: 3, connections: 3 };
    const seen = observePool(page(["/q/1", "-", "-", ""]), static_(4), own);
    assert.deepEqual([seen.idle, seen.others], [1, 0]);
    const unused = observePool(page(["/q/1", "-", "", ""]), static_(4), { ...own, connections: 2 });
    assert.deepEqual([unused.idle, unused.others], [1, 0]);
  },
);

Deno.test("observePool() does not count the child that answers, and it is nobody else's", PURE, () => {
  const children = ["/q/1", "/status?json&full", ""];
  const own = running("/q/1");
  const aside = observePool(page(children), static_(3), { ...own, answeredBy: "child" });
  assert.deepEqual([aside.idle, aside.others], [2, 0]);
  const through = observePool(page(children), static_(3), {
    ...own,
    slots: 2,
    connections: 2,
    answeredBy: "connection",
  });
  assert.deepEqual([through.idle, through.others], [1, 0]);
});

Deno.test("observePool() sees that our requests wait when no child is idle and none shows them", PURE, () => {
  const own = running("/q/1", "/q/2", "/q/3");
  const full = observePool(page(["/q/1", "/b/7"]), static_(2), own);
  assert.deepEqual(full, { children: 2, idle: 0, others: 1, isQueued: true });
  // A child between two requests of somebody else's does not have it.
  const between = observePool(page(["/q/1", "/q/2", "-"]), static_(3), own);
  assert.deepEqual([between.others, between.isQueued], [1, true]);
  // An idle child is about to take it.
  const idle = observePool(page(["/q/1", "/q/2", ""]), static_(3), own);
  assert.deepEqual([idle.others, idle.isQueued], [0, false]);
});

Deno.test(
  "observePool() knows others by requests that are not ours, also when ours wait for no long time",
  PURE,
  () => {
    const own = { ...running("/q/1", "/q/2", "/q/3"), requests: [] };
    const seen = observePool(page(["/q/1", "-", "/b/7"]), static_(3), own);
    assert.deepEqual(seen, { children: 3, idle: 0, others: 1, isQueued: true });
    // Two that show the same, as of the web.
    const web = observePool(page(["/q/1", "/index.php", "/index.php"]), static_(3), own);
    assert.deepEqual([web.others, web.isQueued], [2, true]);
    assert.equal(
      observePool(page(["/b/7", "", ""]), static_(3), { ...NONE, slots: 1, connections: 1 }).others,
      1,
    );
  },
);

Deno.test("observePool() sees others wait where php-fpm tells its listen queue", PURE, () => {
  const seen = observePool(page(["/q/1"], { listenQueue: 2 }), static_(1), running("/q/1"));
  assert.deepEqual([seen.others, seen.isQueued], [0, true]);
});

Deno.test("observePool() knows a request by what the page shows of a long uri", PURE, () => {
  const uri = `/q/${"x".repeat(200)}`;
  const seen = observePool(page([uri.slice(0, 127)]), static_(1), running(uri));
  assert.deepEqual([seen.others, seen.isQueued], [0, false]);
});

Deno.test("observePool() sets aside what consumers with a fixed concurrency may use", PURE, () => {
  const own = { ...running("/q/1", "/q/2", "/f/1"), slots: 6, fixed: 4 };
  const seen = observePool(page(["/q/1", "/q/2", "/f/1", "", "", "", "", ""]), static_(8), own);
  assert.deepEqual(seen, { children: 4, idle: 2, others: 0, isQueued: false });
});

Deno.test(
  "observePool() takes one more child to be had from a pool that makes them as they are needed",
  PURE,
  () => {
    const own = running("/q/1", "/q/2");
    const status = page(["/q/1", "/q/2"], { processManager: "ondemand" });
    const seen = (children: Parameters<typeof observePool>[1]) => observePool(status, children, own);
    assert.deepEqual([seen({ most: undefined, mayGrow: true }).idle, seen({ most: 6, mayGrow: true }).idle], [
      1,
      4,
    ]);
    assert.equal(seen({ most: undefined, mayGrow: true }).children, undefined);
    assert.equal(seen({ most: undefined, mayGrow: false }).idle, 0);
    const more = running("/q/1", "/q/2", "/q/3");
    assert.equal(observePool(status, { most: undefined, mayGrow: true }, more).isQueued, false);
  },
);
