import type { FervoError } from "../core/errors.ts";
import { JsonObject } from "./json_object.ts";
import { errorOf, jsonText, queueOf } from "./sidekiq_fields.ts";

/** The class of an unreadable message's dead letter. */
const CLASS = "fervo-worker: unreadable message";
/** The message, base64. */
const MESSAGE = "fervo_message";
/** The Web UI shows this many characters of it. */
const MAX_SHOWN = 1_000;
/**
 * A longer message is stored unchanged: Redis and a JavaScript text have at most 512 MiB, and base64 makes four bytes of three.
 */
const MAX_BYTES = 256 * 2 ** 20;

/** An unreadable message in the dead set. */
export interface UnreadableLetter {
  /** Its bytes. */
  readonly message: Uint8Array;
  readonly id?: string;
  /** Its queue. */
  readonly queue?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

/**
 * A dead letter for an unreadable message: formally a job, with the bytes in it. Without it, Sidekiq's Web UI would answer 500
 * for the whole list of the dead (`null`, `5`, `[1]`), and its "Retry" would drop the message and fail (all others). `retry` is
 * 0 and not `false`, with which a Ruby process would drop it.
 *
 * @param o.id Its id, the same for the same bytes.
 * @param o.queue Its queue, if known.
 * @param o.now The time in JSON.
 */
export function fileUnreadable(
  raw: Uint8Array,
  o: { id: string; queue: string | undefined; error: FervoError; now: string },
): Uint8Array {
  if (raw.length > MAX_BYTES || readUnreadable(raw) !== undefined) return raw;
  const shown = new TextDecoder().decode(raw.subarray(0, 4 * MAX_SHOWN)).slice(0, MAX_SHOWN);
  const fields = {
    class: jsonText(CLASS),
    args: `[${jsonText(shown)}]`,
    ...(o.queue !== undefined && { queue: jsonText(o.queue) }),
    jid: jsonText(o.id),
    retry: "0",
    retry_count: "0",
    failed_at: o.now,
    error_class: jsonText(o.error.code),
    error_message: jsonText(o.error.message),
    [MESSAGE]: `"${raw.toBase64()}"`,
  };
  const text = Object.entries(fields).map(([name, json]) => `"${name}":${json}`).join(",");
  return new TextEncoder().encode(`{${text}}`);
}

/** The message in a dead letter of {@link fileUnreadable}; undefined for any other one. */
export function readUnreadable(raw: Uint8Array): UnreadableLetter | undefined {
  let letter: JsonObject;
  try {
    letter = JsonObject.parse(raw);
  } catch {
    return undefined;
  }
  return unreadableIn(letter);
}

export function unreadableIn(letter: JsonObject): UnreadableLetter | undefined {
  const base64 = letter.string("class") === CLASS ? letter.string(MESSAGE) : undefined;
  if (base64 === undefined) return undefined;
  try {
    const message = Uint8Array.fromBase64(base64);
    const [id, queue, error] = [letter.string("jid"), queueOf(letter), errorOf(letter)];
    return { message, ...(id && { id }), ...(queue && { queue }), ...(error && { error }) };
  } catch {
    return undefined;
  }
}
