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
    /** The message is a list of so many problems of the configuration. */
    readonly problems?: number;
  };
  readonly [fact: string]: unknown;
}

/** No request and no answer is nearly as long; a status has some hundred bytes a consumer. */
const MAX_LINE_BYTES = 16 * 1_048_576;

export function isControlRequest(value: unknown): value is ControlRequest {
  if (typeof value !== "object" || value === null) return false;
  const { command, wait, now } = value as Record<string, unknown>;
  return CONTROL_COMMANDS.some((known) => known === command) &&
    [wait, now].every((flag) => flag === undefined || typeof flag === "boolean");
}

export async function writeLine(connection: Deno.Conn, value: object): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/**
 * What the other side says, line by line, until it has no more to say; half a line at the end is left out.
 *
 * @throws {Error} when a line is no JSON or has no end
 */
export async function* readLines(connection: Deno.Conn): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65_536);
  let text = "";
  for (;;) {
    const length = await connection.read(chunk);
    if (length === null) return;
    text += decoder.decode(chunk.subarray(0, length), { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield JSON.parse(text.slice(0, end));
      text = text.slice(end + 1);
    }
    if (text.length > MAX_LINE_BYTES) throw new Error("A line without an end");
  }
}
