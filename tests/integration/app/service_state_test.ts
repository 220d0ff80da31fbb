import assert from "node:assert/strict";
import { ServiceState } from "../../../src/app/service_state.ts";
import { NotifySocket } from "../../support/notify_socket.ts";
import { viewOf } from "../../unit/monitor/fake_view.ts";

/** A log that remembers errors, and a worker of which a test can say that it is stuck. */
async function open(manager: NotifySocket) {
  Deno.env.set("NOTIFY_SOCKET", manager.path);
  Deno.env.set("WATCHDOG_USEC", "20000");
  const errors: Record<string, unknown>[] = [];
  const ignore = () => {};
  const log = {
    debug: ignore,
    info: ignore,
    warn: ignore,
    error: (facts: object) => void errors.push({ ...facts }),
  };
  const service = (await ServiceState.open(log))!;
  const worker: { stall: string | undefined } = { stall: undefined };
  const app = {
    get view() {
      return viewOf({ consumer: { stall: worker.stall } });
    },
  };
  return { service, worker, app, errors };
}

Deno.test("ServiceState sends no heartbeat while a consumer is stuck, says so once, and goes on when it is not", async () => {
  await using manager = await NotifySocket.listen();
  const t = await open(manager);
  using service = t.service;
  service.ready(t.app);
  await manager.has("WATCHDOG=1", 3);
  t.worker.stall = "its receive hangs";
  // By the time that the error is told, the last sign is on its way; a reload's datagram comes behind it.
  while (t.errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  service.reloaded();
  await manager.has("READY=1", 2);
  const signs = manager.count("WATCHDOG=1");
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(manager.count("WATCHDOG=1"), signs);
  assert.deepEqual(t.errors, [{ problems: ['consumer "main": its receive hangs'] }]);
  t.worker.stall = undefined;
  await manager.has("WATCHDOG=1", signs + 2);
});

Deno.test("ServiceState tells a reload with the machine's monotonic time, not before it was asked for", async () => {
  await using manager = await NotifySocket.listen();
  using service = (await open(manager)).service;
  const uptime = async () => Number((await Deno.readTextFile("/proc/uptime")).split(" ")[0]) * 1_000_000;
  const beforeUs = await uptime();
  await service.reloading();
  const afterUs = await uptime();
  service.reloaded();
  await manager.has("READY=1");
  const [reloading, us] = manager.messages[0]!;
  assert.equal(reloading, "RELOADING=1");
  const told = Number(/^MONOTONIC_USEC=(\d+)$/.exec(us!)?.[1]);
  assert.ok(told >= beforeUs && told <= afterUs + 20_000, `${beforeUs} ${told} ${afterUs}`);
});
