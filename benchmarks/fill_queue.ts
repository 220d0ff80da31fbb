import { raw } from "../src/formats/raw.ts";
import { systemClock } from "../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../src/brokers/sqlite/broker.ts";

/** The broker makes one transaction of them. */
const PUSH_TOGETHER = 1_000;

/** Pushes so many jobs with that payload into the queue "bench" of the embedded queue's file. */
export async function fillQueue(path: string, jobs: number, payload: Uint8Array): Promise<void> {
  await using broker = SqliteBroker.open({ clock: systemClock, owner: "bench", format: raw }, {
    ...DEFAULT_SQLITE_OPTIONS,
    path,
  });
  for (let left = jobs; left > 0; left -= PUSH_TOGETHER) {
    const count = Math.min(left, PUSH_TOGETHER);
    await Promise.all(Array.from({ length: count }, () => broker.push("bench", payload)));
  }
}
