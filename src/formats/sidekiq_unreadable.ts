import type { FervoError } from "../core/errors.ts";
import { JsonObject } from "./json_object.ts";
import { errorOf, jsonText, queueOf } from "./sidekiq_fields.ts";

/** What stands in a dead letter for the class of a message that has none. */
const CLASS = "fervo-worker: unreadable message";
/** The message, base64. */
const MESSAGE = "fervo_message";
/** What the Web UI shows of it, characters. */
const MAX_SHOWN = 1_000;
/** A longer one is filed as it is: Redis and a JavaScript text hold 512 MiB, and base64 makes four bytes of three. */
const MAX_BYTES = 256 * 2 ** 20;

/** A message that is no Sidekiq job, as it lies in the dead set. */
export interface UnreadableLetter {
  /** Its bytes. */
  readonly message: Uint8Array;
  readonly id?: string;
  /** Where it came from. */
  readonly queue?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

/**
 * A dead letter for a message that is no job: a job in form, with the bytes in it. As it is, Sidekiq's Web UI would answer
 * 500 for the whole list of the dead (`null`, `5`, `[1]`), and its "Retry" would drop the message and raise (all others).
 * `retry` is 0 and not `false`, with which a Ruby process would drop it.
 *
 * @param o.id Names it, the same for the same bytes.
 * @param o.queue Where it came from, where that is known.
 * @param o.now The time as it stands in the JSON.
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

/** The message in a dead letter that {@link fileUnreadable} made; undefined for all else. */
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
