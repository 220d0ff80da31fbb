import assert from "node:assert/strict";
import { parseConfig } from "../../../../src/config/load.ts";
import { consumedQueues } from "../../../../src/config/options/consumed_queues.ts";
import { BROKER, FPM, NO_ENVIRONMENT, REDIS } from "../support.ts";

Deno.test("consumedQueues() names the queues of a broker's consumers, each once", async () => {
  const consumer = (name: string, broker: string, queues: string) =>
    `[[consumers]]\nname = "${name}"\nbroker = "${broker}"\nqueues = ${queues}\n`;
  const text = BROKER + REDIS + FPM + consumer("a", "default", '["mail", { name = "sms" }]') +
    consumer("b", "redis", '["push"]') + consumer("c", "default", '["mail", "slow"]');
  const config = await parseConfig(text, "fervo.toml", NO_ENVIRONMENT);
  assert.deepEqual(consumedQueues(config, "default"), ["mail", "sms", "slow"]);
  assert.deepEqual(consumedQueues(config, "redis"), ["push"]);
});
