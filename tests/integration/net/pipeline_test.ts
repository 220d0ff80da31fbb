import assert from "node:assert/strict";
import { Pipeline } from "../../../src/net/pipeline.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { soon } from "../../support/soon.ts";

/** A pipeline whose commands and replies are single letters, and the other end of its socket. */
async function connect({ everyMs = 1_000, replyTimeoutMs = 10_000 } = {}) {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [socket, peer] = await Promise.all([Deno.connect({ port: listener.addr.port }), listener.accept()]);
  const clock = new FakeClock();
  const pipeline = new Pipeline<string>(
    {
      socket,
      clock,
      parser: { push: (bytes) => [...new TextDecoder().decode(bytes)] },
      lossOf: (reason) => new Error(reason),
    },
    { protocol: "letters", replyTimeoutMs, keepalive: { everyMs, ping: (out) => out.text("p") } },
  );
  const buffer = new Uint8Array(100);
  return {
    clock,
    pipeline,
    ask: (command: string, waitMs?: number) =>
      new Promise<string>((resolve, reject) =>
        pipeline.send((out) => out.text(command), { resolve, reject }, waitMs)
      ),
    hear: async () =>
      new TextDecoder().decode(buffer.subarray(0, await soon("it sends", peer.read(buffer)) ?? 0)),
    say: (text: string) => peer.write(new TextEncoder().encode(text)),
    [Symbol.dispose]() {
      pipeline.lose(new Error("the test is over"));
      peer.close();
    },
  };
}

Deno.test("Pipeline sends its ping when there was no traffic for the time, and gives no command its reply", async () => {
  using o = await connect();
  await o.clock.advance(1_000);
  assert.equal(await o.hear(), "p");
  const asked = o.ask("a");
  assert.equal(await o.hear(), "a");
  await o.say("PA");
  assert.equal(await soon("the reply", asked), "A");
});

Deno.test("Pipeline is lost when its ping is not answered", async () => {
  using o = await connect();
  await o.clock.advance(1_000);
  assert.equal(await o.hear(), "p");
  await o.clock.advance(10_000);
  assert.equal(o.pipeline.loss?.message, "no answer in 10000 ms");
  assert.equal(o.clock.pendingTimers, 0);
});

Deno.test("Pipeline's ping leaves a command that waits its time", async () => {
  using o = await connect({ everyMs: 20_000 });
  const asked = o.ask("w", 60_000);
  assert.equal(await o.hear(), "w");
  await o.clock.advance(20_000);
  assert.equal(await o.hear(), "p");
  await o.clock.advance(49_000);
  assert.equal(o.pipeline.loss, undefined);
  await o.say("W");
  assert.equal(await soon("the reply", asked), "W");
});
