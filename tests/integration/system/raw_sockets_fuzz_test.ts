/**
 * Broken requests by the hundred on real sockets, the same in every run: to the HTTP server and to the control socket. A
 * failure names the iteration; nothing may be left over, nor may anything reject that nobody hears.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { ControlServer } from "../../../src/control/control_server.ts";
import { HttpServer } from "../../../src/http/server.ts";
import { ask } from "../../support/http.ts";
import { cutAnywhere, mutated } from "../../support/record_mutator.ts";
import { SeededRandom } from "../../support/seeded_random.ts";
import { soon } from "../../support/soon.ts";

const ROUNDS = 400;
const AT_ONCE = 8;
const onUnavailable = (error: unknown) => assert.fail(String(error));
const utf8 = new TextEncoder();

const REQUESTS = [
  "GET /hello HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Prometheus/2.53\r\nAccept-Encoding: gzip\r\n\r\n",
  "HEAD /hello?a=b#c HTTP/1.1\r\nhost: 127.0.0.1:9102\r\nConnection: keep-alive\r\n\r\n",
  "POST http://localhost/hello HTTP/1.1\nHost: localhost\nContent-Length: 5\n\nhello",
  "GET /hello HTTP/1.0\r\n\r\n".repeat(3),
  `GET /${"x".repeat(5_000)} HTTP/1.1\r\nHost: localhost\r\n${"X-Y: z\r\n".repeat(40)}\r\n`,
].map((text) => utf8.encode(text));

const COMMANDS = [
  '{"command":"status"}\n',
  '{"command":"stop","wait":true,"now":false}\n',
  '{"command":"status"}\n{"command":"reload"}\n',
  `{"command":"quiet","pad":"${"é".repeat(3_000)}"}\n`,
  `${"[".repeat(10_000)}\n`,
].map((text) => utf8.encode(text));

interface Talk {
  /** What the other side said up to the end of the connection. */
  readonly said: string;
  /** The connection was reset, or we went before the answer. */
  readonly isCut: boolean;
}

/** Sends a broken request in pieces, and then: waits, says that there is no more, or goes without a word. */
async function talk(path: string, bytes: Uint8Array, random: SeededRandom): Promise<Talk> {
  using connection = await Deno.connect({ transport: "unix", path });
  try {
    for (const piece of cutAnywhere(bytes, random)) {
      for (let at = 0; at < piece.length;) at += await connection.write(new Uint8Array(piece.subarray(at)));
    }
    if (random.below(4) === 0) return { said: "", isCut: true };
    // What is not whole would be waited for until its time is up.
    await connection.closeWrite();
    const chunk = new Uint8Array(65_536);
    let said = "";
    for (;;) {
      const length = await soon("an answer or the end", connection.read(chunk));
      if (length === null) return { said, isCut: false };
      said += new TextDecoder().decode(chunk.subarray(0, length));
    }
  } catch (error) {
    const isCut = error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
    assert.ok(isCut, String(error));
    return { said: "", isCut };
  }
}

/** Several at the same time, round by round. */
async function fuzz(path: string, corpus: readonly Uint8Array[], judge: (talk: Talk) => void): Promise<void> {
  const random = new SeededRandom(0x5eed_2028);
  for (let round = 0; round < ROUNDS; round += AT_ONCE) {
    const talks = Array.from({ length: AT_ONCE }, () => talk(path, mutated(corpus, random), random));
    for (const [i, done] of (await Promise.all(talks)).entries()) {
      try {
        judge(done);
      } catch (cause) {
        throw new Error(`In iteration ${round + i}`, { cause });
      }
    }
  }
}

async function tempFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "fervo-fuzz-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("HttpServer answers broken requests with one answer or none, and good ones after that", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/http.sock`;
  await using _server = await HttpServer.start({
    clock: systemClock,
    endpoints: { "/hello": () => new Response("hello\n") },
    onUnavailable,
  }, { listen: { transport: "unix", path }, token: undefined, tokenFile: undefined });
  const statuses = new Set<string>();
  await fuzz(path, REQUESTS, ({ said, isCut }) => {
    if (isCut || said === "") return;
    const head = /^HTTP\/1\.1 (200|400|404|405|431|505) [A-Z][^\r]*\r\n[^]*\r\n\r\n/.exec(said);
    assert.ok(head !== null, said);
    assert.ok(said.split("HTTP/1.1 200").length <= 2, said);
    statuses.add(head[1]!);
  });
  assert.deepEqual([...statuses].sort(), ["200", "400", "404", "405"]);
  assert.equal((await ask(path, "/hello")).body, "hello\n");
});

Deno.test("ControlServer answers broken commands with lines of JSON or nothing, and good ones after that", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/control.sock`;
  const done = async function* (what: object) {
    yield what;
    yield { end: true };
  };
  await using _server = await ControlServer.start(path, {
    clock: systemClock,
    handlers: {
      status: () => done({ is: "status" }),
      quiet: () => done({ is: "quiet" }),
      stop: () => done({ is: "stop" }),
      reload: () => done({ is: "reload" }),
    },
    onUnavailable,
  });
  const said = new Set<string>();
  await fuzz(path, COMMANDS, (talk) => {
    const lines = talk.said === "" ? [] : talk.said.trimEnd().split("\n").map((line) => JSON.parse(line));
    if (lines.length > 0) said.add(lines[0].is ?? lines[0].error.code);
    assert.ok(lines.length <= 2 && (talk.isCut || lines.every((line) => typeof line === "object")));
  });
  assert.deepEqual([...said].sort(), ["CONTROL_REFUSED", "quiet", "status", "stop"]);
  const { said: answer } = await talk(path, COMMANDS[0]!, new SeededRandom(1));
  assert.equal(answer, '{"is":"status"}\n{"end":true}\n');
});
