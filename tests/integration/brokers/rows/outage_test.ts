/** Servers that die, hang, and end connections; and answers that are lost. */
import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import type { SocketAddress } from "../../../../src/net/address.ts";
import {
  bytes,
  FAILED,
  FOREVER_MS,
  rejectsWith,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { Forwarder } from "../../../support/forwarder.ts";
import { soon } from "../../../support/soon.ts";
import { ACK, bury, retry } from "../../../support/verdicts.ts";
import { LEASE_MS, type OpenRowsOptions } from "./broker.ts";
import { Database, type Kind, KINDS } from "./servers.ts";

const NOTHING = { ready: 0, delayed: 0, reserved: 0, dead: 0 };

/** Makes a call until it is answered, or until `signal` aborts. */
async function persist<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof FervoError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
    }
  }
}

/** A broker whose answers can be lost, and the table seen past it. */
async function lossy(kind: Kind, stack: AsyncDisposableStack, options: OpenRowsOptions = {}) {
  const server = stack.use(await kind.start({ tcp: true }));
  const database = stack.use(await Database.create(kind, server));
  const forwarder = stack.use(await Forwarder.start(server.address as SocketAddress & { transport: "tcp" }));
  const [hostname, port] = forwarder.address.split(":");
  const address = { transport: "tcp", hostname: hostname!, port: Number(port) } as const;
  const owner = "the only owner";
  const broker = stack.use(database.open({ owner, place: { address }, ...options }));
  // A statement that is new to a connection waits for its description, and a look comes first.
  for (let round = 0; round < 3; round++) {
    await broker.push("q", bytes("before"));
    await (await takeOne(broker)).settle(ACK);
  }
  return {
    broker,
    sql: (text: string) => database.sql(text),
    /** Makes a call whose answer is lost, once the server has carried it out. */
    async unanswered(call: () => Promise<unknown>, isDone: () => Promise<boolean>, marker = owner) {
      // On MariaDB a claim needs answers before its last statements, which have the commit with them.
      forwarder.silentAfter = (sent) => sent.includes(kind === KINDS["MariaDB"] ? "COMMIT" : marker);
      const failing = rejectsWith("QUEUE_UNAVAILABLE", call());
      await eventually("the server has done it", isDone);
      forwarder.cut();
      await soon("the failure", failing);
    },
  };
}

for (const [product, kind] of Object.entries(KINDS)) {
  Deno.test(`${product}: killed under load and started again it loses no job, and runs few twice`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    await using producer = database.open();
    await using consumer = database.open();
    await producer.admin.queues!();
    await runsAll(producer, consumer, async (pushed) => {
      for (let kill = 1; kill <= 3; kill++) {
        await eventually("some are pushed", () => pushed() >= kill * 400, 60_000);
        await server.kill();
        await server.restart();
      }
    });
  });

  Deno.test(`${product}: connections that an administrator ends lose no job`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    await using producer = database.open();
    await using consumer = database.open();
    await producer.admin.queues!();
    await runsAll(producer, consumer, async (pushed) => {
      for (let kill = 1; kill <= 6; kill++) {
        await eventually("some are pushed", () => pushed() >= kill * 200, 60_000);
        await endConnections(product, database);
      }
    });
  });

  Deno.test(`${product}: a receive waits through a restart, and gets what is pushed after it`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    await using broker = database.open();
    await broker.push("q", bytes("before"));
    await (await takeOne(broker)).settle(ACK);
    const waiting = persist(() => take(broker, { waitMs: FOREVER_MS }));
    await server.kill();
    await server.restart();
    await persist(() => broker.push("q", bytes("after")));
    const [delivery] = await soon("the job", waiting);
    assert.equal(textOf(delivery!), "after");
    assert.equal(delivery!.attempt, 1);
    await delivery!.settle(ACK);
  });

  Deno.test(`${product}: a server that hangs is noticed by the limit of a statement, and used again when it goes on`, async () => {
    await using server = await kind.start();
    await using database = await Database.create(kind, server);
    await using broker = database.open({ statementTimeoutMs: 300, connectTimeoutMs: 300 });
    await broker.push("q", bytes("before"));
    const delivery = await takeOne(broker);
    await server.signal("SIGSTOP");
    try {
      await soon("the failure", rejectsWith("QUEUE_UNAVAILABLE", broker.push("q", bytes("hung"))));
      await soon("the failure of a connect", rejectsWith("QUEUE_UNAVAILABLE", delivery.settle(ACK)));
    } finally {
      await server.signal("SIGCONT");
    }
    await persist(() => delivery.settle(ACK));
    await persist(() => broker.push("q", bytes("after")));
    const names: string[] = [];
    await eventually("the job", async () => {
      names.push(...(await takeNow(broker)).map(textOf));
      return names.includes("after");
    });
  });

  Deno.test(`${product}: a claim whose answer was lost is given back by the next one, uncounted`, async () => {
    await using stack = new AsyncDisposableStack();
    const { broker, sql, unanswered } = await lossy(kind, stack);
    await sql("INSERT INTO fervo_jobs (queue, payload) VALUES ('q', 'a job')");
    await unanswered(
      () => take(broker, { waitMs: FOREVER_MS }),
      async () => await sql("SELECT state FROM fervo_jobs") === "reserved",
    );
    const [delivery] = await persist(() => takeNow(broker));
    assert.equal(textOf(delivery!), "a job");
    assert.equal(delivery!.attempt, 1);
    assert.equal(delivery!.redeliveries, 0);
    await delivery!.settle(ACK);
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });

  Deno.test(`${product}: an acknowledgement whose answer was lost is done when it is made again`, async () => {
    await using stack = new AsyncDisposableStack();
    const { broker, sql, unanswered } = await lossy(kind, stack);
    await broker.push("q", bytes("a job"));
    const delivery = await takeOne(broker);
    await unanswered(
      () => delivery.settle(ACK),
      async () => await sql("SELECT count(*) FROM fervo_jobs") === "0",
    );
    await persist(() => delivery.settle(ACK));
    await rejectsWith("LEASE_LOST", delivery.settle(ACK));
  });

  for (
    const [name, verdict, state] of [
      ["retry", retry(60_000, FAILED), "delayed"],
      ["burial", bury(FAILED), "dead"],
    ] as const
  ) {
    Deno.test(`${product}: a ${name} whose answer was lost is done once when it is made again`, async () => {
      await using stack = new AsyncDisposableStack();
      const { broker, sql, unanswered } = await lossy(kind, stack);
      await broker.push("q", bytes("warm up"));
      await (await takeOne(broker)).settle(verdict);
      await sql("DELETE FROM fervo_jobs");
      await broker.push("q", bytes("a job"));
      const delivery = await takeOne(broker);
      const stateOf = () => sql("SELECT state FROM fervo_jobs");
      await unanswered(() => delivery.settle(verdict), async () => await stateOf() === state);
      await persist(() => delivery.settle(verdict));
      assert.equal(await stateOf(), state);
      assert.equal(await sql("SELECT attempts FROM fervo_jobs"), "1");
      await rejectsWith("LEASE_LOST", delivery.settle(ACK));
    });
  }

  Deno.test(`${product}: a renewal whose answer was lost is made again, and the job is still ours`, async () => {
    await using stack = new AsyncDisposableStack();
    const { broker, sql, unanswered } = await lossy(kind, stack);
    await broker.push("q", bytes("a job"));
    const delivery = await takeOne(broker);
    await delivery.lease!.extend();
    const dueAt = () => sql("SELECT due_at FROM fervo_jobs");
    const before = await dueAt();
    // Its last statement has the length of the lease.
    await unanswered(() => delivery.lease!.extend(), async () => await dueAt() !== before, String(LEASE_MS));
    await persist(() => delivery.lease!.extend());
    await delivery.settle(ACK);
    assert.deepEqual(await broker.admin.depth!("q"), NOTHING);
  });

  Deno.test(`${product}: a push whose answer was lost is told as unknown, and the job is there`, async () => {
    await using stack = new AsyncDisposableStack();
    const { broker, sql, unanswered } = await lossy(kind, stack);
    await broker.push("marked", bytes("warm up"));
    const count = () => sql("SELECT count(*) FROM fervo_jobs");
    await unanswered(
      () => broker.push("marked", bytes("a job")),
      async () => await count() === "2",
      "marked",
    );
    const deliveries = await persist(() => takeNow(broker, { queues: ["marked"] }));
    assert.deepEqual(deliveries.map(textOf), ["warm up", "a job"]);
  });
}

/** Pushes and runs jobs while `disturb` does harm; each runs, and few run twice. */
async function runsAll(
  producer: RowsBroker,
  consumer: RowsBroker,
  disturb: (pushed: () => number) => Promise<void>,
): Promise<void> {
  const names = Array.from({ length: 1_500 }, (_, i) => `job ${i}`);
  const runs = new Map<string, number>();
  let pushed = 0;
  let pushedAgain = 0;
  let interruptions = 0;
  const done = new AbortController();
  // Before the brokers are closed: on a closed one every call ends at once, and nothing else would have its turn.
  await using load = new AsyncDisposableStack();
  load.defer(async () => {
    done.abort(new Error("the test is over"));
    await Promise.allSettled([pushing, working]);
  });
  const pushing = (async () => {
    for (const name of names) {
      let calls = 0;
      await persist(() => {
        if (calls++ > 0) pushedAgain++;
        return producer.push("q", bytes(name));
      }, done.signal);
      pushed++;
    }
  })();
  const working = Promise.all([1, 2].map(async () => {
    while (!done.signal.aborted) {
      const receive = () => take(consumer, { max: 10, waitMs: FOREVER_MS, signal: done.signal });
      for (const delivery of await persist(receive, done.signal)) {
        const name = textOf(delivery);
        runs.set(name, (runs.get(name) ?? 0) + 1);
        await persist(() => delivery.settle(ACK), done.signal)
          .catch((error) => {
            assert.equal(error.code, "LEASE_LOST");
            interruptions++;
          });
      }
    }
  }));
  await disturb(() => pushed);
  await soon("all are pushed", pushing);
  await eventually("all have run", () => names.every((name) => runs.has(name)), 60_000);
  done.abort();
  await soon("the end", working);
  // A push that was not answered is made again, and may have been done; nothing else runs twice.
  const twice = [...runs.values()].reduce((sum, count) => sum + count - 1, 0);
  assert.ok(twice <= pushedAgain, `${twice} ran twice, and ${pushedAgain} were pushed again`);
  assert.equal(interruptions, 0);
  assert.deepEqual(await persist(() => consumer.admin.depth!("q")), NOTHING);
}

/** Ends all connections to the database but those of the administrator's own client. */
async function endConnections(product: string, database: Database): Promise<void> {
  if (product === "PostgreSQL") {
    await database.sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fervo-worker'",
    );
    return;
  }
  const ids = await database.sql(
    `SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()`,
  );
  for (const id of ids.split("\n").filter((id) => id !== "")) {
    await database.sql(`KILL ${id}`).catch((error) => assert.match(String(error), /Unknown thread id/));
  }
}
