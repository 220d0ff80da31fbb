import assert from "node:assert/strict";
import { benchJob, FIRST_JOB_ID } from "../../../src/bench/load.ts";
import { encodeRequest } from "../../../src/bench/raw_loop.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../../../src/executors/fastcgi/executor.ts";
import { jobRequests } from "../../../src/executors/fastcgi/requests.ts";
import { decodeParams } from "../../support/cgi.ts";
import { RecordParser, RecordType } from "../../../src/fastcgi/record.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const OPTIONS = { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: "/srv/job.php", params: { APP_ENV: "prod" } };

/** The records of a request: their types, the params and STDIN. */
async function encoded(payload: Uint8Array, options = OPTIONS) {
  const job = benchJob(FIRST_JOB_ID, { queue: "bench", payload, timeoutMs: 60_000 }, 0);
  const bytes = await encodeRequest(jobRequests(options, new FakeClock())(job));
  const types: number[] = [];
  const contents: Record<number, number[]> = {};
  new RecordParser().parse(bytes, {
    content: (type, _id, piece) => (contents[type] ??= []).push(...piece),
    recordEnd: (type) => void types.push(type),
  });
  return {
    types,
    begin: contents[RecordType.beginRequest],
    params: new Map(decodeParams(Uint8Array.from(contents[RecordType.params]!))),
    stdin: contents[RecordType.stdin] ?? [],
  };
}

Deno.test("encodeRequest() makes the executor's request, on a connection that is kept", async () => {
  const { begin, params, stdin, types } = await encoded(new TextEncoder().encode("abc"));
  assert.deepEqual(begin, [0, 1, 1, 0, 0, 0, 0, 0]);
  assert.deepEqual(types, [1, 4, 4, 5, 5]);
  assert.deepEqual(stdin, [97, 98, 99]);
  assert.equal(params.get("SCRIPT_FILENAME"), "/srv/job.php");
  assert.equal(params.get("APP_ENV"), "prod");
  assert.equal(params.get("REQUEST_URI"), `/bench/${FIRST_JOB_ID}`);
  assert.equal(params.get("CONTENT_LENGTH"), "3");
  assert.equal(params.get("FERVO_JOB_ID"), String(FIRST_JOB_ID));
});

Deno.test("encodeRequest() splits a payload that is longer than a record", async () => {
  const payload = new Uint8Array(150_000).map((_, i) => i % 251);
  const { types, stdin } = await encoded(payload);
  assert.deepEqual(types, [1, 4, 4, 5, 5, 5, 5]);
  assert.deepEqual(Uint8Array.from(stdin), payload);
});
