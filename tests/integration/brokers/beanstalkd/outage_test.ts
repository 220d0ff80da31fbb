/** beanstalkd, workers and networks that fail. */
import { aliveIn } from "../../../../src/core/admin.ts";
import { raw } from "../../../../src/formats/raw.ts";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { isUnreadable } from "../../../../src/core/format.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import type { Broker } from "../../../../src/core/broker.ts";
import { BeanstalkdBroker, DEFAULT_BEANSTALKD_OPTIONS } from "../../../../src/brokers/beanstalkd/broker.ts";
import {
  bytes,
  FOREVER_MS,
  pushAll,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import { Beanstalkd } from "../../../support/beanstalkd.ts";
import { eventually } from "../../../support/eventually.ts";
import { SeededRandom } from "../../../support/seeded_random.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { OtherProcess } from "../sqlite/process.ts";
import { ACK, bury } from "../../../support/verdicts.ts";

const COMMANDS = new URL("./commands.ts", import.meta.url).pathname;

Deno.test("Calls reject while beanstalkd is away, say where it should be, and work when it is back", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await pushAll(broker, ["before"]);
  await server.kill();
  await rejectsWith("QUEUE_UNAVAILABLE", broker.push("q", bytes("lost")));
  for (
    const call of [
      () => broker.push("q", bytes("lost")),
      () => broker.admin.depth("q"),
      () => takeNow(broker),
    ]
  ) {
    await assert.rejects(call(), {
      code: "QUEUE_UNAVAILABLE",
      message: `Cannot connect to beanstalkd at "${server.addressText}": connection refused; is it running?`,
    });
  }
  await server.restart();
  await broker.push("q", bytes("after"));
  assert.deepEqual((await takeNow(broker)).map(textOf), ["before", "after"]);
});

Deno.test("Connects that fail are followed by pauses that grow, and the first connect that works ends them", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await server.kill();
  const tries = async (count: number) => {
    const startMs = performance.now();
    for (let i = 0; i < count; i++) await broker.admin.depth("q").catch(() => {});
    return performance.now() - startMs;
  };
  // Before the second, third and fourth try 50, 100 and 200 ms, each up to 20 % shorter.
  const pausedMs = await tries(4);
  assert.ok(pausedMs >= 0.8 * 350 - 5, `${pausedMs}`);
  await server.restart();
  await broker.admin.depth("q");
  await server.kill();
  await broker.admin.depth("q").catch(() => {});
  const firstPauseMs = await tries(2);
  assert.ok(firstPauseMs < 600, `${firstPauseMs}`);
});

Deno.test("A receive that waits rejects when beanstalkd dies, and the next one waits on the new one", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  using client = await server.client();
  const waiting = take(broker, { waitMs: FOREVER_MS });
  const rejected = rejectsWith("QUEUE_UNAVAILABLE", waiting);
  await eventually(
    "it waits",
    async () => (await client.ask("stats-tube q\r\n")).includes("current-waiting: 1"),
  );
  await server.restart();
  await soon("the rejection", rejected);
  const again = take(broker, { waitMs: FOREVER_MS });
  await pushAll(broker, ["job"]);
  assert.deepEqual((await soon("the job", again)).map(textOf), ["job"]);
});

Deno.test("A job that beanstalkd lost bytes of in its log is a dead letter, and hinders no other", async () => {
  await using server = await Beanstalkd.start();
  {
    await using broker = server.open();
    await pushAll(broker, ["before", "damaged", "behind"]);
  }
  await server.kill();
  // As it is when beanstalkd dies between the record of a job and its bytes: the log was made of zeros.
  const log = `${server.folder}/binlog.1`;
  const written = Buffer.from(await Deno.readFile(log));
  const at = written.indexOf("damaged\r\n");
  assert.ok(at > 0, "the log has the job's bytes");
  await Deno.writeFile(log, written.fill(0, at, at + "damaged\r\n".length));
  await server.restart();
  await using broker = server.open();
  const [before, damaged, behind] = await take(broker, { max: 3 });
  assert.deepEqual([before, behind].map((delivery) => delivery && textOf(delivery)), ["before", "behind"]);
  const { job } = damaged!;
  assert.ok(isUnreadable(job) && job.concerns === "message", "the damaged one cannot be read");
  assert.equal(job.error.code, "JOB_MALFORMED");
  assert.match(job.error.message, /^beanstalkd has lost bytes of job "2": its log has zeros in their place/);
  await Promise.all([before!.settle(ACK), damaged!.settle(bury(job.error)), behind!.settle(ACK)]);
  const letters = await broker.admin.dead.list({ limit: 10, queue: "q" });
  assert.deepEqual(letters.map(({ id }) => id), ["2"]);
});

Deno.test("beanstalkd in drain mode: push() says so, and what is there is still handed out and settled", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await pushAll(broker, ["job"]);
  Deno.kill(server.pid, "SIGUSR1");
  await eventually(
    "it drains",
    async () => await broker.push("q", bytes("more")).then(() => false, () => true),
  );
  await assert.rejects(broker.push("q", bytes("more")), { code: "QUEUE_UNAVAILABLE", message: /drain mode/ });
  await (await takeOne(broker)).settle(ACK);
});

Deno.test("Jobs of a worker that dies by SIGKILL run elsewhere at once, and the lost attempt counts", async () => {
  await using server = await Beanstalkd.start();
  await using broker = server.open();
  await pushAll(broker, ["1", "2"]);
  await using worker = new OtherProcess([
    Deno.execPath(),
    "run",
    "-A",
    "--no-lock",
    COMMANDS,
    server.addressText,
  ]);
  assert.equal(await worker.line(), "2");
  await pushAll(broker, ["3"]);
  assert.equal(await worker.line(), "1");
  const waiting = take(broker, { max: 3, waitMs: FOREVER_MS });
  await worker.kill();
  const found = await soon("a job of the dead", waiting);
  await eventually("all jobs of the dead", async () => {
    found.push(...await takeNow(broker));
    return found.length === 3;
  });
  assert.deepEqual(found.map(textOf).sort(), ["1", "2", "3"]);
  assert.deepEqual(found.map(({ attempt }) => attempt), [2, 2, 2]);
});

const SEED = 5;
Deno.test(`SIGKILL of beanstalkd under load loses no job, and repeats only those in flight (seed ${SEED})`, async () => {
  const JOBS = 1_500, KILLS = 4, AT_ONCE = 8;
  await using server = await Beanstalkd.start();
  const random = new SeededRandom(SEED);
  await using producer = server.open();
  const pushed = new Set<string>();
  const done: string[] = [];
  let isOver = false;
  const keepAtIt = async (run: () => Promise<void>) => {
    while (!isOver) {
      await run().catch((error) =>
        assert.ok(["QUEUE_UNAVAILABLE", "LEASE_LOST"].includes(error.code), error)
      );
    }
  };
  let next = 0;
  const pushing = Promise.all(Array.from({ length: 4 }, async () => {
    while (next < JOBS && !isOver) {
      const name = `job ${next++}`;
      // A push that failed may have been done: what it left behind may run, but must not be missed.
      while (!pushed.has(name) && !isOver) {
        await producer.push("q", bytes(name)).then(() => pushed.add(name), (error) => {
          assert.equal(error.code, "QUEUE_UNAVAILABLE");
        });
      }
    }
  }));
  const work = async (broker: Broker) => {
    await keepAtIt(async () => {
      const deliveries = await take(broker, { max: AT_ONCE, waitMs: 200 });
      done.push(...deliveries.map(textOf));
      const settled = await Promise.allSettled(deliveries.map((delivery) => delivery.settle(ACK)));
      for (const result of settled) if (result.status === "rejected") throw result.reason;
    });
  };
  await using one = server.open();
  await using other = server.open();
  const working = [work(one), work(other)];
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const killAt = done.length + 20 + random.below(JOBS / KILLS / 2);
      await eventually(`${killAt} jobs are done`, () => done.length >= killAt);
      await server.restart();
    }
    await pushing;
    await eventually("all jobs are done", async () => {
      const depth = await producer.admin.depth("q").catch(() => undefined);
      return depth !== undefined && aliveIn(depth) === 0 && done.length >= JOBS;
    });
  } finally {
    // Without it a failure would leave loops on closed brokers behind, which let nothing else run.
    isOver = true;
  }
  await Promise.all(working);
  const seen = new Set(done);
  assert.deepEqual([...pushed].filter((name) => !seen.has(name)), []);
  // In flight: received and not acknowledged by each of two, and pushed without an answer by four.
  const repeated = done.length - seen.size;
  assert.ok(repeated <= KILLS * (2 * AT_ONCE + 4), `${repeated} repetitions`);
  assert.equal((await producer.admin.depth("q")).dead, 0);
});

/** A server that speaks as `answer` does, on a port of its own. */
function impostor(answer: (socket: Deno.TcpConn) => Promise<void>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const sockets: Deno.TcpConn[] = [];
  void (async () => {
    for await (const socket of listener) {
      sockets.push(socket);
      answer(socket).catch(() => {});
    }
  })().catch(() => {});
  const { port } = listener.addr as Deno.NetAddr;
  return {
    open: (clock = systemClock) =>
      new BeanstalkdBroker({ clock, format: raw }, {
        ...DEFAULT_BEANSTALKD_OPTIONS,
        address: { transport: "tcp", hostname: "127.0.0.1", port },
        connectTimeoutMs: 300,
      }),
    [Symbol.dispose]() {
      listener.close();
      for (const socket of sockets) {
        try {
          socket.close();
        } catch {
          // The other side was first.
        }
      }
    },
  };
}

async function reads(socket: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(1_000);
  return new TextDecoder().decode(buffer.subarray(0, await socket.read(buffer) ?? 0));
}

async function says(socket: Deno.TcpConn, text: string): Promise<void> {
  await socket.write(bytes(text));
}

const STRANGERS: Readonly<Record<string, [answer: (socket: Deno.TcpConn) => Promise<void>, text: RegExp]>> = {
  "answers like Redis": [async (socket) => {
    await reads(socket);
    await says(socket, "-ERR unknown command 'list-tube-used'\r\n");
  }, /does not speak beanstalkd's protocol: it says "-ERR unknown command 'list-tube-used'"/],
  "speaks first": [
    (socket) => says(socket, "SSH-2.0-OpenSSH_9.2\r\n"),
    /does not speak beanstalkd's protocol: it says "SSH-2\.0-OpenSSH_9\.2"/,
  ],
  "answers with a reply to something else": [async (socket) => {
    await reads(socket);
    await says(socket, "DELETED\r\n");
  }, /does not speak beanstalkd's protocol: it says "DELETED" instead of "USING"/],
  "says nothing": [async (socket) => void await reads(socket), /no answer in 300 ms/],
  "hangs up": [async (socket) => {
    await reads(socket);
    socket.close();
  }, /it closed the connection|reset/],
};
for (const [what, [answer, message]] of Object.entries(STRANGERS)) {
  Deno.test(`A server that ${what} is QUEUE_UNAVAILABLE, in words that help`, async () => {
    using server = impostor(answer);
    await using broker = server.open();
    await assert.rejects(broker.push("q", bytes("job")), { code: "QUEUE_UNAVAILABLE", message });
  });
}

Deno.test("A beanstalkd that stops answering is given up after 30 s", async () => {
  const heard = Promise.withResolvers<void>();
  using server = impostor(async (socket) => {
    await reads(socket);
    await says(socket, "USING default\r\n");
    await reads(socket);
    heard.resolve();
  });
  const clock = new MovableClock();
  await using broker = server.open(clock);
  const pushing = broker.push("q", bytes("job"));
  await heard.promise;
  clock.moveAhead(30_100);
  await assert.rejects(soon("the end of the push", pushing), {
    code: "QUEUE_UNAVAILABLE",
    message: /no answer in 30000 ms/,
  });
});

Deno.test("A job that comes just when a wait is aborted is received all the same, as the attempt that was counted", async () => {
  const waits = Promise.withResolvers<void>();
  const stats =
    "---\nid: 7\ntube: q\nstate: reserved\npri: 1024\nage: 0\nttr: 60\ntime-left: 59\nreserves: 2\nkicks: 0\n";
  const answers: readonly [command: RegExp, answer: string][] = [
    [/^list-tube-used/, "USING default\r\n"],
    [/^(watch|ignore) /, "WATCHING 1\r\n"],
    [/^reserve-with-timeout 0/, "TIMED_OUT\r\n"],
    [/^reserve-job 7/, "RESERVED 7 3\r\njob\r\n"],
    [/^stats-job 7/, `OK ${stats.length}\r\n${stats}\r\n`],
    [/^delete 7/, "DELETED\r\n"],
  ];
  using server = impostor(async (socket) => {
    let isBlocked = false;
    for (;;) {
      const said = await reads(socket);
      if (said === "") break;
      for (const line of said.split("\r\n")) {
        await says(socket, answers.find(([command]) => command.test(line))?.[1] ?? "");
        if (!/^reserve-with-timeout [1-9]/.test(line)) continue;
        isBlocked = true;
        waits.resolve();
      }
    }
    // The wait's half of the connection is closed: too late, the job is reserved.
    if (isBlocked) await says(socket, "RESERVED 7 3\r\njob\r\n");
    socket.close();
  });
  await using broker = server.open();
  const abort = new AbortController();
  const waiting = take(broker, { waitMs: FOREVER_MS, signal: abort.signal });
  await waits.promise;
  abort.abort();
  const [delivery] = await soon("the end of the wait", waiting);
  assert.deepEqual([delivery?.id, delivery?.attempt], ["7", 1]);
  await delivery!.settle(ACK);
});

const TROUBLES: Readonly<Record<string, RegExp>> = {
  OUT_OF_MEMORY: /it is out of memory/,
  INTERNAL_ERROR: /it had an internal error/,
  UNKNOWN_COMMAND: /it must be version 1\.12 or newer/,
};
for (const [word, message] of Object.entries(TROUBLES)) {
  Deno.test(`beanstalkd's ${word} is QUEUE_UNAVAILABLE, and the connection goes on`, async () => {
    let connections = 0;
    using server = impostor(async (socket) => {
      connections++;
      await reads(socket);
      await says(socket, "USING default\r\n");
      await reads(socket);
      await says(socket, `${word}\r\n`);
      await reads(socket);
      await says(socket, "NOT_FOUND\r\n");
    });
    await using broker = server.open();
    await assert.rejects(broker.admin.depth("q"), { code: "QUEUE_UNAVAILABLE", message });
    assert.deepEqual(await broker.admin.depth("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    assert.equal(connections, 1);
  });
}
