import { MAX_TIMER_MS, systemClock } from "../core/time/clock.ts";
import { type ErrorCode, FervoError, reasonOf } from "../core/errors.ts";
import {
  type ControlAnswer,
  type ControlRequest,
  lineBytes,
  MAX_ANSWER_BYTES,
  readLines,
} from "./protocol.ts";

/** How long to wait for a worker, milliseconds. */
export interface Patience {
  /** Until its first answer: a healthy worker answers at once. */
  readonly answerMs: number;
  /** Until its last answer; Infinity without a limit. */
  readonly endMs: number;
}

export const DEFAULT_PATIENCE: Patience = { answerMs: 10_000, endMs: Infinity };

/**
 * Sends a command to the worker at `path`; yields the lines of its answer as they come, and ends with the answer or the worker.
 *
 * @throws {FervoError} WORKER_UNAVAILABLE without a worker, when it ends without an answer, or does not answer in time; else
 * the worker's reason to refuse
 */
export async function* command(
  path: string,
  request: ControlRequest,
  { answerMs, endMs }: Patience = DEFAULT_PATIENCE,
): AsyncGenerator<ControlAnswer> {
  const connection = await connect(path);
  let isAnswered = false;
  let late: FervoError | undefined;
  const giveUpAfter = (ms: number, text: string) =>
    ms > MAX_TIMER_MS ? undefined : systemClock.setTimer(() => {
      if (late !== undefined) return;
      late = new FervoError(
        "WORKER_UNAVAILABLE",
        `The worker at "${path}" ${text} in ${ms / 1_000} s; --timeout sets how long to wait`,
      );
      connection.close();
    }, ms);
  const answering = giveUpAfter(Math.min(answerMs, endMs), "has not answered");
  const ending = giveUpAfter(endMs, "has not finished");
  try {
    const bytes = lineBytes(request);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    for await (const line of readLines(connection, MAX_ANSWER_BYTES)) {
      const answer = line as ControlAnswer;
      isAnswered = true;
      answering?.cancel();
      if (answer.error !== undefined) {
        const { code, message, problems } = answer.error;
        throw new FervoError(code as ErrorCode, message, {
          ...(problems !== undefined && { details: { problems } }),
        });
      }
      yield answer;
    }
  } catch (error) {
    if (late !== undefined) throw late;
    // The end of the worker can look like this, too.
    const hasEnded = error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
    if (!hasEnded) throw error;
  } finally {
    answering?.cancel();
    ending?.cancel();
    // The limit has closed it already.
    if (late === undefined) connection.close();
  }
  if (late !== undefined) throw late;
  if (!isAnswered) {
    throw new FervoError("WORKER_UNAVAILABLE", `The worker at "${path}" has ended without an answer`);
  }
}

async function connect(path: string): Promise<Deno.Conn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    throw new FervoError("WORKER_UNAVAILABLE", `No worker listens at "${path}": ${adviceFor(cause)}`, {
      cause,
    });
  }
}

function adviceFor(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) {
    return "no such socket; is the worker running, with this configuration?";
  }
  if (error instanceof Deno.errors.ConnectionRefused) return "a killed worker left this socket behind";
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied; run this as the worker's user or as root";
  }
  return reasonOf(error);
}
