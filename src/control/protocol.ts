import { FervoError, reasonOf } from "../core/errors.ts";

/*
 * What goes over the control socket: lines of JSON. One connection, one request:
 *
 *   {"command":"stop","wait":true}
 *   {"state":"stopping","pid":4711,"in_flight":3}      at once
 *   {"exit_code":0}                                    at the end; then the connection ends, with the process
 *
 * A request that fails is answered with {"error":{"code":"…","message":"…"}}.
 */

export const CONTROL_COMMANDS = ["status", "quiet", "stop", "reload"] as const;
export type ControlCommand = typeof CONTROL_COMMANDS[number];

export interface ControlRequest {
  readonly command: ControlCommand;
  /** Send another answer at the end. */
  readonly wait?: boolean;
  /** For `stop`: do not let jobs finish. */
  readonly now?: boolean;
}

/** A line of an answer: the command's result, or its failure. */
export interface ControlAnswer {
  readonly error?: {
    readonly code: string;
    readonly message: string;
    /** The message is a list of this many problems of the configuration. */
    readonly problems?: number;
  };
  readonly [fact: string]: unknown;
}

/** Every request is much shorter. */
export const MAX_REQUEST_BYTES = 65_536;
/** Every answer is much shorter; a status has some hundred bytes a consumer. */
export const MAX_ANSWER_BYTES = 16 * 1_048_576;

export function isControlRequest(value: unknown): value is ControlRequest {
  if (typeof value !== "object" || value === null) return false;
  const { command, wait, now } = value as Record<string, unknown>;
  return CONTROL_COMMANDS.some((known) => known === command) &&
    [wait, now].every((flag) => flag === undefined || typeof flag === "boolean");
}

/** A line with its end. */
export function lineBytes(value: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/**
 * The lines of the other side, until its end; an incomplete line is dropped.
 *
 * @param maxBytes The longest line.
 * @throws {FervoError} CONTROL_REFUSED when a line is not JSON, or too long
 */
export async function* readLines(
  source: { read(into: Uint8Array<ArrayBuffer>): Promise<number | null> },
  maxBytes: number,
): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65_536);
  let text = "";
  for (;;) {
    const length = await source.read(chunk);
    if (length === null) return;
    const from = text.length;
    text += decoder.decode(chunk.subarray(0, length), { stream: true });
    for (let end = text.indexOf("\n", from); end >= 0; end = text.indexOf("\n")) {
      yield parseLine(text.slice(0, end));
      text = text.slice(end + 1);
    }
    if (text.length > maxBytes) {
      throw new FervoError("CONTROL_REFUSED", `A line is longer than ${maxBytes} bytes`);
    }
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new FervoError("CONTROL_REFUSED", `A line is not JSON: ${reasonOf(cause)}`, { cause });
  }
}
