/**
 * Broken answers by the hundred, the same in every run, to requests of a Pool. A failure names the number of the
 * request and prints the answer's bytes.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { FervoError } from "../../../src/core/errors.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import { cutAnywhere, mutated } from "../../support/record_mutator.ts";
import {
  bytesOf,
  concat,
  endRequestRecord,
  record,
  type Script,
  type ScriptedPeer,
  ScriptedServer,
  stderrRecord,
  stdoutRecord,
} from "../../support/scripted_server.ts";
import { SeededRandom } from "../../support/seeded_random.ts";

const SEED = 0x5eed_2026;
const REQUESTS = 600;
const MAX_RESPONSE_BYTES = 300;

/** Valid answers to a request. */
function corpusOf(requestId: number): Uint8Array[] {
  const o = { requestId };
  return [
    concat(stdoutRecord("X-Fervo-Outcome: ack\r\n\r\n", o), stdoutRecord("", o), endRequestRecord(o)),
    concat(
      stderrRecord("PHP Warning:  x", { requestId, padding: 7 }),
      record(10, bytesOf("\x0f\x01FCGI_MPXS_CONNS0"), { requestId: 0 }),
      stdoutRecord("Status: 500\nA: 1\n\nbo", { requestId, padding: 255 }),
      stdoutRecord("dy ".repeat(200), o),
      endRequestRecord({ requestId, appStatus: -1 }),
    ),
    concat(stdoutRecord("plain", o), endRequestRecord({ requestId, protocolStatus: 2 })),
  ];
}

/** The broken answer to request number `id`. */
function answerOf(id: number, requestId: number): { answer: Uint8Array; random: SeededRandom } {
  const random = new SeededRandom(SEED + id);
  return { answer: mutated(corpusOf(requestId), random), random };
}

/** Whether a reader that follows the specification finds the request complete before anything that is wrong. */
function isComplete(answer: Uint8Array, requestId: number): boolean {
  for (let at = 0; at + 8 <= answer.length;) {
    const [version, type, idHigh, idLow, lengthHigh, lengthLow, padding] = answer.subarray(
      at,
    ) as unknown as number[];
    const id = (idHigh! << 8) | idLow!;
    const contentBytes = (lengthHigh! << 8) | lengthLow!;
    const end = at + 8 + contentBytes + padding!;
    if (version !== 1 || (id !== 0 && id !== requestId) || end > answer.length) return false;
    if (type === 3 && id !== 0) return contentBytes >= 8 && answer[at + 12] === 0;
    at = end;
  }
  return false;
}

async function isWritten(peer: ScriptedPeer, ...pieces: Uint8Array[]): Promise<boolean> {
  try {
    await peer.write(...pieces);
    return true;
  } catch (error) {
    // The client closes as soon as it has seen what is wrong.
    if (error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`Pool.request() settles for each of ${REQUESTS} broken answers, and leaves no connection (seed ${SEED}, ${transport})`, async () => {
    const requestIds = new Map<number, number>();
    const serveBroken: Script = async (peer) => {
      // A good answer first on some connections, so that the broken one comes to a kept connection, too.
      for (let left = peer.index % 3; left > 0; left--) {
        const { requestId, params } = await peer.readRequest();
        requestIds.set(Number(params.get("ID")), -1);
        const answer = concat(stdoutRecord("A: 1\n\ngood", { requestId }), endRequestRecord({ requestId }));
        await peer.write(answer);
      }
      const { requestId, params } = await peer.readRequest();
      const id = Number(params.get("ID"));
      requestIds.set(id, requestId);
      const { answer, random } = answerOf(id, requestId);
      for (const piece of cutAnywhere(answer, random)) {
        if (!await isWritten(peer, piece)) return;
      }
    };
    await using server = await ScriptedServer.start(serveBroken, { transport });
    const pool = new Pool({ address: parseAddress(server.address), clock: systemClock }, {
      ...DEFAULT_POOL_OPTIONS,
      maxConnections: 4,
      maxResponseBytes: MAX_RESPONSE_BYTES,
      idleMs: 60_000,
    });
    const tooLong = AbortSignal.timeout(60_000);
    const settle = async (id: number): Promise<string> => {
      const request = { params: [["ID", String(id)]] as const, body: new Uint8Array(0) };
      const result = await pool.request(request, tooLong).catch((error: unknown) => ({ error }));
      const requestId = requestIds.get(id) ?? assert.fail("it was not sent");
      const { answer } = answerOf(id, requestId);
      try {
        if (!("error" in result)) {
          assert.ok(requestId < 0 || isComplete(answer, requestId), "resolved without a whole answer");
          assert.ok(result.body.length <= MAX_RESPONSE_BYTES);
          return "resolved";
        }
        const { error } = result;
        assert.ok(error instanceof FervoError, `rejected with ${error}`);
        assert.ok(requestId >= 0 && !isComplete(answer, requestId), `rejected: ${error.message}`);
        return error.code;
      } catch (error) {
        throw new Error(`Request ${id} of seed ${SEED} failed; answer: ${answer.toHex()}`, { cause: error });
      }
    };
    let next = 0;
    const seen = new Set<string>();
    const slot = async () => {
      while (next < REQUESTS) seen.add(await settle(next++));
    };
    await Promise.all([slot(), slot(), slot(), slot()]);
    await pool.close();
    assert.deepEqual([pool.stats.busy, pool.stats.idle, pool.stats.waiting], [0, 0, 0]);
    assert.deepEqual([...seen].sort(), [
      "FASTCGI_CONNECTION_LOST",
      "FASTCGI_OVERLOADED",
      "FASTCGI_PROTOCOL",
      "resolved",
    ]);
    assert.equal(server.connections, pool.stats.opened);
  });
}
