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
  /** Answer again when it is done. */
  readonly wait?: boolean;
  /** Of `stop`: do not let jobs finish. */
  readonly now?: boolean;
}

/** A line of an answer: what the command gives, or why it failed. */
export interface ControlAnswer {
  readonly error?: {
    readonly code: string;
    readonly message: string;
    /** The message is a list of this many problems of the configuration. */
    readonly problems?: number;
  };
  readonly [fact: string]: unknown;
}

/** No request is nearly as long. */
export const MAX_REQUEST_BYTES = 65_536;
/** No answer is nearly as long; a status has some hundred bytes a consumer. */
export const MAX_ANSWER_BYTES = 16 * 1_048_576;

export function isControlRequest(value: unknown): value is ControlRequest {
  if (typeof value !== "object" || value === null) return false;
  const { command, wait, now } = value as Record<string, unknown>;
  return CONTROL_COMMANDS.some((known) => known === command) &&
    [wait, now].every((flag) => flag === undefined || typeof flag === "boolean");
}

/** A line as it is sent. */
export function lineBytes(value: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/**
 * What the other side says, line by line, until it has no more to say; half a line at the end is left out.
 *
 * @param maxBytes How long a line may be.
 * @throws {FervoError} CONTROL_REFUSED when a line is no JSON or too long
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
