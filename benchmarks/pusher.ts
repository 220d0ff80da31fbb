/**
 * Pushes single jobs into a queue from a process of its own, so that a worker has to notice them from the outside:
 * `pusher.ts DATABASE COUNT`, with pauses that are longer than the time for which a worker stays alert.
 * The payload is the moment before the push, epoch milliseconds with fractions.
 */
import { raw } from "../src/formats/raw.ts";
import { systemClock } from "../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../src/brokers/sqlite/broker.ts";

const [path, count] = Deno.args as [string, string];
await using broker = SqliteBroker.open({ clock: systemClock, owner: "pusher", format: raw }, {
  ...DEFAULT_SQLITE_OPTIONS,
  path,
});
for (let i = 0; i < Number(count); i++) {
  await new Promise((resolve) => setTimeout(resolve, 300 + 300 * Math.random()));
  await broker.push("bench", new TextEncoder().encode(String(performance.timeOrigin + performance.now())));
}
