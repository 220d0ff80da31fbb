import { aliveIn } from "../../../core/admin.ts";
import { type Clock, sleep } from "../../../core/time/clock.ts";
import { asFervoError } from "../../../core/errors.ts";
import { isoDate } from "../../../core/time/iso_date.ts";
import type { LineWriter } from "../../../telemetry/line_writer.ts";
import { visible } from "../../../core/text/visible.ts";
import { jsonLine } from "../../text/json_line.ts";
import { type Io, outputError } from "../../io.ts";
import { type QueueRow, queueTable } from "./table.ts";
import { cutText } from "../../text/text_width.ts";

/** How often to look, milliseconds. */
const LOOK_EVERY_MS = 1_000;

/* Of terminals: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_REST_OF_LINE = "\x1b[K";
const CLEAR_REST = "\x1b[J";

/** How the queues are shown. */
interface View {
  show(at: string, rows: readonly QueueRow[]): void;
  fail(at: string, message: string): void;
  /** @param rows The last ones. */
  close(rows: readonly QueueRow[]): void;
}

/**
 * Shows the queues each second until `signal` aborts.
 *
 * On a terminal it draws the table again and again on a screen of its own, and leaves the last one behind. Elsewhere it prints
 * a line for each queue, or with `isJson` an object for each look. A failure of the broker at the first look is an error; later
 * it is reported, and the broker is asked again. It also ends when its reader is gone.
 *
 * @param deps.look Returns the current queues, without changes.
 * @throws {FervoError} QUEUE_UNAVAILABLE
 * @throws {StreamError} when the output cannot be written
 */
export async function watch(
  { io, clock, look }: { io: Io; clock: Clock; look: () => Promise<QueueRow[]> },
  { isJson, signal }: { isJson: boolean; signal: AbortSignal },
): Promise<void> {
  let rows: readonly QueueRow[] = await look();
  /** The time of the last look, monotonic milliseconds; undefined when it is too long ago for a change per second. */
  let seenMs: number | undefined = clock.monotonicMs();
  const out = io.live("out");
  io.live("err");
  const view = isJson ? new JsonView(io) : io.outSize() === undefined ? new LineView(io) : new ScreenView(io);
  const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  const now = () => isoDate(clock.nowMs());
  try {
    for (view.show(now(), rows);;) {
      // No look without a reader, and a reader that stands still must not delay the end of the command.
      await Promise.race([out.drained(), aborted]);
      if (hasGone(out)) return;
      await sleep(clock, LOOK_EVERY_MS, signal);
      if (signal.aborted) return;
      try {
        const before = rows;
        rows = await look();
        const lookedMs = clock.monotonicMs();
        view.show(now(), seenMs === undefined ? rows : withChanges(rows, before, lookedMs - seenMs));
        seenMs = lookedMs;
      } catch (thrown) {
        seenMs = undefined;
        view.fail(now(), asFervoError(thrown).message);
      }
    }
  } finally {
    view.close(rows);
  }
}

/**
 * Whether the reader is gone, as in `fervo-worker queues --watch | head -1`.
 *
 * @throws {StreamError} when the output cannot be written
 */
function hasGone({ failure }: Pick<LineWriter, "failure">): boolean {
  if (failure === undefined || failure instanceof Deno.errors.BrokenPipe) return failure !== undefined;
  throw outputError(failure);
}

function withChanges(rows: readonly QueueRow[], before: readonly QueueRow[], sinceMs: number): QueueRow[] {
  const alive = (row: QueueRow | undefined) => row === undefined ? 0 : aliveIn(row);
  return rows.map((row) => {
    const former = before.find(({ broker, queue }) => broker === row.broker && queue === row.queue);
    return { ...row, change_per_s: Math.round((alive(row) - alive(former)) * 10_000 / sinceMs) / 10 };
  });
}

/** Prints an error on standard error, and the same error once. */
class ErrorLine {
  readonly io: Io;
  #told: string | undefined;

  constructor(io: Io) {
    this.io = io;
  }

  show(_at: string, _rows: readonly QueueRow[]): void {
    this.#told = undefined;
  }

  fail(_at: string, message: string): void {
    if (message !== this.#told) this.io.err(`fervo-worker: ${message}\n`);
    this.#told = message;
  }

  close(): void {}
}

class JsonView extends ErrorLine implements View {
  override show(at: string, rows: readonly QueueRow[]): void {
    super.show(at, rows);
    this.io.out(jsonLine({ at, queues: rows }));
  }
}

class LineView extends ErrorLine implements View {
  override show(at: string, rows: readonly QueueRow[]): void {
    super.show(at, rows);
    const lines = rows.map(({ broker, queue, paused, paused_until, pause_reason, ...counts }) => {
      const facts = Object.entries(counts).map(([name, value]) => `${name}=${value ?? "-"}`);
      const pause = [
        ...(paused ? ["paused"] : []),
        ...(paused_until === null ? [] : [`until=${paused_until}`]),
        ...(pause_reason === null ? [] : [`reason=${JSON.stringify(pause_reason)}`]),
      ];
      return `${[at, broker, visible(queue), ...facts, ...pause].join(" ")}\n`;
    });
    this.io.out(lines.join(""));
  }
}

class ScreenView implements View {
  readonly #io: Io;
  readonly #screen: LineWriter;
  #table = "";

  constructor(io: Io) {
    this.#io = io;
    this.#screen = io.live("out");
    this.#screen.write(ENTER_SCREEN);
  }

  show(at: string, rows: readonly QueueRow[]): void {
    this.#table = queueTable(rows, true);
    this.#draw(`${at}   Ctrl-C ends`);
  }

  fail(at: string, message: string): void {
    this.#draw(`${at}   ${visible(message)}`);
  }

  close(rows: readonly QueueRow[]): void {
    this.#screen.write(LEAVE_SCREEN);
    this.#io.out(queueTable(rows));
  }

  /** Draws as much as fits, over the last drawing. */
  #draw(head: string): void {
    const { columns, rows } = this.#io.outSize() ?? { columns: 80, rows: 24 };
    const lines = [head, "", ...this.#table.trimEnd().split("\n")].slice(0, rows - 1);
    const text = lines.map((line) => `${cutText(line, columns, "")}${CLEAR_REST_OF_LINE}\r\n`).join("");
    this.#screen.write(`${HOME}${text}${CLEAR_REST}`);
  }
}
