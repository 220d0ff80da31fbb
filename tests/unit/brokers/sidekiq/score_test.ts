import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { dueOfScore, scoreOf, timeOfScore } from "../../../../src/brokers/sidekiq/score.ts";

Deno.test(
  "scoreOf(), dueOfScore() and timeOfScore() take any time and any score",
  { permissions: "none" },
  () => {
    assert.equal(scoreOf(1_700_000_000_123), "1700000000.123");
    const scores: [text: string, due: number, time: number | undefined][] = [
      ["1700000000.1230001", 1_700_000_000_124, 1_700_000_000_123],
      ["0", 0, 0],
      ["-5", -5_000, -5_000],
      ["1e300", 1e303, undefined],
      ["-1e300", -1e303, undefined],
      ["inf", Infinity, undefined],
      ["-inf", -Infinity, undefined],
      ["nan", Infinity, undefined],
      ["8640000000000", 8.64e15, 8.64e15],
      ["8640000000000.5", 8.64e15 + 500, undefined],
    ];
    for (const [text, due, time] of scores) {
      assert.equal(dueOfScore(Buffer.from(text)), due, text);
      assert.equal(timeOfScore(Buffer.from(text)), time, text);
    }
  },
);
