import assert from "node:assert/strict";
import type { DeadLetter } from "../../src/core/admin.ts";
import { JobError } from "../../src/core/errors.ts";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import {
  adminOf,
  type BrokerTest,
  buryNew,
  bytes,
  depthOf,
  FAILED,
  headOf,
  needing,
  pushAll,
  queuesOf,
  takeNow,
  takeOne,
  textOf,
} from "./fixture.ts";
import { besides } from "./settling.ts";
import { ACK, bury, RELEASE, retry } from "../support/verdicts.ts";

const STRANGE_IDS = [
  "",
  " ",
  "0",
  "-1",
  "abc",
  "1.5",
  "1e3",
  "999999999999999999999",
  "' OR 1=1 --",
  "\u0000",
];

/** What people and their tools do with dead letters. */
export function deadLetterTests(all: BrokerTest, capabilities: Capabilities): void {
  if (capabilities.dead === "none") {
    all("Its dead letters cannot be looked at", async (server) => {
      await using broker = await server.open();
      assert.equal(broker.admin.dead, undefined);
    });
  }
  const test = needing(all, "dead letters");
  test("dead.list() gives the most recent first, of all queues or of one", async (server) => {
    await using broker = await server.open();
    const ids = [];
    for (const queue of ["a", "b", "a", "b", "a"]) {
      ids.unshift(await buryNew(broker, `of ${queue}`, queue));
      await server.passTime(1);
    }
    await pushAll(broker, ["alive"], "a");
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ limit: 10 })), ids);
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ limit: 2 })), ids.slice(0, 2));
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ limit: 10, queue: "b" })), [ids[1], ids[3]]);
    assert.deepEqual(await adminOf(broker).dead.list({ limit: 10, queue: "c" }), []);
  });

  if (capabilities.dead === "errors") deadTimeTests(test);
  else {
    test("Its dead letters keep no errors to group them by", async (server) => {
      await using broker = await server.open();
      assert.equal(adminOf(broker).dead.groups, undefined);
    });
  }

  test("dead.list() goes through all of them in pages, also when many died together", async (server) => {
    await using broker = await server.open();
    const ids = await pushAll(broker, Array.from({ length: 23 }, (_, i) => `job ${i}`));
    const deliveries = [];
    while (deliveries.length < 23) deliveries.push(...await takeNow(broker));
    await Promise.all(deliveries.map((delivery) => delivery.settle(bury(FAILED))));
    const seen: string[] = [];
    for (let after: { after?: string } = {};;) {
      const page = await adminOf(broker).dead.list({ limit: 5, ...after });
      assert.ok(page.length <= 5);
      if (page.length === 0) break;
      seen.push(...idsOf(page));
      after = { after: page.at(-1)!.place };
      assert.ok(seen.length <= ids.length, "a page that was there before");
    }
    assert.deepEqual(seen.toSorted(), ids.toSorted());
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ limit: 100 })), seen);
  });

  test("dead.list() gives those that match, as many as were asked for, and goes on behind them", async (server) => {
    await using broker = await server.open();
    const ids: string[] = [];
    for (let i = 0; i < 12; i++) {
      ids.unshift(await buryNew(broker, i % 3 === 0 ? "wanted" : "other", i % 2 === 0 ? "a" : "b"));
      await server.passTime(1);
    }
    const wanted = [0, 3, 6, 9].map((i) => ids[11 - i]!).reverse();
    const places = (await adminOf(broker).dead.list({ limit: 12 })).map(({ place }) => place);
    const matches = (letter: DeadLetter) => new TextDecoder().decode(letter.payload) === "wanted";
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ matches, limit: 10 })), wanted);
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ matches, limit: 3 })), wanted.slice(0, 3));
    const after = places[ids.indexOf(wanted[2]!)]!;
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ matches, limit: 3, after })), [wanted[3]]);
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ matches, limit: 3, queue: "a" })), [
      wanted[1],
      wanted[3],
    ]);
  });

  test("dead.list() goes on behind what is gone, and misses nothing beside another who retries and removes", async (server) => {
    await using broker = await server.open();
    await using another = await server.open();
    const ids = await pushAll(broker, Array.from({ length: 20 }, (_, i) => `job ${i}`));
    const deliveries = [];
    while (deliveries.length < 20) deliveries.push(...await takeNow(broker));
    await Promise.all(deliveries.map((delivery) => delivery.settle(bury(FAILED))));
    const seen: string[] = [];
    for (let after: { after?: string } = {};;) {
      const page = await adminOf(broker).dead.list({ limit: 4, ...after });
      if (page.length === 0) break;
      seen.push(...idsOf(page));
      after = { after: page.at(-1)!.place };
      assert.equal(await adminOf(another).dead.retry(idsOf(page.slice(0, 2))), 2);
      assert.equal(await adminOf(another).dead.remove(idsOf(page.slice(2))), page.length - 2);
    }
    assert.deepEqual(seen.toSorted(), ids.toSorted());
  });

  test("dead.list() refuses what is no place", async (server) => {
    await using broker = await server.open();
    await buryNew(broker, "dead");
    for (const after of ["", "abc", "1:2:3", ":", "1790000000:", "\u0000"]) {
      await assert.rejects(
        adminOf(broker).dead.list({ limit: 5, after }),
        /^FervoError: Cannot continue after/,
        after,
      );
    }
  });

  test("dead.find() finds those that are dead letters", async (server) => {
    await using broker = await server.open();
    const dead = [await buryNew(broker, "1"), await buryNew(broker, "2"), await buryNew(broker, "3")];
    const alive = await broker.push("q", bytes("alive"));
    const found = await adminOf(broker).dead.find([dead[0]!, alive, ...STRANGE_IDS, dead[2]!]);
    assert.deepEqual(idsOf(found).toSorted(), [dead[0], dead[2]].toSorted());
    assert.deepEqual(await adminOf(broker).dead.find([]), []);
  });

  test("dead.get() finds dead letters only", async (server) => {
    await using broker = await server.open();
    const dead = await buryNew(broker, "dead");
    const alive = await broker.push("q", bytes("alive"));
    assert.equal((await adminOf(broker).dead.get(dead))?.id, dead);
    for (const id of [alive, ...STRANGE_IDS]) assert.equal(await adminOf(broker).dead.get(id), undefined, id);
  });

  test("dead.retry() makes dead jobs ready again as they were pushed, no attempt counted", async (server) => {
    await using broker = await server.open();
    const beside = besides(capabilities, { headers: { traceparent: "00-ab-cd-01" }, maxAttempts: 2 });
    const id = await broker.push("q", bytes("to retry"), beside);
    await (await takeOne(broker)).settle(retry(0, FAILED));
    await (await takeOne(broker)).settle(bury(FAILED));
    await buryNew(broker, "to stay");
    assert.equal(await adminOf(broker).dead.retry([id]), 1);
    assert.deepEqual(await depthOf(broker), { ready: 1, delayed: 0, reserved: 0, dead: 1 });
    assert.equal(await adminOf(broker).dead.get(id), undefined);
    const delivery = await takeOne(broker);
    assert.equal(textOf(delivery), "to retry");
    if (capabilities.dead === "errors") assert.equal(delivery.id, id);
    assert.equal(delivery.attempt, 1);
    assert.equal(headOf(delivery).maxAttempts, beside.maxAttempts);
    assert.deepEqual({ ...delivery.message.headers }, beside.headers ?? {});
    await delivery.settle(ACK);
  });

  test("dead.retry() and dead.remove() change each job that is dead, once, and no other", async (server) => {
    await using broker = await server.open();
    for (const change of ["retry", "remove"] as const) {
      const dead = [await buryNew(broker, "1", change), await buryNew(broker, "2", change)];
      const [alive, held] = await pushAll(broker, ["alive", "held"], change);
      const first = await takeOne(broker, { queues: [change] });
      await first.settle(RELEASE);
      const ids = [...dead, dead[0]!, alive!, held!, ...STRANGE_IDS];
      assert.equal(await adminOf(broker).dead[change](ids), 2);
      assert.equal(await adminOf(broker).dead[change](ids), 0);
      assert.equal(await adminOf(broker).dead[change]([]), 0);
      const ready = change === "retry" ? 4 : 2;
      assert.deepEqual(await depthOf(broker, change), { ready, delayed: 0, reserved: 0, dead: 0 });
    }
  });

  test('dead.retry() and dead.remove() with "all" change all that are dead and no others', async (server) => {
    await using broker = await server.open();
    for (const change of ["retry", "remove"] as const) {
      for (const queue of ["a", "b", "b"]) await buryNew(broker, change, queue);
      await pushAll(broker, ["alive"], "c");
      assert.equal(await adminOf(broker).dead[change]("all"), 3);
      assert.equal(await adminOf(broker).dead[change]("all"), 0);
      for (const queue of ["a", "b", "c"]) {
        for (const delivery of await takeNow(broker, { queues: [queue] })) await delivery.settle(ACK);
      }
      assert.deepEqual(await queuesOf(broker), [], "all were ready, and are acknowledged now");
    }
  });

  test("Dead letters outlive their driver", async (server) => {
    const id = await (async () => {
      await using broker = await server.open();
      return await buryNew(broker, "dead");
    })();
    await using later: Broker = await server.open();
    await server.passTime(server.leaseMs);
    const letter = await adminOf(later).dead.get(id);
    assert.equal(letter?.id, id);
    if (capabilities.dead === "errors") assert.equal(letter.error.message, FAILED.message);
  });
}

function deadTimeTests(test: BrokerTest): void {
  test("dead.groups() counts the dead letters by what they died of", async (server) => {
    await using broker = await server.open();
    const die = async (queue: string, error: JobError) => {
      const [id] = await pushAll(broker, ["a job"], queue);
      await (await takeOne(broker, { queues: [queue] })).settle(bury(error));
      await server.passTime(1_000);
      return id!;
    };
    const groups = async (queue?: string) => {
      const { groups, ...rest } = await adminOf(broker).dead.groups!({ queue });
      return {
        ...rest,
        groups: groups.map(({ newestMs, oldestMs, ...group }) => ({ ...group, ms: newestMs! - oldestMs! })),
      };
    };
    assert.deepEqual(await groups(), { groups: [], counted: 0, isWhole: true });
    await die("a", new JobError("JOB_FAILED", "No user 17\nin line 5"));
    const timeout = await die("a", new JobError("JOB_TIMEOUT", "It took 30 s"));
    const user = await die("b", new JobError("JOB_FAILED", "No user 4711\nin line 6"));
    const mail = { code: "JOB_TIMEOUT", message: "It took # s", count: 1, exampleId: timeout, ms: 0 };
    const all = await groups();
    assert.equal(all.counted, 3);
    assert.equal(all.isWhole, true);
    const [first, second] = all.groups;
    assert.ok(first!.ms >= 2_000 && first!.ms < 600_000);
    assert.deepEqual({ ...first, ms: 0 }, {
      code: "JOB_FAILED",
      message: "No user #",
      count: 2,
      exampleId: user,
      ms: 0,
    });
    assert.deepEqual(second, mail);
    const ofA = await groups("a");
    assert.deepEqual([ofA.counted, ofA.groups.map(({ count }) => count)], [2, [1, 1]]);
    assert.deepEqual(ofA.groups.find(({ code }) => code === "JOB_TIMEOUT"), mail);
    assert.equal((await groups("never")).counted, 0);
  });

  test("dead.list() orders by when a job died, not by when it was pushed", async (server) => {
    await using broker = await server.open();
    const [first, second] = await pushAll(broker, ["first", "second"]);
    const [one, two] = [await takeOne(broker), await takeOne(broker)];
    await two.settle(bury(FAILED));
    await server.passTime(1_000);
    await one.settle(bury(FAILED));
    assert.deepEqual(idsOf(await adminOf(broker).dead.list({ limit: 10 })), [first, second]);
  });
}

function idsOf(letters: readonly DeadLetter[]): string[] {
  return letters.map((letter) => letter.id);
}
