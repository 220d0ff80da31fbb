/** Whoever can connect to a worker, and does so without end: its jobs, its health and its commands do not suffer. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { type RunningCommand, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { ask, connect } from "../../support/http.ts";
import { privateLoopback } from "../../support/php_fpm.ts";
import { runProgram } from "../../support/run_program.ts";
import { soon } from "../../support/soon.ts";

const TOKEN = "0123456789abcdef";
const SHOWN = { headers: { authorization: `Bearer ${TOKEN}` } };

/** A worker that runs a job, which ends when it is let go, and may open few files. */
async function startBusy(openFiles: number, options: SiteOptions = {}) {
  await using opened = new AsyncDisposableStack();
  const at = `${privateLoopback()}:9102`;
  const site = opened.use(
    await Site.create(undefined, { process: {}, http: { listen: at, token: TOKEN }, ...options }),
  );
  const gate = `${site.directory}/gate`;
  await site.push(JSON.stringify({ wait_for: gate }));
  const worker = opened.use(site.start(["run"], { shell: `ulimit -n ${openFiles}; exec "$@"` }));
  await eventually("the job runs", () => site.effectCount() === 1);
  const resources = opened.move();
  return {
    at,
    site,
    worker,
    socket: `${site.directory}/fervo-worker.sock`,
    /** Fails unless the job ends well, the worker too, and the log is one to its end. */
    async endsWell() {
      await Deno.writeTextFile(gate, "");
      await eventually("the job is done", async () => {
        const [queue] = JSON.parse(await site.runOk(["queues", "--json"]));
        return queue === undefined || queue.reserved + queue.ready + queue.dead === 0;
      });
      worker.kill("SIGTERM");
      assert.equal((await worker.ended).code, 0, worker.stderr);
      assert.deepEqual(site.effects().map(({ attempt }) => attempt), [1]);
      for (const line of worker.stderr.trimEnd().split("\n")) JSON.parse(line);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** So many connections, each of which says `text` and no more. */
async function hold(at: string, count: number, text = "") {
  const all: Deno.Conn[] = [];
  for (let i = 0; i < count; i++) {
    const connection = await connect(at);
    all.push(connection);
    // It may have been closed for a later one already.
    if (text !== "") await connection.write(new TextEncoder().encode(text)).catch(() => {});
  }
  return { all, [Symbol.dispose]: () => all.forEach((connection) => connection.close()) };
}

/** Resolves with what it was sent when the other side has closed it. */
async function end(connection: Deno.Conn): Promise<string> {
  const chunk = new Uint8Array(65_536);
  let text = "";
  for (;;) {
    const length = await connection.read(chunk).catch((error) => {
      assert.ok(error instanceof Deno.errors.ConnectionReset, String(error));
      return null;
    });
    if (length === null) return text;
    text += new TextDecoder().decode(chunk.subarray(0, length));
  }
}

async function assertSeesAndObeys({ at, site }: { at: string; site: Site }): Promise<void> {
  assert.equal((await soon("an answer", ask(at, "/livez", SHOWN))).status, 200);
  assert.equal((await soon("an answer", ask(at, "/readyz", SHOWN))).status, 200);
  assert.match((await soon("an answer", ask(at, "/metrics", SHOWN))).body, /^fervo_slots_busy\{.*\} 1$/m);
  const { in_flight } = JSON.parse(await site.runOk(["status", "--json"]));
  assert.equal(in_flight, 1);
}

for (const text of ["", "GET /livez HTTP/1.1\r\nX: ", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"]) {
  Deno.test(`600 connections that say ${JSON.stringify(text)}, with 200 open files: jobs, health and commands go on`, async () => {
    await using busy = await startBusy(200);
    using _held = await hold(busy.at, 600, text);
    await assertSeesAndObeys(busy);
    await busy.endsWell();
  });
}

Deno.test("connections to the control socket that say nothing do not keep commands out, nor end who waits", async () => {
  await using busy = await startBusy(200);
  await using waiting = busy.site.start(["stop", "--wait"]);
  await eventually("the worker stops", () => busy.worker.stderr.includes('"msg":"Stopping'));
  for (const text of ["", '{"command":']) {
    using _held = await hold(busy.socket, 300, text);
    const { state } = JSON.parse(await busy.site.runOk(["status", "--json"]));
    assert.equal(state, "stopping");
  }
  await Deno.writeTextFile(`${busy.site.directory}/gate`, "");
  assert.equal((await waiting.ended).code, 0, waiting.stderr);
  assert.equal((await busy.worker.ended).code, 0);
});

/** What somebody sends who does not speak HTTP, or to no good end. */
const NONSENSE: readonly string[] = [
  "\r\n\r\n",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "GET /readyz\r\n\r\n",
  "GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
  `GET /${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: x\r\n${"X: y\r\n".repeat(20_000)}\r\n`,
  "POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + "b".repeat(1_000_000),
  "POST /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  "GET /readyz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
  "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000),
  "\0".repeat(200_000),
];

Deno.test("whatever is sent to [http], whole or cut, each connection ends in seconds, and the worker goes on", async () => {
  await using busy = await startBusy(200);
  const ends: Promise<string>[] = [];
  const talk = async (text: string, isHalfClosed: boolean) => {
    using connection = await connect(busy.at);
    const sending = (async () => {
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
      if (isHalfClosed) await connection.closeWrite();
    })().catch(() => {}); // It may refuse before it has read all.
    const answer = await soon(`the end after ${JSON.stringify(text.slice(0, 60))}`, end(connection));
    await sending;
    return answer;
  };
  for (const text of NONSENSE) {
    for (const part of [text, text.slice(0, text.length >> 1)]) {
      ends.push(talk(part, false), talk(part, true));
    }
  }
  for (const answer of await Promise.all(ends)) {
    assert.match(answer, /^(?:HTTP\/1\.1 (?:400|401|431|505) [^]*)?$/);
    assert.ok(answer.split(/^HTTP\/1\.1 \d/m).length <= 2, "one answer a connection");
  }
  await assertSeesAndObeys(busy);
  await busy.endsWell();
});

Deno.test("a worker whose open files are used up goes on, and answers again when there are some", async () => {
  await using busy = await startBusy(200);
  const { worker, at, socket } = busy;
  await limitOpenFiles(worker, 3);
  using _held = await hold(at, 20);
  using _alsoHeld = await hold(socket, 20);
  await worker.says(`"address":"${at}","error":"too many open files"`);
  await worker.says(`"socket":"${socket}","error":"too many open files"`);
  assert.equal(worker.stderr.split("Cannot accept connections; trying again").length, 3, "each once");
  await limitOpenFiles(worker, 200);
  await assertSeesAndObeys(busy);
  await busy.endsWell();
});

/** From now on; what is open stays. */
async function limitOpenFiles({ pid }: RunningCommand, count: number): Promise<void> {
  const { success, said } = await runProgram("prlimit", `--pid=${pid}`, `--nofile=${count}:200`);
  assert.ok(success, said);
}
