import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { SdNotify } from "../../../src/system/sd_notify.ts";
import { MovableClock } from "../../support/movable_clock.ts";
import { NotifySocket } from "../../support/notify_socket.ts";
import { soon } from "../../support/soon.ts";

Deno.test("SdNotify.tell() does not wait for a manager that reads nothing, and drops what is too much", async () => {
  const folder = await Deno.makeTempDir({ prefix: "fervo-manager-" });
  const path = `${folder}/notify`;
  const clock = new MovableClock();
  const manager = Deno.listenDatagram({ transport: "unixpacket", path });
  {
    using notify = await SdNotify.open({ clock }, path);
    // More than the kernel keeps for it.
    const queue = Number(await Deno.readTextFile("/proc/sys/net/unix/max_dgram_qlen"));
    const all = Promise.all(Array.from({ length: queue + 100 }, (_, i) => notify.tell(`STATUS=${i}`)));
    clock.moveAhead(1_000);
    await soon("all is told or dropped", all);
    const [first] = await manager.receive();
    assert.equal(new TextDecoder().decode(first), "STATUS=0");
  }
  manager.close();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("SdNotify.tell() sends all that is told in the same instant, in order", async () => {
  await using manager = await NotifySocket.listen();
  using notify = await SdNotify.open({ clock: systemClock }, manager.path);
  await Promise.all(["READY=1", "WATCHDOG=1", "STOPPING=1"].map((assignment) => notify.tell(assignment)));
  await manager.has("STOPPING=1");
  assert.deepEqual(manager.messages, [["READY=1"], ["WATCHDOG=1"], ["STOPPING=1"]]);
});
