/**
 * fervo-worker with a fault: each SIGUSR2 has an error thrown that nobody handles, in turn by a promise and by a timer. The
 * binary has no known one that a test could use.
 */
import { processIo } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";

const FAULTS = [
  () => void Promise.reject(new Error("a promise that nobody awaits")),
  () => {
    throw new Error("an exception out of a timer");
  },
];
let next = Number(Deno.env.get("FIRST_FAULT") ?? 0);
Deno.addSignalListener("SIGUSR2", () => void setTimeout(FAULTS[next++ % FAULTS.length]!, 0));
Deno.exit(await main(Deno.args, processIo));
