/** Jobs that are in flight in Redis for a process that does not hold them. */
import assert from "node:assert/strict";
import { FAILED, rejectsWith, take, takeNow, takeOne, textOf } from "../../../conformance/fixture.ts";
import type { SidekiqBroker } from "../../../../src/brokers/sidekiq/broker.ts";
import { EventLog } from "../../../support/event_log.ts";
import { eventually } from "../../../support/eventually.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { newOwner, openRedis, type OpenRedisOptions } from "./broker.ts";
import { ACK, retry } from "../../../support/verdicts.ts";

/** Longer than it takes until others count a process as dead, which none does here. */
const LEASE_MS = 1_000;
const NONE = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

/** Between a broker and its server; what the server says is changed on its way: FLIPME into FLIPMF. */
class AlteringProxy implements Disposable {
  readonly path: string;
  readonly #listener: Deno.Listener;

  constructor(server: RedisServer) {
    this.path = `${server.folder}/proxy.sock`;
    this.#listener = Deno.listen({ transport: "unix", path: this.path });
    void this.#serve(server.socket);
  }

  async #serve(target: string): Promise<void> {
    for await (const client of this.#listener) {
      const server = await Deno.connect({ transport: "unix", path: target });
      const ends = [pipe(client, server), pipe(server, client, "FLIPME", "FLIPMF")];
      void Promise.race(ends).then(() => [client, server].forEach((end) => end.close()));
    }
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

/** Until one of both ends; a text that comes in two pieces is not found. */
async function pipe(from: Deno.Conn, to: Deno.Conn, text = "", instead = ""): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const length = await from.read(buffer).catch(() => null);
    if (length === null) return;
    const said = String.fromCharCode(...buffer.subarray(0, length)).replaceAll(text || "\0none", instead);
    const bytes = Uint8Array.from(said, (character) => character.charCodeAt(0));
    for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at)).catch(() => Infinity);
  }
}

function openThrough(proxy: AlteringProxy, server: RedisServer, options: OpenRedisOptions): SidekiqBroker {
  const target = { kind: "server", endpoint: { transport: "unix", path: proxy.path } } as const;
  return openRedis(server, { target, ...options });
}

const job = (id: string, text = "") => `{"class":"X","args":["${text}"],"jid":"${id}","retry":3}`;

Deno.test("A job that arrives altered does not stay in flight: it runs again, and is a dead letter the third time", async () => {
  await using server = await RedisServer.start();
  using proxy = new AlteringProxy(server);
  const log = new EventLog();
  await using broker = openThrough(proxy, server, { leaseMs: LEASE_MS, observe: log.observe });
  await server.cli("LPUSH", "queue:q", job("altered", "FLIPME"));
  for (let run = 1; run <= 3; run++) {
    const delivery = await takeOne(broker);
    assert.match(new TextDecoder().decode(delivery.message.body), /FLIPMF/);
    await server.cli("LPUSH", "queue:q", job("other"));
    const other = await takeOne(broker);
    await rejectsWith("LEASE_LOST", run % 2 === 1 ? delivery.settle(ACK) : delivery.settle(retry(0, FAILED)));
    await eventually("it is put back", () => log.of("strays_returned").length === run);
    const { putBack, buried } = log.of("strays_returned").at(-1)!;
    assert.deepEqual([putBack, buried], run < 3 ? [1, 0] : [0, 1]);
    await other.settle(ACK);
  }
  assert.deepEqual(await broker.admin.depth("q"), NONE, "the letter is as it was pushed, and names no queue");
  assert.deepEqual(await server.elements("ZRANGE", "dead", "0", "-1"), [job("altered", "FLIPME")]);
});

Deno.test("An altered job is not put back while it runs, nor is another one taken for it", async () => {
  await using server = await RedisServer.start();
  using proxy = new AlteringProxy(server);
  const log = new EventLog();
  const owner = newOwner();
  await using broker = openThrough(proxy, server, { leaseMs: LEASE_MS, owner, observe: log.observe });
  await server.cli("LPUSH", "queue:q", job("altered", "FLIPME"));
  const altered = await takeOne(broker);
  await server.cli("LPUSH", `fervo:inflight:${owner}:q`, job("stray"));
  const other = await server.cli("LPUSH", "queue:q", job("other")).then(() => takeOne(broker));
  // A settle that finds nothing is what makes it look, for another job as well.
  await server.cli("LREM", `fervo:inflight:${owner}:q`, "1", job("other"));
  await rejectsWith("LEASE_LOST", other.settle(ACK));
  assert.deepEqual(await takeNow(broker), [], "the one that runs is not given again");
  await rejectsWith("LEASE_LOST", altered.settle(ACK));
  await log.next("strays_returned", ({ putBack }) => putBack === 2);
  assert.deepEqual((await take(broker, { max: 5 })).map(({ id }) => id).toSorted(), ["altered", "stray"]);
});

Deno.test("What is in flight and held by nobody is found within two leases, and what is held stays", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  const owner = newOwner();
  await using broker = openRedis(server, { leaseMs: LEASE_MS, owner, observe: log.observe });
  // Two jobs of the same bytes, of which one is held, and long ones that differ in the middle only.
  const twin = '{"class":"X","args":[]}';
  const long = (text: string) =>
    `{"class":"X","args":["${"a".repeat(80_000)}${text}${"b".repeat(80_000)}"],"jid":"l"}`;
  const pushLong = (key: string, text: string) => server.cli("EVAL", LONG, "1", key, text);
  await server.cli("LPUSH", "queue:q", twin, job("held"));
  await pushLong("queue:q", "held");
  const held = await take(broker, { max: 3 });
  assert.equal(held.length, 3);
  const inflight = `fervo:inflight:${owner}:q`;
  await server.cli("LPUSH", inflight, twin, job("stray"));
  await pushLong(inflight, "stray");
  await log.next("strays_returned");
  assert.deepEqual(log.of("strays_returned").map(({ putBack, buried }) => [putBack, buried]), [[3, 0]]);
  assert.equal(await server.cli("LLEN", inflight), "3");
  for (const delivery of held) await delivery.settle(ACK);
  const strays = await take(broker, { max: 5 });
  const texts = strays.map(textOf);
  assert.deepEqual(texts.toSorted(), [twin, job("stray"), long("stray")].toSorted());
  for (const delivery of strays) await delivery.settle(ACK);
  assert.deepEqual(await broker.admin.depth("q"), NONE);
});

/** Pushes a job that is longer than an argument can be. */
const LONG =
  `return redis.call('LPUSH', KEYS[1], '{"class":"X","args":["' .. string.rep('a', 80000) .. ARGV[1] .. string.rep('b', 80000) .. '"],"jid":"l"}')`;

Deno.test("Under load with jobs of the same bytes nothing is put back that is held or on its way", async () => {
  await using server = await RedisServer.start();
  const log = new EventLog();
  const owner = newOwner();
  await using broker = openRedis(server, { leaseMs: LEASE_MS, owner, observe: log.observe });
  const twin = '{"class":"X","args":[]}';
  const count = 3_000;
  // Each twentieth has an id, and is taken out of flight by somebody else: its settle finds nothing, and so makes it look.
  const fill = `for i = 1, ARGV[1] do
    redis.call('LPUSH', KEYS[1], i % 20 == 0 and '{"class":"X","args":[],"jid":"' .. i .. '"}' or '${twin}')
  end`;
  await server.cli("EVAL", fill, "1", "queue:q", `${count}`);
  let done = 0;
  let missed = 0;
  const work = async () => {
    while (done < count) {
      const deliveries = await take(broker, { max: 7, waitMs: 100 });
      done += deliveries.length;
      await Promise.all(deliveries.map(async (delivery) => {
        const text = new TextDecoder().decode(delivery.message.body);
        if (text === twin) return await delivery.settle(ACK);
        await server.cli("LREM", `fervo:inflight:${owner}:q`, "1", text);
        await rejectsWith("LEASE_LOST", delivery.settle(ACK));
        missed++;
      }));
    }
  };
  await Promise.all([work(), work(), work()]);
  assert.equal(missed, count / 20);
  await eventually("all looks have ended", async () => (await broker.admin.depth("q")).reserved === 0);
  assert.equal(done, count, "each job has run once");
  assert.deepEqual(log.of("strays_returned"), []);
});
