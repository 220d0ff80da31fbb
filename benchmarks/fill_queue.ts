import { systemClock } from "../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteDriver } from "../src/brokers/sqlite/broker.ts";

/** The driver makes one transaction of them. */
const PUSH_TOGETHER = 1_000;

/** Pushes so many jobs with that payload into the queue "bench" of the embedded queue's file. */
export async function fillQueue(path: string, jobs: number, payload: Uint8Array): Promise<void> {
  await using driver = SqliteDriver.open({ clock: systemClock, owner: "bench" }, {
    ...DEFAULT_SQLITE_OPTIONS,
    path,
  });
  for (let left = jobs; left > 0; left -= PUSH_TOGETHER) {
    const count = Math.min(left, PUSH_TOGETHER);
    await Promise.all(Array.from({ length: count }, () => driver.push("bench", payload)));
  }
}
