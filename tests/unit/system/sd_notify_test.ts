import assert from "node:assert/strict";
import { takeNotifyWishes } from "../../../src/system/sd_notify.ts";

const WISHES: readonly [
  what: string,
  env: Record<string, string>,
  wishes: ReturnType<typeof takeNotifyWishes>,
][] = [
  ["nobody wants to know", {}, undefined],
  ["the socket's name is empty", { NOTIFY_SOCKET: "" }, undefined],
  ["there is no watchdog", { NOTIFY_SOCKET: "/n" }, { socket: "/n", watchdogMs: undefined }],
  ["the watchdog is for any process", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "3000000" }, {
    socket: "/n",
    watchdogMs: 3_000,
  }],
  ["the watchdog is for this process", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "500", WATCHDOG_PID: "7" }, {
    socket: "/n",
    watchdogMs: 0.5,
  }],
  ["the watchdog is for another process", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "500", WATCHDOG_PID: "8" }, {
    socket: "/n",
    watchdogMs: undefined,
  }],
  ["the watchdog's time is none", { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "soon" }, {
    socket: "/n",
    watchdogMs: undefined,
  }],
];

for (const [what, variables, wishes] of WISHES) {
  Deno.test(
    `takeNotifyWishes() when ${what}; it leaves nothing for other processes`,
    { permissions: "none" },
    () => {
      const env = new Map(Object.entries({ ...variables, HOME: "/" }));
      assert.deepEqual(takeNotifyWishes(env as unknown as Deno.Env, 7), wishes);
      assert.deepEqual([...env.keys()], ["HOME"]);
    },
  );
}
