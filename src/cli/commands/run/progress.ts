import { Presets, SingleBar } from "cli-progress";
import type { Io } from "../../io.ts";

/** How often the bar is drawn, milliseconds. */
const REDRAW_MS = 100;

/** A bar on standard error that shows `finished()` of `total` until it is disposed of. */
export function startProgress(io: Io, total: number, finished: () => number): Disposable {
  const lines = io.live("err");
  const stream = {
    isTTY: io.isErrTerminal && io.env("TERM") !== "dumb",
    // An old bar is of no use to a reader that comes back.
    write: (text: string) => lines.isStalled || lines.write(text, 0),
  };
  const bar = new SingleBar({
    // The only part of a stream that it uses; its own stream would wait for the reader.
    stream: stream as unknown as NodeJS.WritableStream,
    format: " {bar} {percentage}% | {value}/{total} jobs | {duration_formatted}",
    noTTYOutput: true,
    notTTYSchedule: 1_000,
  }, Presets.shades_classic);
  bar.start(total, 0);
  const timer = setInterval(() => bar.update(Math.min(finished(), total)), REDRAW_MS);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      bar.update(Math.min(finished(), total));
      bar.stop();
    },
  };
}
