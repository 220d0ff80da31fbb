import { Presets, SingleBar } from "cli-progress";

/** How often the bar is drawn, milliseconds. */
const REDRAW_MS = 100;

/** A bar on standard error that shows `finished()` of `total` until it is disposed. */
export function startProgress(total: number, finished: () => number): Disposable {
  const bar = new SingleBar({
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
